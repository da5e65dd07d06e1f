"""The protocol's methods `unsaved` and `branches`, and the lines of `status`: a status first, then a git child or two.

Owns nothing. Runs: serving thread; the work in `daemon.inquiries`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.inquiries import Inquiries
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.daemon.requests import (
    Ask,
    columns_of,
    find_worktree_top,
    name_with_groups,
    option,
    options_of,
    path_of,
    paths_of,
    real_path,
    worktree_of,
)
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure, UserError
from gitwatchd.git import reach
from gitwatchd.model.report import Facts, Standing, State, Wire, text_or_bytes, to_bytes
from gitwatchd.model.repository import Analysed, Failed, Location, RepoPath
from gitwatchd.render.branches_view import BRANCH_COLUMNS, DEFAULT_BRANCH_COLUMNS, render_branches
from gitwatchd.render.table import Frame, Palette
from gitwatchd.render.text import shown
from gitwatchd.render.unsaved_view import render_unsaved
from gitwatchd.server.session import Session
from gitwatchd.store.intent import RootKind
from gitwatchd.wire.rpc import FAILED, Request

if TYPE_CHECKING:
    from gitwatchd.analysis.left_out import LeftOut
    from gitwatchd.git.branches import Branch


class InquiryMethods:
    def __init__(self, fleet: Fleet, inquiries: Inquiries, ask: Ask) -> None:
        self._fleet = fleet
        self._inquiries = inquiries
        self._ask = ask

    # ---- unsaved

    def unsaved(self, session: Session, request: Request) -> None:
        options = options_of(request.params, 1)
        self.find_unsaved(
            session, request, paths_of(request.params), options,
            lambda repos, errors: session.reply(request.id, {"repos": repos, "errors": errors}),
        )  # fmt: skip

    def find_unsaved(
        self, session: Session, request: Request, paths: list[bytes], options: Mapping[str, Any],
        then: Callable[[list[Wire], list[Wire]], None],
    ) -> None:  # fmt: skip
        """`then(repositories with their reasons, paths that stand for nothing)`, now or later."""
        named = name_with_groups(self._fleet, paths, options)

        def with_status(answer: Answer) -> None:
            answer = named.kept(answer)
            elsewhere = self._worktrees_elsewhere(answer)
            tops = tuple(top for top in named.scope.tops if self._fleet.watcher.is_local(top))
            if not elsewhere:
                self._ask_unsaved(answer.repositories, tops, lambda repos: then(repos, named.errors))
                return
            self._ask(
                session, request, Scope((), elsewhere), options,
                lambda more: self._ask_unsaved(
                    sorted(answer.repositories + more.repositories, key=lambda each: each[0].path),
                    tops,
                    lambda repos: then(repos, named.errors),
                ),
            )  # fmt: skip

        self._ask(session, request, named.scope, options, with_status)

    def _worktrees_elsewhere(self, answer: Answer) -> tuple[RepoPath, ...]:
        """Linked worktrees of these repositories that are not among them: their work is the same repository's."""
        here = {repository.path for repository, _ in answer.repositories}
        found: dict[RepoPath, None] = {}
        for repository, _ in answer.repositories:
            facts = repository.facts()
            location = repository.location
            if facts is None or not facts.worktrees:
                continue
            for git_dir in self._linked_worktrees(location):
                place = self._worktree_of(git_dir, location.common_dir)
                if place is not None and place not in here:
                    found[place] = None
        return tuple(found)

    def _linked_worktrees(self, location: Location) -> list[bytes]:
        """Their git dirs, without those that `_leading_away` tells of; none where looking for them may hang."""
        return self._find_linked_worktrees(location)[0]

    def _find_linked_worktrees(self, location: Location) -> tuple[list[bytes], list[reach.LeadsAway]]:
        from gitwatchd.git.layout import check_way, find_linked_worktrees

        if not self._fleet.watcher.is_local(location.common_dir):
            return [], []
        try:
            check_way(location)
        except reach.LeadsAway as failure:
            return [], [failure]
        return find_linked_worktrees(location.common_dir)

    def _leading_away(self, repository: Repository) -> list[str]:
        """Why linked worktrees of it are not looked at: something on the way became a link onto a mount that may hang.
        Asked anew each time: what is kept of the repository may be older than the link."""
        from gitwatchd.analysis.unsaved import worktree_at

        facts = repository.facts()
        if facts is None or not facts.worktrees or not reach.is_kept_local():
            return []
        git_dirs, away = self._find_linked_worktrees(repository.location)
        for git_dir in git_dirs:
            if self._remote_place_of(git_dir) is None:
                try:
                    worktree_at(git_dir)
                except reach.LeadsAway as failure:
                    away.append(failure)
        return [failure.message for failure in away]

    def _worktree_of(self, git_dir: bytes, common_dir: bytes) -> RepoPath | None:
        """The linked worktree of that git dir (local), which becomes known; None when it is not there."""
        from gitwatchd.analysis.unsaved import worktree_at

        place = self._remote_place_of(git_dir)
        if place is None:
            try:
                top = worktree_at(git_dir)
            except reach.LeadsAway:
                return None  # `_leading_away` tells
            return None if top is None else find_worktree_top(self._fleet, top)
        if self._fleet.repository(place) is None:
            # Whether it is there is for a worker to find out.
            if not self._fleet.roots.cover(place):
                self._fleet.decisions.add_root(place, RootKind.WORKTREE, permanent=False, include_ignored=False)
            self._fleet.adopt(Location(place, git_dir, common_dir, bare=False))
        return place

    def _remote_place_of(self, git_dir: bytes) -> RepoPath | None:
        """Where the linked worktree of that git dir should be, if that is on a mount that may hang."""
        from gitwatchd.git.layout import worktree_named_by

        named = worktree_named_by(git_dir)
        place = None if named is None else real_path(self._fleet, named)
        return None if place is None or self._fleet.watcher.is_local(place) else RepoPath(place)

    def _remote_worktrees(self, location: Location) -> frozenset[bytes]:
        return frozenset(d for d in self._linked_worktrees(location) if self._remote_place_of(d) is not None)

    def _ask_unsaved(
        self, repositories: Sequence[tuple[Repository, Standing]], tops: tuple[bytes, ...],
        then: Callable[[list[Wire]], None],
    ) -> None:  # fmt: skip
        """`tops`: below these, whatever no list shows is looked for, too."""
        from gitwatchd.analysis.left_out import LeftOut, find_left_out
        from gitwatchd.analysis.unsaved import Question, find_unsaved
        from gitwatchd.model.unsaved import Unsaved

        findings: dict[RepoPath, object] = {}
        there = [(r, s) for r, s in repositories if s.state is not State.GONE]
        tellers = _first_of_each(there)

        def inquiry(repository: Repository) -> tuple[str, Callable[[], object]]:
            outcome = repository.outcome if isinstance(repository.outcome, Analysed) else None
            shared = repository.path in tellers
            remote = self._remote_worktrees(repository.location) if shared else frozenset()
            question = Question(repository.location, outcome, shared, self._fleet.index_cache, remote)
            # Which worktree tells of the branches depends on who is asked together.
            return f"unsaved {shared}", partial(find_unsaved, question)

        def tell() -> None:
            rows = [
                _unsaved_to_wire(
                    repository, standing, findings.get(repository.path),
                    self._not_looked_for(repository, there) if repository.path in tellers else 0,
                    self._leading_away(repository) if repository.path in tellers else [],
                )
                for repository, standing in there
            ]  # fmt: skip

            def add(finding: object) -> None:
                if isinstance(finding, Failed):
                    then([*rows, *(_left_out_to_wire(_unsearched(top, finding)) for top in tops)])
                    return
                found = [each for each in finding if isinstance(each, LeftOut)] if isinstance(finding, list) else []
                more = [_left_out_to_wire(each) for each in found]
                then(sorted(rows + more, key=lambda row: to_bytes(row["path"]) or b"") if more else rows)

            if not tops:
                then(rows)
                return
            looked_at = (finding.git_dirs for finding in findings.values() if isinstance(finding, Unsaved))
            search = partial(
                find_left_out, tops, partial(self._fleet.roots.hides, tops),
                frozenset(r.location.git_dir for r, _ in there).union(*looked_at),
                frozenset(r.path for r, _ in there),
                frozenset(r.location.common_dir for r, _ in there), self._fleet.index_cache,
            )  # fmt: skip
            self._inquiries.run(search, add)

        # That it was not looked at is a reason already.
        asked = [r for r, s in there if self._may_be_looked_at(r, s)]
        self._for_each(asked, inquiry, findings, tell)

    def _may_be_looked_at(self, repository: Repository, standing: Standing) -> bool:
        """On a mount that did not answer just now nobody looks again: threads that hang there are few."""
        return standing.state is State.FRESH or self._fleet.is_local(repository.location)

    def _reaching(self, repository: Repository, work: Callable[[], object]) -> Callable[[], object]:
        """`work` that may look at all of that repository."""
        location = repository.location
        if self._fleet.is_local(location):
            return partial(_do_nearby, location, work)
        return partial(reach.follow_everything, work)

    def _not_looked_for(self, repository: Repository, there: Sequence[tuple[Repository, Standing]]) -> int:
        """How many linked worktrees it has beside those of `there`: its git dir, on a mount that may hang, alone
        says where they are."""
        location, facts = repository.location, repository.facts()
        if facts is None or not facts.worktrees or self._fleet.watcher.is_local(location.common_dir):
            return 0
        known = {r.location.git_dir for r, _ in there if r.location.common_dir == location.common_dir}
        return max(0, facts.worktrees - len(known - {location.common_dir}))

    def _for_each(
        self,
        repositories: Sequence[Repository],
        inquiry: Callable[[Repository], tuple[str, Callable[[], object]]],
        findings: dict[RepoPath, object],
        reply: Callable[[], None],
    ) -> None:
        """Fill `findings`, and then reply."""
        left = len(repositories)
        if not left:
            reply()
            return

        def take(path: RepoPath, finding: object) -> None:
            nonlocal left
            findings[path] = finding
            left -= 1
            if not left:
                reply()

        for repository in repositories:
            kind, work = inquiry(repository)
            self._inquiries.ask(kind, repository, self._reaching(repository, work), partial(take, repository.path))

    # ---- branches

    def branches(self, session: Session, request: Request) -> None:
        options = options_of(request.params, 1)
        paths = paths_of(request.params)
        self.find_branches(session, request, paths, options, lambda answer: session.reply(request.id, answer))

    def find_branches(
        self, session: Session, request: Request, paths: list[bytes], options: Mapping[str, Any],
        then: Callable[[Wire], None],
    ) -> None:  # fmt: skip
        """Of one repository. The status of each worktree that has a branch checked out comes with it."""
        if len(paths) != 1:
            raise UserError("branches are those of one path")
        (path,) = paths
        top = worktree_of(self._fleet, path)

        def with_status(answer: Answer) -> None:
            if not answer.repositories or answer.repositories[0][0].gone:
                raise EnvironmentFailure(f"{os.fsdecode(path)}: no repository there any more")
            ((repository, standing),) = answer.repositories
            main = self._main_worktree(repository)
            others = tuple(dict.fromkeys((*self._worktrees_elsewhere(answer), *([main] if main else []))))
            if not others:
                self._ask_branches(session, request, repository, standing, answer, then)
                return
            self._ask(
                session, request, Scope((), others), options,
                lambda more: self._ask_branches(
                    session, request, repository, standing, Answer(answer.repositories + more.repositories), then
                ),
            )  # fmt: skip

        self._ask(session, request, Scope((), (top,)), options, with_status)

    def _main_worktree(self, repository: Repository) -> RepoPath | None:
        """Of a linked worktree's repository."""
        location = repository.location
        if location.git_dir == location.common_dir:
            return None
        top = real_path(self._fleet, location.common_dir.removesuffix(b"/.git"))
        if not self._fleet.watcher.is_local(top):
            return None
        try:
            found = find_worktree_top(self._fleet, top)
        except OSError:
            return None  # a git dir by itself does not say whose it is
        return None if found == repository.path else found

    def _ask_branches(
        self, session: Session, request: Request, repository: Repository, standing: Standing, answer: Answer,
        then: Callable[[Wire], None],
    ) -> None:  # fmt: skip
        from gitwatchd.git.branches import Branch, read_branches
        from gitwatchd.git.repository_config import read_config

        location = repository.location
        worktrees = {each.path: each.facts() for each, _ in answer.repositories}

        def tell(finding: object) -> None:
            if isinstance(finding, Failed):
                session.fail(request.id, FAILED, f"{os.fsdecode(repository.path)}: {finding.reason}\n{finding.hint}")
                return
            listed = [branch for branch in finding if isinstance(branch, Branch)] if isinstance(finding, list) else []
            then(
                {
                    "path": text_or_bytes(repository.path), "state": standing.state.value,
                    "reason": standing.reason, "hint": standing.hint,
                    "fetched_at": getattr(repository.facts(), "fetched_at", None),
                    "branches": [_branch_to_wire(branch, repository, worktrees) for branch in listed],
                }
            )  # fmt: skip

        if not self._may_be_looked_at(repository, standing):
            tell(Failed(standing.reason or standing.state.value, standing.hint))
            return
        work = self._reaching(repository, lambda: read_branches(location, read_config(location)))
        self._inquiries.ask("branches", repository, work, tell)

    # ---- tables

    def render(
        self, session: Session, request: Request, view: str, paths: list[bytes], options: Mapping[str, Any],
        width: int | None, colour: Palette,
    ) -> None:  # fmt: skip
        """The methods' answers as text. `failed`: what makes the command exit 1."""
        if view == "unsaved":
            base = paths[0] if len(paths) == 1 else None

            def draw(repos: list[Wire], errors: list[Wire]) -> None:
                text = render_unsaved(repos, frame=_frame(base), width=width, colour=colour)
                notes = [f"{shown(path_of(error['path']))}: {error['reason']}" for error in errors]
                failed = sum(repo["unsaved"] for repo in repos) + len(errors)
                text = text if repos or not errors else ""
                session.reply(request.id, {"text": text, "notes": notes, "failed": failed, "strict_failed": 0})

            self.find_unsaved(session, request, paths, options, draw)
            return
        columns = columns_of(options, BRANCH_COLUMNS, DEFAULT_BRANCH_COLUMNS)
        links = option(options, "links", bool, False)
        chosen = option(options, "branches", list)

        def draw_branches(answer: Wire) -> None:
            branches = answer["branches"]
            if chosen is not None:
                by_name = {branch["branch"]: branch for branch in branches}
                branches = [by_name[name] for name in chosen if name in by_name]
            above = os.path.dirname(to_bytes(answer["path"]) or b"")
            text = render_branches(
                branches, frame=_frame(above), width=width, colour=colour, columns=columns, links=links,
                fetched_at=answer["fetched_at"],
            )  # fmt: skip
            stale = answer["state"] not in ("fresh", "unsafe")
            notes = [f"{answer['state']}: {answer['reason']}"] if stale else []
            session.reply(request.id, {"text": text, "notes": notes, "failed": 0, "strict_failed": int(stale)})

        self.find_branches(session, request, paths, options, draw_branches)

    # ---- lines

    def with_lines(
        self, repositories: Sequence[tuple[Repository, Standing]], done: Callable[[dict[RepoPath, Wire | None]], None]
    ) -> None:
        """Added and removed lines of every repository whose files may be looked at."""
        from gitwatchd.git.lines import count_lines

        findings: dict[RepoPath, object] = {}
        dirty = [
            r for r, s in repositories
            if isinstance(r.outcome, Analysed) and r.outcome.facts.dirty and self._may_be_looked_at(r, s)
        ]  # fmt: skip

        def reply() -> None:
            lines: dict[RepoPath, Wire | None] = {}
            for repository, _ in repositories:
                facts = repository.outcome.facts if isinstance(repository.outcome, Analysed) else None
                finding = findings.get(repository.path)
                if isinstance(finding, tuple):
                    lines[repository.path] = {"added": finding[0], "removed": finding[1]}
                else:
                    clean = facts is not None and facts.dirty is False
                    lines[repository.path] = {"added": 0, "removed": 0} if clean else None
            done(lines)

        self._for_each(dirty, lambda r: ("lines", partial(count_lines, r.location)), findings, reply)


