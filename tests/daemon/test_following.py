"""Following a large repository: the making of its state is waited for, not begun anew by each edit."""

from __future__ import annotations

from collections.abc import Callable

from gitwatchd.daemon.increments import _FOLLOWED, LARGE_INDEX_BYTES, told
from gitwatchd.watch.changes import Aspect
from tests.zoo.commands import Git
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client
from tests.zoo.nursery import append

Make = Callable[..., Git]


def test_edits_right_after_the_first_answer_are_followed(client: Client, repository: Make) -> None:
    git = repository({f"directory-{n % 90:02}/a-name-of-some-length-{n:05}": b"%d\n" % n for n in range(7000)})
    assert (git.path / ".git/index").stat().st_size > LARGE_INDEX_BYTES
    assert difference(client, git.path) is None
    for _ in range(5):
        append(git.path / "directory-00/a-name-of-some-length-00000", b"more\n")
        assert difference(client, git.path) is None
    answers = client.call("doctor")["answers"]
    assert (answers["L1"], answers["L3"]) == (5, 1)


def test_a_commit_of_named_files_is_followed(client: Client, repository: Make) -> None:
    """git makes an index of its own for it, `next-index-PID`, beside the one it leaves behind."""
    git = repository({"one": b"1\n", "other": b"2\n"})
    assert difference(client, git.path) is None
    before = client.call("doctor")["answers"]["L3"]
    append(git.path / "one", b"more\n")
    git("commit", "-qm", "one", "one")
    assert difference(client, git.path) is None
    assert client.call("doctor")["answers"]["L3"] == before


def test_doctor_says_in_words_why_git_was_asked() -> None:
    for aspect in Aspect:
        if not aspect & _FOLLOWED:
            assert told(aspect) and not any(flag.name in told(aspect) for flag in Aspect if flag.name)
    assert told(Aspect.CONFIG | Aspect.IDENTITY | Aspect.OTHER) == told(Aspect.IDENTITY)
