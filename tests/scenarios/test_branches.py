"""`gitwatch branches`. Every option of gitoverit's `gitob` command is here under its own name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import write


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Git:
    directory = tmp_path_factory.mktemp("branches")
    origin = new_repository(directory / "origin", {"a": b"a\n", "b": b"b\n"})
    for name in ("feature/x", "side", "zone"):
        origin("branch", name)
    Git(directory)("clone", "-q", "origin", "repo")
    git = Git(directory / "repo")
    late = {"GIT_COMMITTER_DATE": "1800000000 +0000"}
    git("checkout", "-q", "feature/x")
    git("commit", "-q", "--allow-empty", "-m", "Über x", "--author", "Zoë <z@x>", env=late)
    git("checkout", "-q", "side")
    git("push", "-q", "origin", ":side")
    git("branch", "Mine", "--no-track")
    git("worktree", "add", "-q", "../linked", "zone")
    write(directory / "linked" / "a", b"changed\n")
    (directory / "linked" / "b").unlink()
    git("checkout", "-q", "main")
    write(git.path / "new", b"")
    return git


@pytest.fixture(scope="module")
def gitwatch(repo: Git, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitwatch]:
    command = Gitwatch(tmp_path_factory.mktemp("daemon") / "state", repo.path)
    yield command
    command.end()


def shown(gitwatch: Gitwatch, *options: str) -> list[str]:
    done = gitwatch("branches", "--json", *options)
    assert (done.returncode, done.stderr) == (0, b"")
    return [branch["branch"] for branch in json.loads(done.stdout)]


def test_everything_that_is_known(gitwatch: Gitwatch, repo: Git) -> None:
    whole = {branch["branch"]: branch for branch in json.loads(gitwatch("branches", "--json").stdout)}
    assert list(whole) == ["feature/x", "main", "Mine", "side", "zone"]
    x = whole["feature/x"]
    assert (x["upstream"], x["remote"], x["ahead"], x["behind"], x["gone"]) == (
        "origin/feature/x",
        "origin",
        1,
        0,
        False,
    )
    assert (x["author"], x["date"], x["subject"], x["worktree"]) == ("Zoë <z@x>", 1800000000, "Über x", None)
    assert x["head"] == repo("rev-parse", "feature/x").decode().strip() and x["dirty"] is None
    assert whole["side"]["gone"] and whole["side"]["ahead"] is None
    assert (whole["Mine"]["upstream"], whole["Mine"]["ahead"]) == (None, None)
    main, zone = whole["main"], whole["zone"]
    assert (main["current"], main["worktree"], main["untracked"], main["dirty"]) == (True, str(repo.path), 1, True)
    assert (zone["current"], zone["modified"], zone["deleted"], zone["untracked"]) == (False, 1, 1, 0)
    assert zone["worktree"] == str(repo.path.parent / "linked")
    from_there = json.loads(gitwatch("branches", "--json", repo.path.parent / "linked").stdout)
    assert [branch["branch"] for branch in from_there if branch["current"]] == ["zone"]
    assert [branch["untracked"] for branch in from_there if branch["branch"] == "main"] == [1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-g", "feature/*"], ["feature/x"]),
        (["--glob", "M*"], ["Mine"]),
        (["-r", "^(side|zone)$"], ["side", "zone"]),
        (["--regex", "i"], ["main", "Mine", "side"]),
        (["-w", "gone"], ["side"]),
        (["-w", "current and status == '1u'"], ["main"]),
        (["-w", "ahead > 0 and upstream == 'origin/feature/x' and behind == 0"], ["feature/x"]),
        (["-w", "not has_upstream and upstream == '-' and worktree == '-' and worktree_path == ''"], ["Mine"]),
        (["-w", "worktree == '../linked' or worktree == 'linked'"], ["zone"]),
        (["-w", "worktree == 'here' and path == repo and dirty"], ["main"]),
        (["-w", "modified == 1 and deleted == 1 and untracked == 0 and status == '1m 1d'"], ["zone"]),
        (["-w", "author.rxi('zoë') and date == 1800000000 and subject.startswith('Über')"], ["feature/x"]),
        (["-w", "len(head) == 12 and oid.startswith(head) and status == '='"], ["Mine", "side"]),
        (["-s", "branch", "--reverse"], ["zone", "side", "Mine", "main", "feature/x"]),
        (["-s", "date", "--reverse", "-w", "not rx(branch, 'i')"], ["feature/x", "zone"]),
        (["-s", "none"], ["Mine", "feature/x", "main", "side", "zone"]),
        (["-s", "ahead", "--reverse", "-w", "has_upstream"], ["feature/x", "main", "side", "zone"]),
        (["-s", "current", "-r", "^m|^z"], ["main", "zone"]),
        (["-s", "gone", "--reverse", "-r", "side|zone"], ["side", "zone"]),
        (["-s", "upstream"], ["Mine", "feature/x", "main", "side", "zone"]),
        (["-s", "worktree", "-w", "worktree != '-'"], ["main", "zone"]),
    ],
)
def test_choice_and_order(gitwatch: Gitwatch, options: list[str], expected: list[str]) -> None:
    assert shown(gitwatch, *options) == expected


@pytest.mark.parametrize("field", ["author", "behind", "status", "head", "subject"])
def test_every_order(gitwatch: Gitwatch, field: str) -> None:
    assert sorted(shown(gitwatch, "--sort", field), key=str.casefold) == ["feature/x", "main", "Mine", "side", "zone"]


def test_print(gitwatch: Gitwatch) -> None:
    assert gitwatch("branches", "-p", "branch", "-0", "-w", "gone").stdout == b"side\0"
    assert gitwatch("branches", "--print", 'f"{branch} {ahead}"', "-g", "f*").stdout == b"feature/x 1\n"
    assert gitwatch("branches", "-p", "action", "--print0", "-g", "main").stdout == b"\0"


def test_table_and_columns(gitwatch: Gitwatch) -> None:
    lines = gitwatch("branches", "-c", "-author,-age,-subject,-worktree").stdout.decode().splitlines()
    assert lines[:6] == [
        "  BRANCH     UPSTREAM          REMOTE  CHANGES",
        "  Mine",
        "  feature/x  origin/feature/x  ⇡1",
        "* main       origin/main       =       ?1",
        "  side       origin/side       gone",
        "+ zone       origin/zone       =       !2",
    ]
    assert lines[6].startswith("5 branches, 1 gone")
    every = "-,branch,head,upstream,status,ahead,behind,gone,current,worktree,date,author,subject"
    assert gitwatch("branches", "-c", every).stdout.decode().splitlines()[0].split() == [
        "BRANCH", "HEAD", "UPSTREAM", "STATUS", "AHEAD", "BEHIND", "GONE", "CURRENT", "WORKTREE", "DATE", "AUTHOR",
        "SUBJECT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sort", "size"], 2, "--sort: there is no order 'size'"),
        (["--columns", "nosuch"], 2, "there is no column 'nosuch'"),
        (["-r", "("], 2, "--regex: '(' is no regular expression"),
        (["-w", "nosuch"], 2, "--where 'nosuch': there is no name 'nosuch'\n  see `gitwatch branches --help-where`"),
        (["-0"], 2, "-0 goes with --print"),
        (["-p", "branch", "-j"], 2, "--print and --json exclude each other"),
        (["-r", "(a|i)*$" + "(.*)*" * 9 + "x!", "-w", '("a" * 64 + "b").rx("(a+)+$")', "--timeout", "1"], 0, ""),
        (["/"], 1, "/: not a git repository"),
        (["/nosuch"], 1, "/nosuch: no such file"),
        ([".", "."], 2, "`gitwatch branches` takes no '.'"),
    ],
)
def test_errors(gitwatch: Gitwatch, options: list[str], code: int, message: str) -> None:
    done = gitwatch("branches", *options)
    assert done.returncode == code, done
    assert done.stderr.decode().startswith(f"gitwatch: {message}" if message else "")


def test_a_runaway_expression_ends(gitwatch: Gitwatch) -> None:
    done = gitwatch("branches", "-w", '("a" * 64 + "b").rx("(a+)+$")', "--timeout", "1")
    assert done.returncode == 2 and b"was not evaluated within" in done.stderr


def test_help_where_names_every_name(gitwatch: Gitwatch) -> None:
    from gitwatch.words import BRANCH_NAMES

    assert not BRANCH_NAMES - set(gitwatch("branches", "--help-where").stdout.decode().replace(",", " ").split())


def test_a_repository_without_branches(gitwatch: Gitwatch, tmp_path: Path) -> None:
    new_repository(tmp_path / "new")
    assert gitwatch("branches", tmp_path / "new").stdout == b"0 branches\n"
    assert gitwatch("branches", "--json", tmp_path / "new").stdout == b"[]\n"


def test_names_that_are_not_utf8(gitwatch: Gitwatch, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "latin", {"a": b""})
    git("branch", b"gr\xfcn")
    assert gitwatch("branches", "-p", "branch", "-0", tmp_path / "latin").stdout == b"gr\xfcn\0main\0"
    assert b"gr\\xfcn" in gitwatch("branches", tmp_path / "latin").stdout
    assert b"Z3L8bg==" in gitwatch("branches", "-j", tmp_path / "latin").stdout