def _do_nearby(location: Location, work: Callable[[], object]) -> object:
    """Git children would follow whatever became a link since that repository was last looked at. Raises LeadsAway."""
    from gitwatchd.git.layout import check_objects, check_parts

    check_parts(location)
    check_objects(location)
    return work()


def _frame(base: bytes | None) -> Frame:
    return Frame(base, os.fsencode(os.environ.get("HOME", "")) or None, time.time())


def _first_of_each(repositories: Sequence[tuple[Repository, Standing]]) -> frozenset[RepoPath]:
    """One worktree for each repository, the main one if it is there: what they share is told once."""
    chosen: dict[bytes, RepoPath] = {}
    for repository, _ in repositories:
        location = repository.location
        if location.common_dir not in chosen or location.git_dir == location.common_dir:
            chosen[location.common_dir] = repository.path
    return frozenset(chosen.values())


def _unsaved_to_wire(
    repository: Repository, standing: Standing, finding: object, not_looked_for: int, leading_away: Sequence[str]
) -> Wire:
    from gitwatchd.model.unsaved import Reason, Unsaved, reason_to_wire

    reasons = list(finding.reasons) if isinstance(finding, Unsaved) else []
    if isinstance(finding, Failed):
        reasons.append(Reason("unchecked", note=finding.reason))
    if standing.state is not State.FRESH:
        note = f"{standing.state}: {standing.reason}" if standing.reason else standing.state.value
        reasons.insert(0, Reason("unchecked", note=note))
    if not_looked_for:
        reasons.append(
            Reason("unchecked", note=f"{not_looked_for} of its linked worktrees: name each to have it checked")
        )
    told = {reason.note for reason in reasons}
    reasons += [Reason("unchecked", note=note) for note in leading_away if note not in told]
    facts = repository.facts()
    return {
        "path": text_or_bytes(repository.path), "name": text_or_bytes(os.path.basename(repository.path)),
        "unsaved": bool(reasons), "state": standing.state.value,
        "fetched_at": None if facts is None else facts.fetched_at,
        "reasons": [reason_to_wire(reason) for reason in reasons],
    }  # fmt: skip


