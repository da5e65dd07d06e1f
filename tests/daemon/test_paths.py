"""Links are followed as the kernel does, but not onto a mount that may hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitwatchd.daemon.paths import resolve_links


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    top = tmp_path.resolve()
    (top / "d/e").mkdir(parents=True)
    (top / "f").touch()
    for name, target in (
        ("l", "d"), ("d/up", "../l/e"), ("abs", f"{top}/d/up/"), ("chain", "abs"), ("loop", "loop"), ("dangling", "no"),
        ("far", "/srv/dead/x"), ("d/near", "../far/y"),
    ):  # fmt: skip
        (top / name).symlink_to(target)
    return os.fsencode(top)


@pytest.mark.parametrize(
    "path", [b"", b"/d/e", b"/l", b"/l/e/../up", b"/chain", b"/f", b"//d/./e/", b"/d/../l/..", b"/no/x", b"/dangling"]
)
def test_as_realpath_where_all_is_local(top: bytes, path: bytes) -> None:
    assert resolve_links(top + path, lambda _path: True) == os.path.realpath(top + path)


def test_the_root_of_all() -> None:
    assert resolve_links(b"/", lambda _path: True, strict=True) == b"/"


@pytest.mark.parametrize("path", [b"/no", b"/dangling", b"/f/x", b"/loop"])
def test_strictly(top: bytes, path: bytes) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's to say
        resolve_links(top + path, lambda _path: True, strict=True)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [(b"/far", b"/srv/dead/x"), (b"/d/near", b"/srv/dead/x/y"), (b"/l/near/../z", b"/srv/dead/x/z")],
)
def test_it_stops_where_it_may_hang(top: bytes, path: bytes, leads_to: bytes) -> None:
    touched: list[bytes] = []

    def is_local(asked: bytes) -> bool:
        touched.append(asked)
        return not asked.startswith(b"/srv/dead")

    assert resolve_links(top + path, is_local, strict=True) == leads_to
    assert touched[-1] == b"/srv/dead", "nothing below was looked at"
