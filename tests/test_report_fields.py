"""Every field of a report beside what git commands say, after random operations; the entries have their own tests."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.zoo.commands import Git, ask_judge
from tests.zoo.comparison import changeable, told
from tests.zoo.daemon import Client, Daemon
from tests.zoo.operations import Operations
from tests.zoo.repositories import build_zoo

INHABITANTS = frozenset(
    {
        "clean", "mixed", "conflicts-of-every-kind", "rebase-interactive", "cherry-pick-sequence", "bisect", "mailbox",
        "submodule-clean", "skip-worktree", "assume-unchanged", "worktree-config", "touched", "stashed", "tags-several",
        "diverged", "sparse-index", "fleet-of-files", "push-remote", "merge-rename-conflict", "packed-references",
    }
)  # fmt: skip
STEPS = 60


def by_git(path: Path) -> dict[str, Any]:
    """The report's fields by git commands and lstat; what git does not say at once is left out."""
    git = Git(path)
    head = git.ask("rev-parse", "-q", "--verify", "HEAD^{commit}").stdout.strip() or None
    ref = git.ask("symbolic-ref", "-q", "HEAD").stdout.rstrip(b"\n")
    entries = ask_judge(path).stdout.split(b"\0")
    fields: dict[str, Any] = {
        "oid": head,
        "unborn": head is None,
        "detached": not ref,
        "branch": ref.removeprefix(b"refs/heads/") or None,
        "stashes": len(git.ask("stash", "list", "-z").stdout.split(b"\0")) - 1,
        "counts": counts(entries),
        "worktrees": len(list((common_dir(git) / "worktrees").glob("*/"))),
        "fetched_at": fetched_at(git),
        "mtime": newest(git),
        "ident": git.ask("var", "GIT_COMMITTER_IDENT").stdout.rpartition(b">")[0] + b">",
        "upstream": tracking(git, "upstream", ref),
        "push": tracking(git, "push", ref),
        "action": action(git),
    }
    if head is not None:
        fields["summary"] = git("log", "-1", "--format=%s", "--encoding=UTF-8").rstrip(b"\n")
        tags = git("for-each-ref", "--points-at=HEAD", "--format=%(refname)", "refs/tags").split(b"\n")[:-1]
        fields["tag"] = max(tags).removeprefix(b"refs/tags/") if tags else None
    listed = git("ls-files", "-v", "-s", "-z", "--full-name", ":/").split(b"\0")[:-1]
    fields["index_size"] = len(listed)
    fields["skip_worktree"] = sum(line[:1] in b"Ss" for line in listed)
    fields["assume_unchanged"] = sum(line[:1].islower() for line in listed)
    fields["submodules"] = len({line.partition(b"\t")[2] for line in listed if line[2:8] == b"160000"})
    return fields


def common_dir(git: Git) -> Path:
    return git.path / os.fsdecode(git("rev-parse", "--git-common-dir").rstrip(b"\n"))


def counts(entries: list[bytes]) -> dict[str, int]:
    kinds = [entry[:4] for entry in entries if entry[:2] in (b"1 ", b"2 ", b"u ", b"? ")]
    changed = [kind[2:4].decode() for kind in kinds if kind[:1] in b"12"]
    found = {
        "staged": sum(xy[0] != "." for xy in changed),
        "unstaged": sum(xy[1] != "." for xy in changed),
        "conflicted": sum(kind[:1] == b"u" for kind in kinds),
        "untracked": sum(kind[:1] == b"?" for kind in kinds),
    }
    words = {"new": "A", "modified": "M", "deleted": "D", "renamed": "R", "copied": "C", "typechange": "T"}
    found |= {f"staged_{word}": sum(xy[0] == letter for xy in changed) for word, letter in words.items()}
    for word in ("modified", "deleted", "renamed", "typechange"):
        found[f"unstaged_{word}"] = sum(xy[1] == words[word] for xy in changed)
    return found


def fetched_at(git: Git) -> float | None:
    files = [common_dir(git) / "FETCH_HEAD", *common_dir(git).glob("worktrees/*/FETCH_HEAD")]
    return max((file.stat().st_mtime for file in files if file.exists() and file.stat().st_size), default=None)


