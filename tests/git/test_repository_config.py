"""read_config against `git config --list --show-scope --show-origin --includes` in whole environments."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git import config_walk
from gitwatchd.git.config_file import BadValue, ConfigDamaged
from gitwatchd.git.config_walk import Entry, Scope
from gitwatchd.git.repository_config import RepositoryConfig, read_config, system_config_file
from gitwatchd.model.repository import Location, RepoPath

Run = Callable[..., bytes]


def location_of(run: Run) -> Location:
    top = os.path.realpath(os.fsencode(run.path))  # type: ignore[attr-defined]
    git_dir = run("rev-parse", "--absolute-git-dir").rstrip(b"\n")
    common = os.path.realpath(os.path.join(top, run("rev-parse", "--git-common-dir").rstrip(b"\n")))
    bare = run("rev-parse", "--is-bare-repository") == b"true\n"
    return Location(RepoPath(top), git_dir, common, bare)


def listed_by_git(run: Run) -> list[Entry] | None:
    answer = run.ask("config", "--list", "--show-scope", "--show-origin", "--includes", "-z")  # type: ignore[attr-defined]
    if answer.exit:
        return None
    fields = answer.stdout.split(b"\0")[:-1]
    entries = []
    for scope, origin, item in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        key, newline, value = item.partition(b"\n")
        path = os.path.join(os.fsencode(run.path), origin.removeprefix(b"file:"))  # type: ignore[attr-defined]
        entries.append(Entry(key, value if newline else None, Scope(scope.decode()), path))
    return entries


def listed_here(location: Location) -> list[Entry] | None:
    try:
        return list(read_config(location).entries)
    except ConfigDamaged:
        return None


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME for one test, with XDG_CONFIG_HOME unset."""
    home = tmp_path / "home"
    (home / ".config/git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    return home


CONDITIONS = [
    "gitdir:{top}/", "gitdir:{top}/.git", "gitdir:{above}/", "gitdir:repo/", "gitdir:/nowhere/",
    "gitdir:~/", "gitdir:~/work/",
    "gitdir/i:{TOP}/", "gitdir:**/repo/**", "gitdir:{above}/*/.git", "gitdir:./", "gitdir:./repo/",
    "gitdir:../repo/",
    "gitdir:re*/", "onbranch:main", "onbranch:topic/", "onbranch:m*", "onbranch:**",
    "hasconfig:remote.*.url:https://*/**",
    "hasconfig:remote.*.url:git@host:*", "unknown:x", "gitdir/i:REPO/", "gitdir:", "gitdir/i:~/WORK/",
]  # fmt: skip
SHARED = ["/inc1", "/inc2", "/sub/inc3", "/.config/git/inc4"]


def generated(rng: random.Random, top: Path, home: Path, depth: int) -> str:
    lines = []
    for _ in range(rng.randint(1, 4)):
        roll = rng.random()
        target = rng.choice(
            [*(str(home) + name for name in SHARED), "~/inc1", "inc2", "sub/inc3", "../inc1", "~nobody/x"]
        )
        if roll < 0.35 and depth < 4:
            condition = rng.choice(CONDITIONS).format(top=top, above=top.parent, TOP=str(top).upper())
            lines.append(f'[includeIf "{condition}"]\n\tpath = {target}')
        elif roll < 0.5 and depth < 4:
            lines.append(f"[include]\n\tpath = {target}")
        elif roll < 0.6 and depth == 0:
            lines.append(f'[remote "r{rng.randint(0, 9)}"]\n\turl = {rng.choice(["https://h/p/q", "git@host:x"])}')
        else:
            lines.append(f'[user]\n\tname = n{rng.randint(0, 999)}\n[Core "S"]\n\tX')
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(30))
def test_generated_configurations_agree_with_git(repository: Callable[..., Run], own_home: Path, seed: int) -> None:
    rng = random.Random(seed)
    home = own_home
    where = rng.choice(["repo", "home/work/repo"])
    run = repository(None, where)
    top: Path = run.path  # type: ignore[attr-defined]
    location = location_of(run)
    run("symbolic-ref", "HEAD", rng.choice(["refs/heads/main", "refs/heads/topic/a"]))
    (home / "sub").mkdir()
    # Include files include only later ones, so that few of the generated configurations are circular.
    for number, name in enumerate(SHARED):
        if rng.random() < 0.8:
            (home / name[1:]).write_text(generated(rng, top, home, number + 1))
    (home / ".gitconfig").write_text(generated(rng, top, home, 0))
    if rng.random() < 0.5:
        (home / ".config/git/config").write_text(generated(rng, top, home, 0))
    with open(top / ".git/config", "a") as file:
        file.write(generated(rng, top, home, 0))
        if rng.random() < 0.3:
            file.write("[extensions]\n\tworktreeConfig = true\n")
    (top / ".git/config.worktree").write_text("[user]\n\tname = worktree\n")
    assert listed_here(location) == listed_by_git(run)


