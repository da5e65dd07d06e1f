"""What happens to files and directories while, and right before, the daemon is asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from tests.scenarios.ask_at_once import build
from tests.scenarios.commands import wait_settled
from tests.zoo.commands import Git, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client


def test_a_directory_is_renamed_while_it_is_scanned(client: Client, tmp_path: Path) -> None:
    git = build(tmp_path / "repo", 2000)
    one, other = git.path / "dir0", git.path / "moved/dir0"
    other.parent.mkdir()
    stop = threading.Event()
    renames = 0

    def rename() -> None:
        nonlocal renames
        while not stop.is_set():
            one.rename(other)
            (other / "sub0/fresh").write_bytes(b"")
            other.rename(one)
            (one / "sub0/fresh").unlink()
            renames += 1

    busy = threading.Thread(target=rename)
    busy.start()
    try:
        for _ in range(15):
            # Whatever it saw of the rename, it is an answer of git's kind and no failure.
            assert client.entries(git.path).exit == 0
            client.call("refresh", [str(git.path)])
    finally:
        stop.set()
        busy.join()
    assert renames > 5
    assert difference(client, git.path) is None
    one.rename(other)
    assert difference(client, git.path) is None
    (other / "sub0/file3.txt").write_bytes(b"in the renamed directory\n")
    assert difference(client, git.path) is None


def test_a_checkout_of_ten_thousand_files_costs_two_analyses_at_most(client: Client, tmp_path: Path) -> None:
    git = build(tmp_path / "repo", 10_000)
    git("checkout", "-qb", "other")
    for file in git.path.glob("dir*/*/*"):
        file.write_bytes(file.read_bytes() + b"other\n")
    git("commit", "-qam", "other")
    assert difference(client, git.path) is None
    wait_settled(client, git.path)
    before = _analyses(client)
    git("checkout", "-q", "main")
    assert difference(client, git.path) is None
    wait_settled(client, git.path)
    assert _analyses(client) - before <= 2
    assert client.reports(git.path)[0]["branch"] == "main"


def _analyses(client: Client) -> int:
    answers = client.call("doctor")["answers"]
    return int(answers["L1"] + answers["L3"])


def test_a_file_in_a_directory_made_right_before_it(client: Client, repository: Callable[..., Git]) -> None:
    git = repository({"tracked": b"1\n"})
    headers = client.entries(git.path).stdout
    for number in range(1000):
        deep = git.path / f"n{number:03}/b/c/d"
        deep.mkdir(parents=True)
        (deep / "f").write_bytes(b"\n")
        if number % 10 == 0:
            expected = b"".join(b"? n%03d/\0" % n for n in range(number + 1))
            assert client.entries(git.path).stdout == headers + expected
    assert difference(client, git.path) is None
    for number in range(1000):
        (git.path / f"n{number:03}/b/c/d/f").unlink()
    assert client.entries(git.path).stdout == headers == judge(git.path)


def test_the_ways_in_which_editors_save(client: Client, repository: Callable[..., Git]) -> None:
    git = repository({"src/file.c": b"one\n", "other": b"1\n"})
    file = git.path / "src/file.c"
    assert difference(client, git.path) is None
    for number in range(10):
        text = b"save %d\n" % number
        temporary = file.with_name(".file.c.tmp")
        temporary.write_bytes(text)
        temporary.rename(file)
        assert difference(client, git.path) is None, "a temporary file renamed over it"

        backup = file.with_name("file.c~")
        (file.parent / "4913").write_bytes(b"")  # vim asks so whether it may write here
        (file.parent / "4913").unlink()
        file.rename(backup)
        file.write_bytes(text + b"vim\n")
        assert difference(client, git.path) is None, "the original renamed to its backup"
        backup.unlink()
        assert difference(client, git.path) is None, "the backup removed"

        swap = file.with_name(".file.c.swp")
        swap.write_bytes(b"swap")
        file.write_bytes(b"one\n")
        swap.unlink()
        assert difference(client, git.path) is None, "written in place as it was committed"
    assert client.reports(git.path)[0]["dirty"] is False


def test_an_edit_of_the_same_size_in_the_same_tick(client: Client, repository: Callable[..., Git]) -> None:
    git = repository({f"f{n}": b"aaaa\n" for n in range(8)})
    for number in range(8):
        file = git.path / f"f{number}"
        git("add", "-A")
        file.write_bytes(b"%04d\n" % number)
        assert difference(client, git.path) is None
        # And with the time of before: nothing but the content and the ctime tells.
        git("add", "-A")
        times = file.stat()
        file.write_bytes(b"%04d\n" % (number + 1000))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert difference(client, git.path) is None
        assert client.reports(git.path)[0]["counts"]["unstaged_modified"] == 1
