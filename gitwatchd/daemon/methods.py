"""The methods of the protocol (`gitwatch help protocol`): a request in, an answer out, now or later.

Owns: which session waits for which query. Runs: serving thread. Wire maps are made here by hand from the model, so that
the model can change while the protocol only grows.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from gitwatchd import __version__
from gitwatchd.daemon.audit import Audit
from gitwatchd.daemon.configuration import effective
from gitwatchd.daemon.doctor import Doctor
from gitwatchd.daemon.early_rows import EarlyRows
from gitwatchd.daemon.entries import Entries
from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.daemon.requests import (
    Named,
    globs_of,
    name_all,
    name_with_groups,
    option,
    options_of,
    path_of,
    paths_of,
    real_path,
    worktree_of,
)
from gitwatchd.daemon.root_methods import RootMethods
from gitwatchd.daemon.status_table import StatusTable
from gitwatchd.daemon.subscriptions import Subscription, Subscriptions
from gitwatchd.daemon.trust import is_trusted
from gitwatchd.daemon.views import Views, packed_status, report, select_fields
from gitwatchd.engine.events import QueryId
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure, GitMissing, UserError
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.report import State, Wire, text_or_bytes
from gitwatchd.model.repository import Analysed, RepoPath
from gitwatchd.server.session import Session
from gitwatchd.settings.colours import palette
from gitwatchd.settings.globs import names_repository
from gitwatchd.settings.model import Settings
from gitwatchd.wire.rpc import FAILED, PROTOCOL, UNKNOWN_METHOD, USAGE, Request

if TYPE_CHECKING:
    from gitwatchd.daemon.inquiries import Inquiries
    from gitwatchd.daemon.inquiry_methods import InquiryMethods
    from gitwatchd.daemon.prompts import Prompts

_log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.1
LONGEST_WAIT_S = 600.0
_LONGEST_WATCHED_S = 3600.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC})
"""The machine's or this process's own limits: a failure of the surroundings wherever they are met."""

Handler = Callable[[Session, Request], None]


@dataclass(slots=True)
class _Waiting:
    session: Session
    rows: EarlyRows | None = None
    progress: Timer | None = None


class Methods:
    def __init__(
        self, loop: Loop, fleet: Fleet, audit: Audit, doctor: Doctor, run_dir: bytes, stop: Callable[[], None]
    ) -> None:
        self._audit = audit
        self._loop = loop
        self._fleet = fleet
        self._doctor = doctor
        self._stop = stop
        self._views = Views()
        self._run_dir = run_dir
        self.subscriptions = Subscriptions(
            loop, lambda tops, path: fleet.roots.hides(tops or tuple(fleet.roots.listed()), path), self._belongs
        )
        self.asked_at = time.monotonic()
        """Of the last request."""
        self._waiting: dict[QueryId, _Waiting] = {}
        self._limits: list[int] = []
        """`jobs` of the open requests: the smallest holds."""
        roots = RootMethods(fleet)
        self._handlers: dict[str, Handler] = {
            "hello": self._hello,
            "status": self._status,
            "render": self._render,
            "entries": Entries(fleet, self._ask).handle,
            "prompt": lambda session, request: self._prompts.handle(session, request),
            "roots.add": roots.add,
            "roots.remove": roots.remove,
            "roots.list": roots.list,
            "refresh": self._refresh,
            "verify": self._verify,
            "trust": self._trust,
            "config": self._tell_config,
            "doctor": self._tell_doctor,
            "subscribe": self._subscribe,
            "shutdown": self._shutdown,
            "dump": self._dump,
            "unsaved": lambda session, request: self._inquiring.unsaved(session, request),
            "branches": lambda session, request: self._inquiring.branches(session, request),
        }

    # ---- made when first asked: their imports are not on the way to the first reply

    @cached_property
    def _prompts(self) -> Prompts:
        from gitwatchd.daemon.prompts import Prompts

        return Prompts(self._fleet, self._ask, self._run_dir)

    def prepare(self) -> None:
        """What the first prompt would have to wait for, and the deadline that prompts read beside the socket."""
        with suppress(OSError):  # out of descriptors: the first prompt tries again
            _ = self._prompts

    @cached_property
    def _inquiries(self) -> Inquiries:
        from gitwatchd.daemon.inquiries import Inquiries

        return Inquiries(self._loop)

    @cached_property
    def _inquiring(self) -> InquiryMethods:
        from gitwatchd.daemon.inquiry_methods import InquiryMethods

        return InquiryMethods(self._fleet, self._inquiries, self._ask)

    # ---- towards the server

    def handle(self, session: Session, request: Request) -> None:
        self.asked_at = time.monotonic()
        handler = self._handlers.get(request.method)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            session.fail(request.id, UNKNOWN_METHOD, f"unknown method {request.method[:80]!r}\nknown: {known}")
            return

        def work() -> None:
            if request.method not in ("status", "prompt"):  # the hot ones look for themselves
                self._fleet.decisions.settle()
            handler(session, request)

        self._guarded(session, request, work)

    def _guarded(self, session: Session, request: Request, work: Callable[[], None]) -> None:
        try:
            work()
        except UserError as error:
            session.fail(request.id, USAGE, str(error))
        except EnvironmentFailure as error:
            session.fail(request.id, FAILED, str(error))
        except Exception as bug:  # noqa: BLE001 - the seam "request" of errors.py: a bug ends this request only
            if isinstance(bug, OSError) and bug.errno in _EXHAUSTED:
                _log.warning("%.100s: %s", request.method, bug)
                reason = f"the daemon has not what it needs: {bug.strerror}"
                session.fail(request.id, FAILED, f"{reason}\nsee: gitwatch doctor")
            else:
                _log.exception("bug in %.100s", request.method)
                session.fail_by_bug(request.id)

    def forget_session(self, session: Session) -> None:
        self.subscriptions.drop(session)
        for query, waiting in list(self._waiting.items()):
            if waiting.session is session:
                self._fleet.abandon(query)

    def publish(self, repository: Repository) -> None:
        self.subscriptions.publish(repository)

    def forget(self, path: RepoPath) -> None:
        """The repository is of no interest any more."""
        self._views.forget(path)
        for made in {"_inquiries", "_prompts"} & self.__dict__.keys():
            getattr(self, made).forget(path)

    @property
    def _settings(self) -> Settings:
        return self._fleet.configuration.settings

    def _belongs(self, groups: Sequence[str], path: bytes) -> bool:
        """Whether a repository is in any of these groups, as the configuration has them now."""
        configured = self._settings.groups
        return any(names_repository(configured.get(group, ()), path) for group in groups)

    # ---- asking

    def _ask(
        self,
        session: Session,
        request: Request,
        scope: Scope,
        options: Mapping[str, Any],
        on_complete: Callable[[Answer], None],
        rows: EarlyRows | None = None,
    ) -> None:
        wait_s, jobs, verify = _waiting_options(options)
        # Looked at before anything begins: a refusal after that would be a first answer, and the answer a second.
        wants_progress = option(options, "progress", bool, False)
        wait_s = LONGEST_WAIT_S if wait_s is None else max(0.0, min(float(wait_s), LONGEST_WAIT_S))
        if jobs is not None:
            self._limits.append(max(0, jobs))
            self._fleet.limit_jobs(min(self._limits))
        query: QueryId | None = None
        done = False

        def complete(answer: Answer) -> None:
            nonlocal done
            done = True
            if jobs is not None:
                self._limits.remove(max(0, jobs))
                self._fleet.limit_jobs(min(self._limits, default=None))
            waiting = self._waiting.pop(query, None) if query is not None else None
            if waiting is not None and waiting.progress is not None:
                waiting.progress.cancel()
            self._fleet.recorder.note_request(request.method, time.monotonic() - began)
            # Not under `handle` when it comes late; without an answer the client would wait for ever.
            self._guarded(session, request, lambda: on_complete(answer))

        began = time.monotonic()
        query = self._fleet.ask(scope, complete, wait_s=wait_s, verify=verify)
        if not done:
            waiting = self._waiting[query] = _Waiting(session, rows)
            if wants_progress:
                self._tell_progress(query, waiting)

    def _tell_progress(self, query: QueryId, waiting: _Waiting) -> None:
        discovering, answered, found = self._fleet.queries.progress(query)
        phase = "discovering" if discovering else "analysing"
        told: dict[str, Any] = {"phase": phase, "found": found, "done": answered, "total": found}
        if waiting.rows is not None and (lines := waiting.rows.take(self._fleet.queries.answered(query))):
            told["rows"] = lines
        waiting.session.notify("progress", [told])
        waiting.progress = self._loop.call_later(PROGRESS_EVERY_S, lambda: self._tell_progress(query, waiting))

    # ---- methods

    def _hello(self, session: Session, request: Request) -> None:
        # Imported where they are needed: the first replies after a start are not about git's own files.
        from gitwatchd.git.child import git_path, git_version
        from gitwatchd.git.environment import child_environment

        environment = child_environment(os.environ)
        git = version = None
        # Without git nothing can be answered; but whoever wants to end this daemon has to be greeted.
        with suppress(GitMissing):
            git, version = git_path(), git_version()
        session.reply(
            request.id,
            {
                "version": __version__, "protocol": list(PROTOCOL), "pid": os.getpid(), "git": git,
                "git_version": version, "home": environment.get("HOME"),
                "xdg_config_home": environment.get("XDG_CONFIG_HOME"), "state_dir": self._doctor.state_dir,
                "notes": self._fleet.configuration.notes(),
            },
        )  # fmt: skip

    def _status(self, session: Session, request: Request) -> None:
        paths = paths_of(request.params)
        options = options_of(request.params, 1)
        fields = option(options, "fields", list)
        verify = _waiting_options(options)[2]
        one = len(paths) == 1 and not verify and fields is None and not (options.get("groups") or options.get("lines"))
        if one and self._answer_hot(session, request, paths[0]):
            return
        self._fleet.decisions.settle()
        named = name_with_groups(self._fleet, paths, options)

        def reply_with_lines(answer: Answer, lines: Mapping[RepoPath, Any]) -> None:
            reports = [{**report(r, s), "lines": lines[r.path]} for r, s in answer.repositories]
            selected = reports if fields is None else [select_fields(each, fields) for each in reports]
            session.reply(request.id, {"repos": selected, "errors": named.errors})

        def reply(answer: Answer) -> None:
            answer = named.kept(answer)
            if option(options, "lines", bool, False):
                self._inquiring.with_lines(answer.repositories, partial(reply_with_lines, answer))
            elif fields is None:
                reports = [self._views.packed_report(r, s) for r, s in answer.repositories]
                session.reply_packed(request.id, packed_status(reports, named.errors))
            else:
                selected = [select_fields(report(r, s), fields) for r, s in answer.repositories]
                session.reply(request.id, {"repos": selected, "errors": named.errors})

        self._ask(session, request, named.scope, options, reply)

    def _answer_hot(self, session: Session, request: Request, path: bytes) -> bool:
        """One known repository, nothing beneath it, nothing changed: from memory."""
        repository = self._fleet.is_current(RepoPath(path))
        if repository is None or len(self._fleet.below((path,))) != 1:
            return False
        epoch = time.time()
        self._fleet.count_hit(repository, epoch)
        standing = repository.standing(fresh=True, epoch=epoch)
        session.reply_packed(request.id, packed_status((self._views.packed_report(repository, standing),), []))
        return True

    def _render(self, session: Session, request: Request) -> None:
        view = request.params[0] if request.params else None
        options = options_of(request.params, 1)
        width = option(options, "width", int)
        colour = palette(self._settings.colours) if option(options, "colour", bool, False) else {}
        if view == "config":
            told = effective(self._fleet.configuration)
            from gitwatchd.render.config_view import render_config

            answer = {"text": render_config(told, colour=colour), "notes": [], "failed": len(told["problems"])}
            session.reply(request.id, {**answer, "strict_failed": 0})
            return
        if view == "doctor":
            facts = {**self._doctor.facts(), "service": option(options, "service", dict, {})}
            from gitwatchd.render.doctor_view import doctor_failed, render_doctor

            text = render_doctor(facts, colour=colour, now=time.time())
            session.reply(request.id, {"text": text, "notes": [], "failed": doctor_failed(facts), "strict_failed": 0})
            return
        paths = [path_of(path) for path in option(options, "paths", list, [])]
        if view in ("unsaved", "branches"):
            self._inquiring.render(session, request, view, paths, options, width, colour)
            return
        if view != "status":
            raise UserError(f"there is no view {view!r:.80}", "known: branches, config, doctor, status, unsaved")
        named = name_with_groups(self._fleet, paths, options)
        base = named.scope.tops[0] if len(paths) == 1 and named.scope.tops else None
        chosen = option(options, "repositories", list)
        if chosen is not None:
            known = dict.fromkeys(RepoPath(path) for path in map(path_of, chosen) if self._fleet.repository(path))
            named.scope = Scope((), tuple(known))
        table = StatusTable(options, self._settings, self._views, named, base)
        asked_for_all = not paths and chosen is None and not options.get("groups")

        def reply(answer: Answer, lines: Mapping[RepoPath, Wire | None]) -> None:
            drawn = table.draw(answer, lines)
            if asked_for_all and not named.scope.tops:
                drawn["notes"].insert(0, "no directory is known yet: gitwatch status DIR, or gitwatch roots add DIR")
            session.reply(request.id, drawn)

        def draw(answer: Answer) -> None:
            answer = named.kept(answer)
            if table.wants_lines:
                self._inquiring.with_lines(answer.repositories, partial(reply, answer))
            else:
                reply(answer, {})

        self._ask(session, request, named.scope, options, draw, table.early_rows())

    def _refresh(self, session: Session, request: Request) -> None:
        """Look at everything anew, and answer when that is done."""
        options = options_of(request.params, 1)
        named = _name_strictly(self._fleet, request, options)
        _waiting_options(options)  # before anything is begun that nobody would wait for
        self._fleet.refresh(named.scope)

        def tell(answer: Answer) -> None:
            answer = _kept_strictly(named, answer)
            states = Counter(standing.state for _repository, standing in answer.repositories)
            session.reply(
                request.id,
                {
                    "repositories": len(answer.repositories), "failed": states[State.FAILED],
                    "unfinished": states[State.PENDING] + states[State.STALE],
                },
            )  # fmt: skip

        self._ask(session, request, named.scope, options, tell)

    def _verify(self, session: Session, request: Request) -> None:
        """Compare what would be answered with what git says now."""
        options = options_of(request.params, 1)
        named = _name_strictly(self._fleet, request, options)

        def compare(first: Answer) -> None:
            first = _kept_strictly(named, first)
            before = {r.path: (r.generation, r.outcome) for r, _standing in first.repositories}

            def tell(second: Answer) -> None:
                second = _kept_strictly(named, second)
                differences, compared = [], 0
                for repository, _standing in second.repositories:
                    generation, outcome = before.get(repository.path, (None, None))
                    now = repository.outcome
                    # The request for git's own answer counts as one change; any other means the repository moved on.
                    if generation is None or repository.generation != generation + 1:
                        continue
                    if not isinstance(outcome, Analysed) or not isinstance(now, Analysed):
                        continue
                    compared += 1
                    if outcome.entries != now.entries:
                        differences.append(
                            {
                                "path": text_or_bytes(repository.path),
                                "expected": now.entries or b"", "answered": outcome.entries or b"",
                            }
                        )  # fmt: skip
                self._audit.count(compared, len(differences))
                left = len(second.repositories) - compared
                session.reply(request.id, {"checked": compared, "not_compared": left, "differences": differences})

            self._ask(session, request, named.scope, {**options, "verify": True}, tell)

        self._ask(session, request, named.scope, options, compare)

    def _trust(self, session: Session, request: Request) -> None:
        path = path_of(request.params[0] if request.params else None)
        if not option(options_of(request.params, 1), "remove", bool, False):
            top = worktree_of(self._fleet, path)
            self._fleet.trust(top)
            session.reply(request.id, {"path": text_or_bytes(top)})
            return
        # Also of a repository that is not there any more: another one at its place must not inherit it.
        known = (each for each in (path, real_path(self._fleet, path)) if self._fleet.intent.trusted(each) is not None)
        top = RepoPath(found) if (found := next(known, None)) is not None else worktree_of(self._fleet, path)
        configured = is_trusted(self._settings, top)
        if not self._fleet.end_trust(top) and not configured:
            raise EnvironmentFailure(f"{os.fsdecode(top)}: not trusted", "there is nothing to take back")
        session.reply(request.id, {"path": text_or_bytes(top), "configured": configured})

    def _tell_doctor(self, session: Session, request: Request) -> None:
        facts = self._doctor.facts()
        from gitwatchd.render.doctor_view import doctor_failed

        session.reply(request.id, {**facts, "failed": doctor_failed(facts)})

    def _tell_config(self, session: Session, request: Request) -> None:
        session.reply(request.id, effective(self._fleet.configuration))

    def _subscribe(self, session: Session, request: Request) -> None:
        options = options_of(request.params, 0)
        tops = tuple(real_path(self._fleet, path_of(path)) for path in option(options, "paths", list, []))
        settle_s = float(option(options, "settle_s", (int, float), 0.0))
        method = option(options, "method", str, "changed")
        arguments = option(options, "args", list, [])
        groups = tuple(option(options, "groups", list, []))
        globs_of(self._fleet, groups)
        quiet_s = max(0.0, min(settle_s, _LONGEST_WATCHED_S))
        subscription = Subscription(session, tops, groups, quiet_s, method, list(arguments))
        if tops:
            name_all(self._fleet, list(tops))
        session.reply(request.id, {"subscription": self.subscriptions.add(subscription)})

    def _dump(self, session: Session, request: Request) -> None:
        session.reply(request.id, self._fleet.recorder.dump())

    def _shutdown(self, session: Session, request: Request) -> None:
        session.reply(request.id, True)
        self._loop.call_soon(self._stop)


def _name_strictly(fleet: Fleet, request: Request, options: Mapping[str, Any]) -> Named:
    """The repositories of a request that is refused when one of its paths or groups stands for nothing."""
    named = name_with_groups(fleet, paths_of(request.params), options)
    _refuse(named)
    return named


def _kept_strictly(named: Named, answer: Answer) -> Answer:
    answer = named.kept(answer)
    _refuse(named)
    return answer


def _refuse(named: Named) -> None:
    for error in named.errors:
        raise EnvironmentFailure(f"{os.fsdecode(path_of(error['path']))}: {error['reason']}", error["hint"])


def _waiting_options(options: Mapping[str, Any]) -> tuple[float | None, int | None, bool]:
    """`wait_s`, `jobs`, `verify`. Raises UserError."""
    wait_s: float | None = option(options, "wait_s", (int, float))
    return wait_s, option(options, "jobs", int), option(options, "verify", bool, False)