def test_scopes_and_origins_of_a_linked_worktree(repository: Callable[..., Run], git: Callable[..., Run]) -> None:
    run = repository({"a": b""})
    top: Path = run.path  # type: ignore[attr-defined]
    run("config", "extensions.worktreeConfig", "true")
    run("worktree", "add", "-q", "../linked")
    linked = git(top.parent / "linked")
    linked("config", "--worktree", "core.bigFileThreshold", "1k")
    config = read_config(location_of(linked))
    assert list(config.entries) == listed_by_git(linked)
    found = config.find(b"core.bigfilethreshold")
    assert found is not None
    assert found.scope is Scope.WORKTREE
    assert location_of(linked).git_dir + b"/config.worktree" in config.sources
    assert read_config(location_of(run)).find(b"core.bigFileThreshold") is None


def test_a_git_dir_behind_a_link_matches_by_either_name(repository: Callable[..., Run], own_home: Path) -> None:
    run = repository()
    top: Path = run.path  # type: ignore[attr-defined]
    shutil.move(top / ".git", top.parent / "store")
    (top / ".git").symlink_to(top.parent / "store")
    (own_home / "inc1").write_text("[a]\n\tb = c\n")
    included = []
    for name in (top / ".git", top.parent / "store", top.parent / "other"):
        (own_home / ".gitconfig").write_text(f'[includeIf "gitdir:{name}"]\n\tpath = ~/inc1\n')
        entries, expected = listed_here(location_of(run)), listed_by_git(run)
        assert entries is not None
        assert expected is not None
        assert [entry[:3] for entry in entries] == [entry[:3] for entry in expected]
        included.append(any(entry.key == b"a.b" for entry in entries))
    assert included == [True, True, False]


def test_where_only_git_can_tell_git_is_asked(repository: Callable[..., Run], own_home: Path) -> None:
    run = repository()
    (own_home / ".gitconfig").write_bytes(b"[a]\n\tb = c\td\n[a]\n\te\n")
    entries = listed_here(location_of(run))
    assert entries == listed_by_git(run)
    assert entries is not None
    assert Entry(b"a.e", None, Scope.GLOBAL, os.fsencode(own_home / ".gitconfig")) in entries


def test_every_edit_of_a_shared_file_is_seen_however_soon(repository: Callable[..., Run], own_home: Path) -> None:
    location = location_of(repository())
    for number in range(300):
        (own_home / ".gitconfig").write_text(f"[a]\n\tb = {number:03}\n")
        assert read_config(location).get(b"a.b") == b"%03d" % number


def test_an_edit_of_a_file_that_was_kept_is_seen(
    repository: Callable[..., Run], own_home: Path, wait_until: Callable[..., object]
) -> None:
    location = location_of(repository())
    file = own_home / ".gitconfig"
    file.write_text("[a]\n\tb = old\n")

    def is_kept() -> bool:
        read_config(location)
        return (os.fsencode(file), Scope.GLOBAL) in config_walk._shared_files

    wait_until(is_kept)
    file.write_text("[a]\n\tb = new\n")
    assert read_config(location).get(b"a.b") == b"new"
    wait_until(is_kept)
    file.unlink()
    assert read_config(location).get(b"a.b") is None


def test_the_worktrees_own_file_counts_only_when_the_extension_is_on(repository: Callable[..., Run]) -> None:
    run = repository()
    location = location_of(run)
    (run.path / ".git/config.worktree").write_text("[a]\n\tb = c\n")  # type: ignore[attr-defined]
    for value in ("false", "true"):
        run("config", "extensions.worktreeConfig", value)
        assert listed_here(location) == listed_by_git(run)
        assert (read_config(location).get(b"a.b") == b"c") is (value == "true")