def _unsearched(top: bytes, failed: Failed) -> LeftOut:
    from gitwatchd.analysis.left_out import LeftOut
    from gitwatchd.model.unsaved import Reason

    return LeftOut(top, State.FAILED, None, (Reason("unchecked", note=f"not searched to the end: {failed.reason}"),))


def _left_out_to_wire(found: LeftOut) -> Wire:
    from gitwatchd.model.unsaved import reason_to_wire

    return {
        "path": text_or_bytes(found.path), "name": text_or_bytes(os.path.basename(found.path)),
        "unsaved": bool(found.reasons), "state": found.state.value, "fetched_at": found.fetched_at,
        "reasons": [reason_to_wire(reason) for reason in found.reasons],
    }  # fmt: skip


def _branch_to_wire(branch: Branch, repository: Repository, worktrees: Mapping[RepoPath, Facts | None]) -> Wire:
    facts = worktrees.get(RepoPath(branch.worktree or b""))
    counts = None if facts is None else facts.counts
    return {
        "repo": text_or_bytes(repository.path), "branch": text_or_bytes(branch.name), "head": branch.oid.decode(),
        "upstream": text_or_bytes(branch.upstream), "remote": text_or_bytes(branch.remote),
        "url": text_or_bytes(branch.url), "ahead": branch.ahead, "behind": branch.behind, "gone": branch.gone,
        "current": branch.current, "worktree": text_or_bytes(branch.worktree),
        "author": text_or_bytes(branch.author), "date": branch.date, "subject": text_or_bytes(branch.subject),
        "dirty": None if facts is None else facts.dirty,
        "staged": None if counts is None else counts.staged,
        "unstaged": None if counts is None else counts.unstaged,
        "modified": None if counts is None else counts.modified,
        "untracked": None if counts is None else counts.untracked,
        "deleted": None if counts is None else counts.deleted,
        "conflicted": None if counts is None else counts.conflicted,
        "submodules": None if facts is None else facts.submodules,
        "action": None if facts is None or facts.action is None else facts.action.name,
    }  # fmt: skip
