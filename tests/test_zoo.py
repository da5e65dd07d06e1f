"""The zoo is what it claims to be, and the daemon answers for all of it as git does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.zoo.commands import Git, ask_judge, judge, new_repository
from tests.zoo.comparison import changeable, compare_all, difference, run_steps, told
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import append, write
from tests.zoo.operations import Operations
from tests.zoo.repositories import BUILDERS, REFUSED, UNSAFE, build_zoo

SEED = 20261123

EXPECTED = {
    "clean": "",
    "staged-new": "1 A.",
    "staged-modified": "1 M.",
    "staged-deleted": "1 D.",
    "staged-renamed": "2 R.",
    "staged-copied": "1 M. 2 C.",
    "staged-typechange": "1 T.",
    "unstaged-modified": "1 .M",
    "unstaged-deleted": "1 .D",
    "unstaged-typechange": "1 .T",
    "unstaged-renamed": "2 .R",
    "mode-changed": "1 .M",
    "mode-ignored": "",
    "untracked-file": "?",
    "untracked-no": "1 .M",
    "intent-to-add": "1 .A 2 .R",
    "mixed": "1 AD 1 AM 1 D. 1 MD 1 MM 2 RD 2 RM ?",
    "touched": "",
    "racy": "1 AM",
    "racy-without-ctime": "1 AM",
    "empty-directories": "",
    "conflicts-of-every-kind": "1 .M ? u AA u AU u DD u DU u UA u UD u UU",
    "submodule-clean": "",
    "submodule-uninitialised": "",
    "submodule-staged": "1 MM",
    "skip-worktree": "",
    "assume-unchanged": "",
    "sparse-index": "1 .M",
    "fsmonitor-configured": "1 .M ?",
    "global-filter": "1 .M",
    "worktree-config-linked": "",
    "worktree-config": "?",
}
"""Kinds of the entries, by the judge: what makes that inhabitant worth having."""

IN_PROGRESS = {
    "rebase-merge": "rebase-merge",
    "rebase-interactive": "rebase-merge/interactive",
    "rebase-apply": "rebase-apply",
    "mailbox": "rebase-apply/applying",
    "merge-conflict": "MERGE_HEAD",
    "cherry-pick": "CHERRY_PICK_HEAD",
    "cherry-pick-sequence": "sequencer/todo",
    "revert": "REVERT_HEAD",
    "revert-sequence": "sequencer/todo",
    "bisect": "BISECT_LOG",
    "shallow": "shallow",
    "stale-index-lock": "index.lock",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Daemon(tmp_path_factory.mktemp("zoo-daemon")) as daemon, daemon.connect() as connected:
        yield connected


def kinds(status: bytes) -> str:
    records = iter(status.split(b"\0"))
    found = set()
    for record in records:
        if record[:2] in (b"1 ", b"2 ", b"u "):
            found.add(record[:4].decode())
        elif record.startswith(b"? "):
            found.add("?")
        if record.startswith(b"2 "):
            next(records)  # the name before the rename
    return " ".join(sorted(found))


def test_every_inhabitant_is_what_it_claims(zoo: dict[str, Path]) -> None:
    assert len(zoo) >= 100
    assert {name: kinds(judge(zoo[name])) for name in EXPECTED} == EXPECTED
    missing = {name for name, file in IN_PROGRESS.items() if not (zoo[name] / ".git" / file).exists()}
    assert missing == set()


def test_git_refuses_exactly_where_the_zoo_says(zoo: dict[str, Path]) -> None:
    asked = zoo.keys() - UNSAFE  # the judge would run their programs
    assert {name for name in asked if ask_judge(zoo[name]).exit} == REFUSED


def test_the_same_seed_makes_the_same_sequence(tmp_path: Path) -> None:
    histories = []
    for attempt in ("one", "two"):
        directory = tmp_path / attempt / "zoo"  # same name below: descriptions are relative
        directory.mkdir(parents=True)
        few = build_zoo(directory, frozenset({"mixed", "stashed", "submodule-modified", "odd-names"}))
        operations = Operations(Random(SEED), few.values())
        for _ in range(120):
            operations.step()
        histories.append(operations.history)
    assert histories[0] == histories[1]
    assert len({line.split()[2] for line in histories[0]}) > 10


def test_touching_the_real_home_is_an_error(tmp_path: Path) -> None:
    """In a child, whose "real" HOME is a directory made for it."""
    real = tmp_path / "real-home"
    real.mkdir()
    (real / ".gitconfig").write_bytes(b"")
    attempt = (
        "import os, tempfile\n"
        "tempfile.tempdir = os.environ['ELSEWHERE']\n"  # the isolation allows the temporary directory
        "from tests.zoo.isolation import Isolation, RealHomeTouchedError\n"
        "isolation = Isolation()\n"
        "assert os.environ['HOME'] == str(isolation.home) and 'GIT_DIR' not in os.environ\n"
        f"for touch in (os.listdir, open):\n"
        f"    try:\n"
        f"        touch({str(real / '.gitconfig')!r})\n"
        "    except RealHomeTouchedError:\n"
        "        pass\n"
        "isolation.remove()\n"
        "print(len(isolation.touched))\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "HOME": str(real), "GIT_DIR": "/nowhere", "ELSEWHERE": str(elsewhere)}
    done = subprocess.run(
        [sys.executable, "-c", attempt],
        cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("2", "")


def test_the_daemon_answers_for_the_zoo_as_git_does(client: Client, zoo: dict[str, Path]) -> None:
    own_program_ran = next(iter(zoo.values())).parent / "_pwned"
    assert not own_program_ran.exists()
    wrong = compare_all(client, list(zoo.values()))
    assert not own_program_ran.exists()
    assert wrong == [], "\n".join(wrong)


def test_a_second_question_gets_the_same_answer(client: Client, zoo: dict[str, Path]) -> None:
    """From memory now."""
    wrong = compare_all(client, list(zoo.values()))
    assert wrong == [], "\n".join(wrong)


def test_after_each_random_operation_the_answer_is_git_s(client: Client, zoo: dict[str, Path]) -> None:
    operations = Operations(Random(SEED), changeable(zoo))
    run_steps(client, operations, 300)
    for path in zoo.values():
        wrong = difference(client, path)
        assert wrong is None, f"{wrong}\n{told(operations, path)}"


def _append(git: Git, n: int) -> None:
    append(git.path / "file", b"%d\n" % n)


def _edit_same_size(git: Git, n: int) -> None:
    write(git.path / "file", b"%04d\n" % n)


def _create_and_delete(git: Git, n: int) -> None:
    path = git.path / "new"
    path.unlink() if path.exists() else path.write_bytes(b"")


def _create_deep(git: Git, n: int) -> None:
    write(git.path / f"deep{n}/a/b/c/d/f", b"")


def _save_atomically(git: Git, n: int) -> None:
    write(git.path / "file.tmp", b"%d\n" % n * (n + 1))
    (git.path / "file.tmp").rename(git.path / "file")


def _rename_directory(git: Git, n: int) -> None:
    (git.path / f"dir{n or ''}").rename(git.path / f"dir{n + 1}")


def _change_mode(git: Git, n: int) -> None:
    (git.path / "file").chmod(0o644 if n % 2 else 0o755)


def _edit_ignore_rules(git: Git, n: int) -> None:
    write(git.path / "seen/file", b"")
    write(git.path / ".gitignore", b"" if n % 2 else b"seen/\n")


def _stage(git: Git, n: int) -> None:
    append(git.path / "file", b"%d\n" % n)
    git("add", "file")


def _commit(git: Git, n: int) -> None:
    append(git.path / "file", b"%d\n" % n)
    git("commit", "-qam", "again")


def _unstage_a_commit(git: Git, n: int) -> None:
    """Only the index and a ref move; no file of the worktree does."""
    append(git.path / "file", b"%d\n" % n)
    git("commit", "-qam", "again")
    git("reset", "-q", "HEAD~1")


def _leave_a_commit_with_a_deleted_file(git: Git, n: int) -> None:
    """Committed, deleted by hand, then gone from the index too."""
    if n % 3 == 0:
        write(git.path / "extra/file", b"")
        git("add", "-A")
        git("commit", "-qm", "extra")
    elif n % 3 == 1:
        (git.path / "extra/file").unlink()
    else:
        git("reset", "-q", "--hard", "HEAD~1")


def _remake_a_directory(git: Git, n: int) -> None:
    if n % 2 == 0:
        git("rm", "-rqf", "--ignore-unmatch", "dir")
        shutil.rmtree(git.path / "dir", ignore_errors=True)
    else:
        write(git.path / f"dir/new/deep/{n}", b"")


CHANGES = (
    _append,
    _edit_same_size,
    _create_and_delete,
    _create_deep,
    _save_atomically,
    _rename_directory,
    _change_mode,
    _edit_ignore_rules,
    _stage,
    _commit,
    _unstage_a_commit,
    _leave_a_commit_with_a_deleted_file,
    _remake_a_directory,
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_the_question_right_after_it(
    client: Client, tmp_path: Path, change: Callable[[Git, int], None]
) -> None:
    git = new_repository(tmp_path / "repo", {"file": b"first\n", "dir/other": b"other\n"})
    client.entries(git.path)
    for n in range(20):
        change(git, n)
        wrong = difference(client, git.path)
        assert wrong is None, f"change {n}: {wrong}"


def test_every_builder_has_its_own_worktree(zoo: dict[str, Path]) -> None:
    paths = [os.fspath(path) for path in zoo.values()]
    assert len(set(paths)) == len(paths) and zoo.keys() >= BUILDERS.keys()