@pytest.mark.parametrize("kind", ["hasconfig:remote.*.url:https://*/**", "gitdir:**"])
def test_urls_where_git_forbids_them_are_damage(repository: Callable[..., Run], own_home: Path, kind: str) -> None:
    run = repository()
    location = location_of(run)
    run("remote", "add", "r", "https://h/x")
    (own_home / "inc1").write_text('[remote "s"]\n\turl = https://h/y\n')
    (own_home / ".gitconfig").write_text(
        f'[includeIf "{kind}"]\n\tpath = ~/inc1\n[includeIf "hasconfig:remote.*.url:none"]\n\tpath = ~/absent\n'
    )
    assert listed_by_git(run) is None
    assert listed_here(location) is None


@pytest.mark.parametrize("length", [10, 11])
def test_includes_nest_as_deep_as_git_lets_them(repository: Callable[..., Run], own_home: Path, length: int) -> None:
    run = repository()
    location = location_of(run)
    (own_home / ".gitconfig").write_text("[include]\n\tpath = f1\n")
    for number in range(1, length + 1):
        (own_home / f"f{number}").write_text(f"[include]\n\tpath = f{number + 1}\n")
    (own_home / f"f{length}").write_text("[a]\n\tb = c\n")
    assert (listed_by_git(run) is None) is (length == 11)
    assert listed_here(location) == listed_by_git(run)


def test_sources_name_files_that_do_not_exist_yet(repository: Callable[..., Run], own_home: Path) -> None:
    run = repository()
    home = os.fsencode(own_home)
    (own_home / ".gitconfig").write_text("[include]\n\tpath = absent\n[core]\n\texcludesFile = ~/ex\n")
    location = location_of(run)
    config = read_config(location)
    assert config.sources == (
        system_config_file(),
        home + b"/.config/git/config",
        home + b"/.gitconfig",
        home + b"/absent",
        location.common_dir + b"/config",
    )
    assert config.excludes_file == home + b"/ex"
    assert config.attributes_file == home + b"/.config/git/attributes"


def test_a_condition_on_the_branch_is_remembered(repository: Callable[..., Run], own_home: Path) -> None:
    run = repository()
    assert not read_config(location_of(run)).depends_on_branch
    (own_home / ".gitconfig").write_text('[includeIf "onbranch:x"]\n\tpath = absent\n')
    assert read_config(location_of(run)).depends_on_branch


def config_with(repository: Callable[..., Run], text: str) -> RepositoryConfig:
    run = repository()
    with open(run.path / ".git/config", "a") as file:  # type: ignore[attr-defined]
        file.write(text)
    return read_config(location_of(run))


def test_filter_drivers_of_the_repository_itself(repository: Callable[..., Run], own_home: Path) -> None:
    (own_home / ".gitconfig").write_text('[filter "lfs"]\n\tclean = git-lfs clean\n\tprocess = git-lfs x\n')
    (own_home / "inc1").write_text('[filter "From.Include"]\n\tsmudge = x\n')
    config = config_with(
        repository,
        '[filter "own"]\n\tclean = x\n[filter "harmless"]\n\trequired\n[include]\n\tpath = ~/inc1\n'
        "[filter]\n\tclean = y\n",
    )
    assert config.filter_drivers_of_repository() == [b"filter.own", b"filter.From.Include"]
    assert config.subsections(b"filter") == [b"lfs", b"own", b"harmless", b"From.Include"]


def test_values_git_refuses_are_refused(repository: Callable[..., Run]) -> None:
    config = config_with(repository, "[a]\n\tb = maybe\n\tp\n[Multi]\n\tV = 1\n\tv = 2\n\tV\n")
    with pytest.raises(BadValue, match=r"bad boolean config value 'maybe' for 'a\.b'"):
        config.get_bool(b"a.b", default=False)
    with pytest.raises(BadValue):
        config.get_path(b"a.p")
    assert config.get_bool(b"a.none", default=True) is True
    assert config.get_all(b"multi.v") == [b"1", b"2", b"true"]
    assert config.get(b"MULTI.V") == b"true"
    assert config.get(b"multi.none") is None


def test_without_home_only_the_repository_is_read(repository: Callable[..., Run]) -> None:
    location = location_of(repository())
    config = read_config(location, environment={})
    assert config.sources == (system_config_file(), location.common_dir + b"/config")
    assert config.excludes_file is None
