"""A repository's whole status and facts without starting git, where that is exact (level L1).

Owns nothing. Runs: a walking thread, on what the walk that places the watches has listed anyway; or a worker, which
lists for itself. It blocks. The judge is git all the same: what cannot be told exactly here is None, and git is asked.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, replace

from gitwatchd.analysis.facts import read_ref_facts
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.config_acceptance import find_unproven
from gitwatchd.git.objects import Objects
from gitwatchd.git.porcelain import Headers, count
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.git.worktree import Found, Tree, read_tree, walk_directories
from gitwatchd.incremental.first_sight import LARGEST_INDEX, Listing
from gitwatchd.incremental.first_sight import look as look_at_worktree
from gitwatchd.incremental.state import RepositoryState
from gitwatchd.incremental.terms import Inexact, read_terms
from gitwatchd.model.report import Facts
from gitwatchd.model.repository import Analysed, Location

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found out, with what is needed to follow the repository from there on."""

    location: Location
    config: RepositoryConfig
    objects: Objects
    state: RepositoryState
    outcome: Analysed


def look(location: Location, tree: Tree, found: Found) -> Sighting | None:
    """A whole status from what a walk listed; None where git has to be asked."""
    if location.bare or found.files is None or found.unreadable or tree.rules is None:
        return None
    config, index = tree.config, tree.index
    objects = Objects(location, may_start_git=False)
    try:
        _refuse_what_git_may_refuse(location, config)
        terms = read_terms(location, config, index, found.attributes)
        facts = read_ref_facts(location, config, None, objects)
        listings = [Listing(path, files) for path, files in found.files]
        sight = look_at_worktree(
            location.path, terms, index, tree.rules, objects, headers_of(facts), listings, found.nested
        )
        state = RepositoryState.of_first_sight(location, terms, index, tree.rules, objects, sight)
        entries = state.entries()
    except (Inexact, EnvironmentFailure, OSError, RecursionError) as reason:  # a thousand directories deep
        _log.debug("git is asked about %r: %s", location.path, reason)
        return None
    finally:
        objects.close()
    size, skipped, assumed = index.tallies()
    facts = replace(
        facts, counts=count(entries), mtime=sight.newest_ns / 1e9 or None, index_size=size, skip_worktree=skipped,
        assume_unchanged=assumed, submodules=0,
    )  # fmt: skip
    return Sighting(location, config, objects, state, Analysed(facts, entries, by_git=False))


@dataclass(frozen=True, slots=True)
class Unwatched:
    """What was found out without a walk that places watches."""

    outcome: Analysed | None
    """None: git has to be asked."""
    nested: tuple[Location, ...]
    """Repositories in the worktree that are not its submodules; known if they were asked for."""


def look_unwatched(location: Location, config: RepositoryConfig, *, nested: bool) -> Unwatched:
    """The same for whoever has listed nothing yet. `nested`: they are wanted, however large the worktree is.

    Raises EnvironmentFailure where the index is damaged.
    """
    if location.bare:
        return Unwatched(None, ())
    tree = read_tree(location, config)
    here = len(tree.index) <= LARGEST_INDEX and not tree.gitlinks
    if not (here or nested):
        return Unwatched(None, ())
    found = Found(files=[] if here else None)
    walk_directories(tree, [b""], lambda _path, _prefix: True, found)
    sighting = look(location, tree, found) if here else None
    return Unwatched(None if sighting is None else sighting.outcome, tuple(found.nested.values()))


def _refuse_what_git_may_refuse(location: Location, config: RepositoryConfig) -> None:
    """Raises Inexact for a repository of somebody else's, or one that brings its own commands."""
    user = os.geteuid()
    if any(os.lstat(path).st_uid != user for path in (location.path, location.git_dir, location.common_dir)):
        raise Inexact("it may belong to another user")
    with suppress(FileNotFoundError):  # its worktree is elsewhere
        if os.lstat(location.path + b"/.git").st_uid != user:  # git looks at a file `.git`, too
            raise Inexact("it may belong to another user")
    if config.filter_drivers_of_repository():
        raise Inexact("its own configuration defines filters")
    if find_unproven(config.entries):
        raise Inexact("git may refuse a value of its configuration")
    if config.get(b"core.repositoryformatversion", b"0") not in (b"0", b"1"):
        raise Inexact("its format is of a version that git may refuse")
    known = (b"extensions.worktreeconfig", b"extensions.objectformat", b"extensions.partialclone")
    if any(entry.key.startswith(b"extensions.") and entry.key not in known for entry in config.entries):
        raise Inexact("it has extensions that git may refuse")


def headers_of(facts: Facts) -> Headers:
    """What git's status says of HEAD, from facts read without it. Raises Inexact."""
    if facts.branch is None and facts.oid is None:
        raise Inexact("HEAD cannot be read here")
    upstream = facts.upstream
    if upstream is not None and not upstream.gone and upstream.ahead is None and facts.oid is not None:
        raise Inexact("ahead and behind have to be counted by git")
    if facts.branch is not None and facts.branch.startswith(b"refs/"):
        raise Inexact("HEAD names a ref that is no branch")
    if facts.oid is not None and facts.summary is None:
        raise Inexact("the commit cannot be read here")
    counted = upstream is not None and facts.oid is not None
    return Headers(
        oid=facts.oid, branch=facts.branch,
        upstream=None if upstream is None else upstream.name,
        ahead=upstream.ahead if upstream is not None and counted else None,
        behind=upstream.behind if upstream is not None and counted else None,
        stashes=facts.stashes or 0,
    )  # fmt: skip
