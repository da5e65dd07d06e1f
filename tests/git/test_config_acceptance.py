"""What git refuses must be doubtful here; what is doubtful may be taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gitwatchd.analysis.job import analyse
from gitwatchd.analysis.private_index import read_snapshot
from gitwatchd.git import config_acceptance
from gitwatchd.git.config_acceptance import find_unproven, find_unsettled, note_accepted
from gitwatchd.git.config_walk import Entry, Scope
from gitwatchd.git.layout import read_location
from gitwatchd.model.repository import Analysed, Failed, Job, Outcome
from tests.zoo.commands import Git, ask_judge
from tests.zoo.waiting import wait_until

Make = Callable[..., Git]

VALUES = (
    None, b"", b"true", b"maybe", b"-1", b"3", b"99999999999", b"auto", b"input", b"~nobody-of-this-name/x", b":::",
    b"+refs/heads/*:refs/remotes/o/*", b"refs/heads/*:refs/x", b"zebra", b"0x", b"no\\\\", b"a..b",
)  # fmt: skip
UNREAD = (
    b"alias.st", b"merge.renames", b"gpg.format", b"http.version", b"credential.helper", b"commit.gpgsign", b"log.date",
    b"format.pretty", b"fetch.prune", b"gc.auto", b"rerere.enabled", b"pull.rebase", b"init.defaultbranch", b"lfs.x",
    b"unheard.of", b"push.followtags", b"tag.sort", b"rebase.autosquash", b"merge.tool.cmd", b"interactive.singlekey",
)  # fmt: skip
ELSEWHERE = (b"core.bare", b"core.worktree", b"core.repositoryformatversion")
"""They decide whether there is a worktree at all, and are looked at for that."""


@pytest.fixture(autouse=True)
def nothing_accepted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(config_acceptance, "_accepted", set())
    return iter([None])


def keys() -> list[bytes]:
    below = [b"%b.main.%b" % (section, name) for section, n in config_acceptance._TAKEN_BELOW.items() for name in n]
    return [*(key for key in config_acceptance._TAKEN if key not in ELSEWHERE), *below, *UNREAD]


@pytest.mark.parametrize("part", range(4))
def test_what_git_refuses_is_doubtful(repository: Make, part: int) -> None:
    git = repository({"a": b"1\n"})
    git("remote", "add", "origin", ".")
    git("config", "branch.main.remote", "origin")
    git("config", "branch.main.merge", "refs/heads/main")
    config = git.path / ".git/config"
    before = config.read_bytes()
    missed, refused = [], 0
    for key in keys()[part::4]:
        section, _, rest = key.partition(b".")
        subsection, _, name = rest.rpartition(b".")
        header = b'[%b "%b"]' % (section, subsection) if subsection else b"[%b]" % section
        for value in VALUES:
            line = b"%b\n\t%b%b\n" % (header, name, b"" if value is None else b' = "%b"' % value)
            config.write_bytes(before + line)
            unproven = find_unproven([Entry(key, value, Scope.LOCAL, b"")])
            if not unproven and ask_judge(git.path).exit:
                missed.append(line)
            refused += unproven is not None
    assert not missed
    assert refused > 20


def entry(key: bytes, value: bytes | None) -> Entry:
    return Entry(key, value, Scope.LOCAL, b"/x")


def test_what_git_took_once_is_taken_again() -> None:
    odd = entry(b"diff.colormoved", b"zebra")
    assert find_unproven([entry(b"alias.x", None), odd]) == b"diff.colormoved"
    note_accepted([odd])
    assert find_unproven([odd]) is None
    assert find_unproven([entry(b"diff.colormoved", b"other")]) == b"diff.colormoved"


def test_what_a_later_line_hid_was_not_taken() -> None:
    hidden = entry(b"index.threads", b"zebra")
    note_accepted([hidden, entry(b"index.threads", b"1")])
    assert find_unproven([hidden]) == b"index.threads"


@pytest.mark.parametrize("taken", ["diff", "status"])
@pytest.mark.parametrize("name", ["renames", "renameLimit"])
def test_what_an_earlier_line_or_status_s_own_hid_was_not_taken(
    repository: Make, analysed: Callable[[Git], Outcome], name: str, taken: str
) -> None:
    first, second = repository({"a": b"1\n"}, name="first"), repository({"a": b"1\n"}, name="second")
    first("config", "--add", f"{taken}.{name}", "3")
    for git in (first, second):
        git("config", "--add", f"diff.{name}", "zebra")
    assert isinstance(analysed(first), Analysed)
    assert ask_judge(second.path).exit == 128
    assert isinstance(analysed(second), Failed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"extensions.unheard", b""), (b"extensions.worktreeconfig", b"zebra"), (b"core.bare", b"zebra"),
        (b"core.worktree", b""), (b"core.repositoryformatversion", b"9"),
    ],
)  # fmt: skip
def test_what_git_took_in_another_file_may_be_refused_in_the_repository_s_own(key: bytes, value: bytes) -> None:
    note_accepted([Entry(key, value, Scope.GLOBAL, b"/home/.gitconfig")])
    assert find_unproven([Entry(key, value, Scope.LOCAL, b"/repository/.git/config")]) == key


def test_what_is_read_at_times_is_never_proven() -> None:
    odd = entry(b"remote.origin.fetch", b":::")
    note_accepted([odd])
    assert find_unproven([odd]) == find_unsettled([odd]) == b"remote.origin.fetch"
    assert find_unsettled([entry(b"remote.origin.fetch", b"+refs/heads/*:refs/remotes/origin/*")]) is None


@pytest.fixture
def analysed(tmp_path: Path) -> Callable[[Git], Outcome]:
    def analyse_without_git_if_exact(git: Git) -> Outcome:
        location = read_location(os.fsencode(git.path))
        assert location is not None
        return analyse(replace(Job(location, os.fsencode(tmp_path / "indexes"), 30.0, None), by_git=False))

    return analyse_without_git_if_exact


def test_git_is_asked_once_for_a_line_not_once_for_a_repository(
    repository: Make, analysed: Callable[[Git], Outcome]
) -> None:
    first, second = repository({"a": b"1\n"}, name="first"), repository({"a": b"1\n"}, name="second")
    for git in (first, second):
        git("config", "diff.colorMoved", "zebra")
    one, other = analysed(first), analysed(second)
    assert isinstance(one, Analysed)
    assert isinstance(other, Analysed)
    assert (one.by_git, other.by_git) == (True, False)


def settle_index(git: Git) -> None:
    """Until a copy of the index may be refreshed."""

    def settled() -> bool:
        snapshot = read_snapshot(os.fsencode(git.path / ".git/index"))
        return snapshot is not None and snapshot.settled()

    wait_until(settled, what="the index is of an earlier tick of the clock")


@pytest.mark.parametrize(("key", "value"), [("index.sparse", "zebra"), ("core.worktree", "")])
def test_what_our_own_options_or_readers_hide_is_refused_all_the_same(
    repository: Make, analysed: Callable[[Git], Outcome], key: str, value: str
) -> None:
    git = repository({"a": b"1\n"})
    settle_index(git)
    git("config", key, value)
    assert ask_judge(git.path).exit == 128
    assert isinstance(analysed(git), Failed)


@pytest.mark.parametrize("key", ["index.recordEndOfIndexEntries", "core.sharedRepository"])
def test_what_git_refuses_only_to_write_an_index_is_no_refusal(
    repository: Make, analysed: Callable[[Git], Outcome], key: str
) -> None:
    git = repository({"a": b"1\n"})
    os.utime(git.path / "a", ns=(10**18, 10**18))  # there is something to refresh
    settle_index(git)
    git("config", key, "zebra")
    outcome = analysed(git)
    assert isinstance(outcome, Analysed)
    assert outcome.entries == ask_judge(git.path).stdout


@pytest.mark.parametrize(("key", "value"), [("color.status.added", "no colour"), ("remote.origin.fetch", ":::")])
def test_git_s_refusal_is_told(repository: Make, analysed: Callable[[Git], Outcome], key: str, value: str) -> None:
    git = repository({"a": b"1\n"})
    git("config", "branch.main.remote", "origin")
    git("config", "branch.main.merge", "refs/heads/main")
    git("config", key, value)
    assert ask_judge(git.path).exit == 128
    assert isinstance(analysed(git), Failed)


@pytest.mark.parametrize("place", [".git/info/exclude", "rules"])
def test_a_directory_in_the_place_of_a_file_of_ignore_rules(
    repository: Make, analysed: Callable[[Git], Outcome], place: str
) -> None:
    git = repository({"a": b"1\n"})
    git("config", "core.excludesFile", "rules")
    (git.path / place).unlink(missing_ok=True)
    (git.path / place).mkdir(parents=True)
    assert ask_judge(git.path).exit == 128
    assert isinstance(analysed(git), Failed)
