"""Questions over many repositories: which are shown, in which order, in which form. Every option of gitoverit's
`gitoverit` command that concerns this is here under its own name."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gitwatch.cli import parse
from gitwatch.selection import Selection

from tests.scenarios.commands import Completed, Gitwatch
from tests.zoo.commands import new_repository
from tests.zoo.nursery import configure, write

FLEET = {
    "Zebra": "clean, on `main`, with the upstream origin/main on GitHub",
    "api": "on `feature/x`, one modified, one deleted, one untracked",
    "web": "detached",
    "deep/er/nest": "clean, a stash",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("fleet")
    made = {name: new_repository(top / name, {"a": b"a\n", "b": b"b\n"}) for name in FLEET}
    zebra = made["Zebra"]
    configure(zebra, '[remote "origin"]\n\turl = git@github.com:owner/zebra.git\n')
    configure(zebra, "\tfetch = +refs/heads/*:refs/remotes/origin/*\n")
    configure(zebra, '[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n')
    zebra("update-ref", "refs/remotes/origin/main", "HEAD")
    zebra("commit", "-qm", "second", "--allow-empty")
    api = made["api"]
    api("checkout", "-qb", "feature/x")
    write(api.path / "a", b"other\n")
    (api.path / "b").unlink()
    write(api.path / "new", b"")
    os.utime(api.path / "new", (2_000_000_000, 2_000_000_000))
    made["web"]("checkout", "-q", "--detach")
    write(made["deep/er/nest"].path / "a", b"stashed\n")
    made["deep/er/nest"]("stash", "-q")
    return top


@pytest.fixture(scope="module")
def gitwatch(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitwatch]:
    command = Gitwatch(tmp_path_factory.mktemp("queries") / "state", fleet)
    assert len(command.reports(fleet)) == len(FLEET)
    yield command
    command.end()


def names(done: Completed) -> list[str]:
    """The repositories of an answer, in its order."""
    assert (done.returncode, done.stderr) == (0, b""), done
    text = done.stdout.decode()
    if text.startswith("["):
        return [report["name"] for report in json.loads(text)]
    return [line.split()[0].rpartition("/")[2] for line in text.splitlines() if line.split()[0] in FLEET]


CHOICES: list[tuple[list[str], list[str]]] = [
    (["--where", "dirty"], ["api"]),
    (["-w", "not dirty"], ["Zebra", "nest", "web"]),
    (["-w", 'branch == "DETACHED@" + oid[:7]'], ["web"]),
    (["-w", 'branch.rx("^feature/") and modified == 1 and deleted == 1 and untracked == 1'], ["api"]),
    (["-w", 'status == "1m 1u 1d"'], ["api"]),
    (["-w", 'remote == "origin/main" and url == "ssh+owner/zebra" and ahead == 1 and behind == 0'], ["Zebra"]),
    (["-w", 'remote == "-" and url == "-" and status == "clean"'], ["nest"]),
    (["-w", 'dir.startswith("deep/")'], ["nest"]),
    (["-w", 'dir == "api" and path.endswith("/api") and name == "api"'], ["api"]),
    (["-w", 'ident.rxi("<[^>]+@")'], ["Zebra", "api", "nest", "web"]),
    (["-w", "mtime == 2000000000 and latest_mtime == mtime"], ["api"]),
    (["-w", "stashes > 0"], ["nest"]),
    (["-w", "counts.unstaged_deleted > 0 and counts.staged == 0"], ["api"]),
    (["-w", "upstream.ahead > 0 and not upstream.gone"], ["Zebra"]),
    (["-w", "action.name is None and action is None"], ["Zebra", "api", "nest", "web"]),
    (["-w", 'state == "fresh" and detached and rxi(name, "WEB")'], ["web"]),
    (["--dirty"], ["api"]),
    (["-d"], ["api"]),
    (["--dirty-only", "-w", 'name != "api"'], []),
    (["--depth", "1"], ["Zebra", "api", "web"]),
    (["--depth", "3"], ["Zebra", "api", "nest", "web"]),
    (["--reverse"], ["web", "nest", "api", "Zebra"]),
    (["-s", "none", "-r"], ["web", "nest", "api", "Zebra"]),
    (["--sort", "path"], ["api", "nest", "web", "Zebra"]),
    (["-s", "dir"], ["api", "nest", "web", "Zebra"]),
    (["-s", "name"], ["api", "nest", "web", "Zebra"]),
    (["-sNAME", "-r"], ["Zebra", "web", "nest", "api"]),
    (["-s", "branch"], ["web", "api", "Zebra", "nest"]),
    (["-s", "branch_remote"], ["web", "api", "nest", "Zebra"]),
    (["-s", "remote", "-r"], ["Zebra", "api", "nest", "web"]),
    (["-s", "url", "-r"], ["Zebra", "api", "nest", "web"]),
    (["-s", "status"], ["web", "api", "Zebra", "nest"]),
    (["-s", "ident"], ["Zebra", "api", "nest", "web"]),
    (["-s", "author"], ["Zebra", "api", "nest", "web"]),
]


@pytest.fixture(scope="module")
def reports(gitwatch: Gitwatch, fleet: Path) -> list[dict[str, Any]]:
    return gitwatch.reports(fleet)


@pytest.mark.parametrize(("options", "expected"), CHOICES, ids=[" ".join(options) for options, _ in CHOICES])
def test_choice_and_order(
    reports: list[dict[str, Any]], fleet: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(fleet)
    chosen = Selection(parse(["status", *options, str(fleet)])).choose(reports)
    assert [report["name"] for report in chosen] == expected


@pytest.mark.parametrize("form", [[], ["--json"], ["--direct"], ["--direct", "--json"]])
def test_every_form_shows_the_same_choice(gitwatch: Gitwatch, fleet: Path, form: list[str]) -> None:
    options = ["-w", "dirty or ahead > 0 or detached", "--sort", "branch", "-r"]
    assert names(gitwatch("status", *options, *form, fleet)) == ["Zebra", "api", "web"]


def test_order_by_time(gitwatch: Gitwatch, fleet: Path) -> None:
    assert names(gitwatch("status", "--json", "--sort", "mtime", fleet))[-1] == "api"
    assert names(gitwatch("status", "--sort", "age", fleet))[0] == "api"


def test_json_forms(gitwatch: Gitwatch, fleet: Path) -> None:
    whole = json.loads(gitwatch("status", "--json", fleet).stdout)
    assert [set(report) for report in json.loads(gitwatch("status", "-o", "json", "-d", fleet).stdout)] == [
        set(whole[0])
    ]
    lines = gitwatch("status", "--jsonl", "-w", "dirty", fleet).stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["api"]
    assert gitwatch("status", "--format=table", fleet).stdout.startswith(b"~conflicted")


def test_lines_are_counted_when_asked_for(gitwatch: Gitwatch, fleet: Path) -> None:
    lines = {r["name"]: r["lines"] for r in json.loads(gitwatch("status", "--json", "--lines", fleet).stdout)}
    nothing = {"added": 0, "removed": 0}
    assert lines == {"Zebra": nothing, "api": {"added": 1, "removed": 2}, "web": nothing, "nest": nothing}
    assert "lines" not in json.loads(gitwatch("status", "--json", fleet).stdout)[0]
    assert gitwatch("status", "-w", "lines.removed == 2", "-p", "status", fleet).stdout == b"1m (+1/-2) 1u 1d\n"
    for options in (["--lines", "-c", "-,dir"], ["-c", "-,dir,lines"], ["--lines", "-d", "-c", "-,dir"]):
        title, *rows = gitwatch("status", *options, fleet).stdout.decode().splitlines()
        assert title.split() == ["REPOSITORY", "LINES"]
        assert [row.split() for row in rows if row.startswith("api")] == [["api", "+1/-2"]]
    done = gitwatch("status", "--lines", "--metadata-only", fleet)
    assert done.returncode == 2 and b"--metadata-only and --lines exclude each other" in done.stderr


def test_print(gitwatch: Gitwatch, fleet: Path) -> None:
    done = gitwatch("status", "--print", 'f"{name} {branch}"', "-w", "not detached", fleet)
    assert done.stdout == b"Zebra main\napi feature/x\nnest main\n"
    done = gitwatch("status", "-p", "path", "-0", "-d", fleet)
    assert done.stdout == os.fsencode(fleet / "api") + b"\0"
    assert gitwatch("status", "-p", "upstream.name", "--print0", fleet).stdout == b"origin/main\0\0\0\0"
    assert gitwatch("status", "-p", "ahead", "-d", "--direct", fleet).stdout == b"0\n"


def test_print_gives_names_back_byte_by_byte_but_steers_no_terminal(gitwatch: Gitwatch, tmp_path: Path) -> None:
    name = b"b\xff\x1b[2J"
    new_repository(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), {"a": b""})
    path = os.fsencode(tmp_path) + b"/" + name
    assert gitwatch("status", "-p", "path", "-0", tmp_path).stdout == path + b"\0"
    leader, follower = pty.openpty()
    command = gitwatch.start("status", "-p", "path", tmp_path).args
    assert isinstance(command, list)
    subprocess.run(command, stdout=follower, cwd=gitwatch.directory, check=True)
    os.close(follower)
    assert b"\x1b" not in os.read(leader, 4096)
    os.close(leader)


def test_columns(gitwatch: Gitwatch, fleet: Path) -> None:
    def titles(*options: str) -> list[str]:
        lines = gitwatch("status", *options, fleet).stdout.decode().splitlines()
        return next(line for line in lines if "REPOSITORY" in line).split()

    whole = titles()
    assert whole[:3] == ["REPOSITORY", "BRANCH", "CHANGES"] and "URL" in whole
    assert titles("--columns", "-url,-changes,ident") == [t for t in whole if t not in ("URL", "CHANGES")] + ["IDENT"]
    every = "-,dir,status,branch,remote,url,mtime,branch_remote,ident"
    assert titles("-c", every) == [
        "REPOSITORY", "STATUS", "BRANCH", "UPSTREAM", "URL", "CHANGED", "BRANCH:UPSTREAM", "IDENT",
    ]  # fmt: skip
    assert titles("-c", every, "--direct") == titles("-c", every)
    assert titles("-c", "-,dir,status", "-w", "dirty") == ["REPOSITORY", "STATUS"]


def test_metadata_only_looks_at_no_file(gitwatch: Gitwatch, fleet: Path) -> None:
    for direct in ([], ["--direct"]):
        reports: list[dict[str, Any]] = json.loads(
            gitwatch("status", "--metadata-only", "--json", *direct, fleet).stdout
        )
        for report in reports:
            assert report["dirty"] is None and report["counts"] is None and report["mtime"] is None
        assert [report["branch"] for report in reports] == ["main", "feature/x", "main", None]
    done = gitwatch("status", "--metadata-only", "-w", 'ahead > 0 and status == "? 1↑"', fleet)
    assert names(done) == ["Zebra"] and b"CHANGES" not in done.stdout and b"CHANGED" not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "dirtyy"], "--where 'dirtyy': there is no name 'dirtyy'; did you mean 'dirty'?"),
        (["--print", "1 +"], "--print '1 +': invalid syntax"),
        (["-w", "branch > 1"], "--where 'branch > 1': '>' not supported"),
        (["--sort", "size"], "--sort: there is no order 'size'"),
        (["--columns", "-nosuch"], "there is no column 'nosuch'"),
        (["--columns", "nosuch", "--direct"], "there is no column 'nosuch'"),
        (["--format", "xml"], "no format 'xml'"),
        (["-0"], "-0 goes with --print"),
        (["-p", "path", "--json"], "--json and --print exclude each other"),
        (["--metadata-only", "-d"], "--metadata-only and --dirty exclude each other"),
        (["--metadata-only", "-s", "mtime"], "--metadata-only and --sort mtime exclude each other"),
        (["--metadata-only", "-w", "modified > 0"], "--where with --metadata-only: modified cannot be known"),
        (["--metadata-only", "-p", "counts.staged"], "--print with --metadata-only: counts cannot be known"),
        (["--metadata-only", "-c", "mtime"], "--metadata-only and --columns mtime exclude each other"),
        (["-w", '("a" * 64 + "b").rx("(a+)+$")', "--timeout", "1"], "--where was not evaluated within"),
        (["--table-algo", "char"], "no option '--table-algo'"),
    ],
)
def test_usage(gitwatch: Gitwatch, fleet: Path, options: list[str], message: str) -> None:
    done = gitwatch("status", *options, fleet)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"gitwatch: {message}"), done.stderr.decode()


def test_depth_needs_a_path(gitwatch: Gitwatch) -> None:
    assert gitwatch("status", "--depth", "1").stderr.startswith(b"gitwatch: --depth needs a PATH")


def test_what_failed_is_told_though_it_is_not_shown(gitwatch: Gitwatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(new_repository(tmp_path / name, {"a": b""}).path / ".git" / "index", b"damaged")
    done = gitwatch("status", "-w", "dirty", tmp_path)
    assert done.returncode == 1 and done.stderr.count(b"gitwatch: failed: ") == 2
    for options in ([], ["--json"], ["-p", "name"], ["--direct"]):
        done = gitwatch("status", "--errors", *options, tmp_path)
        assert done.returncode == 1 and done.stderr.count(b"gitwatch: failed: ") == 2, (options, done.stderr)


def test_what_was_left_out_for_certain_is_not_told(gitwatch: Gitwatch, tmp_path: Path) -> None:
    write(new_repository(tmp_path / "broken", {"a": b""}).path / ".git" / "index", b"damaged")
    new_repository(tmp_path / "whole", {"a": b""})
    unsafe = new_repository(tmp_path / "deep/unsafe", {"a": b"", ".gitattributes": b"* filter=own\n"})
    configure(unsafe, '[filter "own"]\n\tclean = cat\n')

    def told(*options: str) -> list[str]:
        done = gitwatch("status", *options, tmp_path)
        warned = [line.split()[1:3] for line in done.stderr.decode().splitlines() if line.startswith("gitwatch: ")]
        assert done.returncode == ("failed:" in [state for state, _ in warned])
        return sorted(Path(path.rstrip(":")).name for _, path in warned)

    for form in ([], ["--json"], ["--direct"], ["--direct", "--json"]):
        assert told(*form, "-w", 'name == "whole"') == []
        assert told(*form, "-w", 'name == "broken"') == ["broken"]
        assert told(*form, "-w", 'branch == "other"') == ["broken"]  # what it is of the unsafe one is known
        assert told(*form, "-w", 'dirty and name != "x"') == ["broken", "unsafe"]
        assert told(*form, "-d") == ["broken", "unsafe"]
        assert told(*form, "--depth", "1") == ["broken"]


def test_help_where_names_every_name(gitwatch: Gitwatch) -> None:
    from gitwatch.words import NAMES

    text = gitwatch("status", "--help-where").stdout.decode().replace(".", " ").replace(",", " ").split()
    assert {name for name in NAMES if name not in text} - {"upstream", "push", "counts", "action", "lines"} == set()