def newest(git: Git) -> float | None:
    """Of tracked and untracked, not ignored, files."""
    top = git("rev-parse", "--show-toplevel").removesuffix(b"\n") + b"/"
    tracked = git("ls-files", "-t", "-z", "--full-name", ":/").split(b"\0")[:-1]
    names = {line[2:] for line in tracked if line[:1] not in b"S"}
    if git.ask("config", "status.showUntrackedFiles").stdout.strip() != b"no":
        names |= set(git("ls-files", "-o", "--exclude-standard", "-z", "--full-name", ":/").split(b"\0")[:-1])
    times = []
    for name in names:
        try:
            found = os.lstat(top + name)
        except OSError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            times.append(found.st_mtime_ns)
    return max(times, default=0) / 1e9 or None


def tracking(git: Git, what: str, ref: bytes) -> dict[str, Any] | None:
    if not ref.startswith(b"refs/heads/"):
        return None
    form = f"%({what}:short)%00%({what}:remotename)%00%({what}:track,nobracket)"
    answer = git("for-each-ref", f"--format={form}", ref).rstrip(b"\n")
    if not answer:
        return {}  # unborn: git does not say
    name, remote, track = answer.split(b"\0")
    if not name or (what == "push" and git.ask("rev-parse", "@{push}").exit):
        return None
    words = track.replace(b",", b"").split()
    numbers = {word: int(number) for word, number in zip(words[::2], words[1::2], strict=False)}
    gone = track == b"gone"
    return {
        "name": name, "remote": remote or None, "gone": gone,
        "ahead": None if gone else numbers.get(b"ahead", 0), "behind": None if gone else numbers.get(b"behind", 0),
    }  # fmt: skip


IN_PROGRESS = (
    ("rebase in progress", "rebase"), ("currently rebasing", "rebase"), ("currently editing a commit", "rebase"),
    ("in the middle of an am session", "am"), ("still merging", "merge"),
    ("Cherry-pick currently in progress", "cherry"), ("currently cherry-picking", "cherry"),
    ("Revert currently in progress", "revert"), ("currently reverting", "revert"), ("currently bisecting", "bisect"),
)  # fmt: skip


def action(git: Git) -> str | None:
    """What `git status` tells people, without the kind of a rebase and its step."""
    said = git("--no-optional-locks", "status", "-uno", "--ignore-submodules=all").decode(errors="replace")
    if "git merge --abort" in said:
        return "merge"
    return next((name for words, name in IN_PROGRESS if words in said), None)


def wrong_fields(client: Client, path: Path) -> list[str]:
    """What the report says otherwise than git; empty when it is right. `path` is a worktree that git can answer for."""
    report = client.reports(path)[0]
    expected = by_git(path)
    if report["state"] != "fresh":
        return [f"state {report['state']}: {report['reason']}"]
    wrong = []
    for name, value in expected.items():
        found = report[name]
        found = found.encode() if isinstance(found, str) else found
        match name:
            case "counts":
                right = all(found[key] == number for key, number in value.items())
            case "upstream" | "push" if value == {}:
                continue
            case "upstream" | "push":
                shown = None if found is None else {key: _bytes(found[key]) for key in value or ("name",)}
                right, found = shown == value, shown
            case "action":
                found = None if report["action"] is None else report["action"]["name"]
                right = found == value or (value is not None and (found or "").startswith(value))
            case "mtime" | "fetched_at":
                right = found == value or (found and value and abs(found - value) < 1e-6)
            case _:
                right = found == value
        if not right:
            wrong.append(f"{name}: report {found!r}, git {value!r}")
    return wrong


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def run(client: Client, operations: Operations, steps: int) -> None:
    for _ in range(steps):
        operations.step()
        path = operations.repository
        if ask_judge(path).exit:
            continue
        wrong = wrong_fields(client, path)
        if wrong:
            raise AssertionError("\n".join([f"{path}:", *wrong, told(operations, path)]))


