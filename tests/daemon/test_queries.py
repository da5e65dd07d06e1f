from __future__ import annotations

from gitwatchd.daemon.queries import Answer, OpenQueries, Scope
from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import Asked, Found
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Location, RepoPath


def fail(bug: BaseException) -> None:
    raise bug


def test_what_is_left_out_of_a_list_is_not_told_even_if_it_was_found_meanwhile() -> None:
    engine, loop = Engine(), Loop(fail)
    queries = OpenQueries(loop, engine, lambda _tops, path: path.endswith(b"/lib"))
    told: list[Answer] = []
    for paths, only in (((b"/r",), ()), ((), (RepoPath(b"/r/lib"),))):
        query = queries.open(Scope(paths, only), told.append, None, lambda _query: None)
        engine.handle(Asked(query, paths, list(only), bool(paths), True, False, 0.0), 0.0)
        for path in (b"/r/one", b"/r/lib"):
            engine.handle(Found(Location(RepoPath(path), path + b"/.git", path + b"/.git", bare=False)), 0.0)
        queries.complete(query)
    loop.close()
    assert [[r.path for r, _ in answer.repositories] for answer in told] == [[b"/r/one"], [b"/r/lib"]]
