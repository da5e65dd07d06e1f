"""The user's own git commands and ours do not get in each other's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.zoo.commands import Git, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon


@contextmanager
def asking(daemon: Daemon, path: Path) -> Iterator[list[str]]:
    """Somebody asks all the time, by turns of git itself; the states of the answers."""
    states: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with daemon.connect() as client:
            while not stop.is_set():
                states.append(client.entries(path, verify=len(states) % 4 == 0).state)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield states
    finally:
        stop.set()
        asker.join()


def test_an_interactive_rebase_of_fifty_commits(
    daemon: Daemon, client: Client, repository: Callable[..., Git], tmp_path: Path
) -> None:
    git = repository({"file": b"first\n"})
    for number in range(50):
        (git.path / "file").write_bytes(b"%d\n" % number)
        git("commit", "-qam", f"number {number}")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i -e '10~10s/^pick/edit/' \"$1\"\n")
    editor.chmod(0o755)
    with asking(daemon, git.path) as states:
        git("rebase", "-i", "--no-ff", "HEAD~50", env={"GIT_SEQUENCE_EDITOR": str(editor)})
        for step in (10, 20, 30, 40, 50):
            (report,) = client.reports(git.path)
            assert report["action"] == {"name": "rebase-i", "step": step, "total": 50}
            assert report["detached"] is True
            assert difference(client, git.path) is None
            git("rebase", "--continue")
    (report,) = client.reports(git.path)
    assert (report["action"], report["branch"], report["dirty"]) == (None, "main", False)
    assert difference(client, git.path) is None
    assert len(states) > 5 and set(states) == {"fresh"}


def test_a_stale_index_lock_is_left_alone_and_status_still_answers(
    client: Client, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n", "b": b"1\n"})
    lock = git.path / ".git/index.lock"
    assert difference(client, git.path) is None
    lock.write_bytes(b"left behind")
    identity = lock.stat()
    (git.path / "a").write_bytes(b"2\n")
    (git.path / "b").touch()
    assert difference(client, git.path) is None
    assert client.entries(git.path, verify=True).stdout == judge(git.path)
    client.call("refresh", [str(git.path)])
    assert difference(client, git.path) is None
    assert client.reports(git.path)[0]["counts"]["unstaged_modified"] == 1
    assert lock.stat() == identity


def test_the_user_commits_in_a_loop_while_we_analyse(
    daemon: Daemon, client: Client, repository: Callable[..., Git]
) -> None:
    git = repository({f"d{n}/f": b"%d\n" % n for n in range(200)})
    index = git.path / ".git/index"
    with asking(daemon, git.path) as states:
        for number in range(60):
            (git.path / f"d{number}/f").write_bytes(b"commit %d\n" % number)
            git("commit", "-qam", f"number {number}")  # raises where a lock is in its way
    assert difference(client, git.path) is None
    assert len(states) > 5 and set(states) == {"fresh"}

    # Touched files: git itself would refresh the index now. We leave it, byte for byte.
    for file in git.path.glob("d*/f"):
        file.touch()
    before, identity = index.read_bytes(), index.stat()
    for _ in range(3):
        assert client.entries(git.path, verify=True).stdout == client.entries(git.path).stdout
        client.call("refresh", [str(git.path)])
    assert (index.read_bytes(), index.stat()) == (before, identity)
    assert not (git.path / ".git/index.lock").exists()