@pytest.mark.parametrize("seed", [1, 2])
def test_fields_are_those_of_git(tmp_path: Path, start_daemon: Callable[..., Daemon], seed: int) -> None:
    zoo = build_zoo(tmp_path / "zoo", INHABITANTS)
    with start_daemon().connect() as client:
        paths = changeable(zoo)
        for path in paths:
            assert wrong_fields(client, path) == [], path
        run(client, Operations(Random(seed), paths), STEPS)


# ---- the newest file, where it was once told wrong

FILES = {"a": b"1\n", "b": b"2\n", "dir/c": b"3\n", ".gitignore": b"*.o\n"}
OLD_NS, NEW_NS, NEWEST_NS = 1_600_000_000 * 10**9, 4_000_000_000 * 10**9, 4_100_000_000 * 10**9


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    return repository(FILES)


@pytest.fixture
def client(start_daemon: Callable[..., Daemon]) -> Iterator[Client]:
    with start_daemon().connect() as client:
        yield client


def make(path: Path, at_ns: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"made\n")
    os.utime(path, ns=(at_ns, at_ns))


def test_files_in_a_new_directory(git: Git, client: Client) -> None:
    assert wrong_fields(client, git.path) == []
    make(git.path / "new/deep/file", NEW_NS)
    assert wrong_fields(client, git.path) == []
    make(git.path / "new/deep/ignored.o", NEWEST_NS)
    assert wrong_fields(client, git.path) == []


def test_a_directory_that_is_moved_in(git: Git, client: Client, tmp_path: Path) -> None:
    assert wrong_fields(client, git.path) == []
    for number in range(600):
        make(tmp_path / f"aside/many/{number}", NEW_NS if number == 300 else OLD_NS)
    (tmp_path / "aside").rename(git.path / "dir/moved")
    assert wrong_fields(client, git.path) == []


def test_files_below_a_tracked_name(git: Git, client: Client) -> None:
    assert wrong_fields(client, git.path) == []
    (git.path / "a").unlink()
    assert wrong_fields(client, git.path) == []
    make(git.path / "a/in", NEW_NS)
    assert wrong_fields(client, git.path) == []


def test_a_file_in_conflict(git: Git, client: Client) -> None:
    git("checkout", "-qb", "other")
    (git.path / "a").write_bytes(b"other\n")
    git("commit", "-qam", "other")
    git("checkout", "-q", "main")
    (git.path / "a").write_bytes(b"main\n")
    git("commit", "-qam", "main")
    assert git.ask("merge", "-q", "other").exit == 1
    os.utime(git.path / "a", ns=(NEW_NS, NEW_NS))
    assert wrong_fields(client, git.path) == []
    (git.path / "a").unlink()
    assert wrong_fields(client, git.path) == []


def test_a_file_to_be_taken_for_unchanged(git: Git, client: Client) -> None:
    git("update-index", "--assume-unchanged", "a")
    make(git.path / "a", NEW_NS)
    assert wrong_fields(client, git.path) == []
    client.call("refresh", [str(git.path)])
    assert wrong_fields(client, git.path) == []


def test_rules_that_change_what_counts(git: Git, client: Client) -> None:
    make(git.path / "x.o", NEW_NS)
    assert wrong_fields(client, git.path) == []
    (git.path / ".gitignore").write_bytes(b"")
    assert wrong_fields(client, git.path) == []
    (git.path / ".gitignore").write_bytes(b"*.o\n")
    assert wrong_fields(client, git.path) == []


def test_an_ignored_file_that_is_tracked_no_longer(git: Git, client: Client) -> None:
    make(git.path / "x.o", NEW_NS)
    git("add", "-f", "x.o")
    assert wrong_fields(client, git.path) == []
    git("rm", "-q", "--cached", "x.o")
    assert wrong_fields(client, git.path) == []


def test_a_touched_file_after_the_newest_went(git: Git, client: Client) -> None:
    """What the index recorded of it is of old: clean files are not written there."""
    os.utime(git.path / "dir/c", ns=(NEW_NS, NEW_NS))
    make(git.path / "newest", NEWEST_NS)
    assert wrong_fields(client, git.path) == []
    (git.path / "newest").unlink()
    assert wrong_fields(client, git.path) == []
    os.utime(git.path / "dir/c", ns=(OLD_NS, OLD_NS))
    assert wrong_fields(client, git.path) == []
