"""The method `prompt`: one directory's line, or what a shell or the gitstatus drop-in sets its variables from.

Owns: the answers rendered for each repository's present outcome. Runs: serving thread.
Invariant: no directory is searched for repositories because a prompt stood in it: a shell passes through `/`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.daemon.requests import (
    NotLookedAt,
    find_by_git_dir,
    find_worktree_top,
    is_found_from_its_top,
    known_above,
    option,
    options_of,
    path_of,
    real_path,
)
from gitwatchd.daemon.views import report
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import UserError
from gitwatchd.model.report import Facts, Standing, State
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.render.prompt import (
    BUILT_IN,
    Consumer,
    Template,
    assignments,
    gitstatus_fields,
    parse_template,
    render_line,
    shell_variables,
)
from gitwatchd.server.session import Session
from gitwatchd.settings.colours import WORDS
from gitwatchd.wire.rpc import Request

_log = logging.getLogger(__name__)

_SEPARATOR = "\x1f"
_COLOURS = {**WORDS, "reset": "0"}
_FORMS_KEPT = 16
"""Rendered answers of one repository; more than a few shells with their own template each are no everyday thing."""
_TEMPLATES_KEPT = 64

Ask = Callable[[Session, Request, Scope, Mapping[str, Any], Callable[[Answer], None]], None]


@dataclass(frozen=True, slots=True)
class _Form:
    """What is wanted, apart from the directory."""

    format: str
    template: str | None
    fields: bool
    ascii_only: bool


@dataclass(slots=True)
class _Rendered:
    outcome: object
    location: Location
    answers: dict[tuple[_Form, State, str], bytes] = field(default_factory=dict)


_FORMATS = {
    "text": Consumer.TEXT, "zsh": Consumer.ZSH, "bash": Consumer.BASH, "tmux": Consumer.TMUX,
    "shell": Consumer.BASH, "fish": Consumer.FISH, "report": Consumer.TEXT,
}  # fmt: skip


class Prompts:
    """`ask` waits for an answer about some repositories (`Methods._ask`). `run_dir`: the socket's directory."""

    def __init__(self, fleet: Fleet, ask: Ask, run_dir: bytes) -> None:
        self._fleet = fleet
        self._ask = ask
        self._rendered: dict[RepoPath, _Rendered] = {}
        self._templates: dict[str, Template] = {}
        self._complained_of = ""
        self._deadline_file = run_dir + b"/prompt-deadline-ms"
        self._deadline_told: int | None = None
        self.tell_deadline()

    def forget(self, path: RepoPath) -> None:
        self._rendered.pop(path, None)

    def tell_deadline(self) -> None:
        """Beside the socket, where a client finds it before it has a connection."""
        deadline_ms = self._fleet.configuration.settings.prompt.deadline_ms
        self._deadline_told = deadline_ms
        try:
            fd = os.open(self._deadline_file + b".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, b"%d" % deadline_ms)
            finally:
                os.close(fd)
            os.replace(self._deadline_file + b".new", self._deadline_file)
        except OSError as why:
            _log.warning("clients will not know [prompt] deadline_ms: %s", why.strerror)

    def handle(self, session: Session, request: Request) -> None:
        path = path_of(request.params[0] if request.params else None)
        options = options_of(request.params, 1)
        form = _Form(
            option(options, "format", str, "text"), option(options, "template", str),
            option(options, "fields", bool, False), option(options, "ascii", bool, False),
        )  # fmt: skip
        if form.format not in _FORMATS:
            raise UserError(f"there is no format {form.format!r:.80}", f"known: {', '.join(sorted(_FORMATS))}")
        if form.template is not None:
            self._template(form.template)
        by_git_dir = option(options, "git_dir", bool, False)
        top = self._find(path, by_git_dir=by_git_dir)
        if top is None:
            self._reply_none(session, request, form)
            return
        repository = self._fleet.is_current(top)
        if repository is not None:
            epoch = time.time()
            self._fleet.count_hit(repository, epoch)
            self._fleet.roots.touch(top, epoch)
            self._reply(session, request, form, repository, repository.standing(fresh=True, epoch=epoch))
            return

        self._fleet.decisions.settle()

        def complete(answer: Answer) -> None:
            found = answer.repositories
            if found and not found[0][0].gone:
                self._reply(session, request, form, *found[0])
                return
            # Known until this very question: by now the directory may lie in the worktree around it.
            around = self._find(path, by_git_dir=by_git_dir)
            repository = None if around is None or around == top else self._fleet.repository(around)
            if repository is None or around is None:
                self._reply_none(session, request, form)
            else:
                self._ask(
                    session,
                    request,
                    Scope((), (around,)),
                    waiting,
                    lambda a: self._reply_any(session, request, form, a),
                )

        wait_ms = option(options, "wait_ms", int)
        wait_s = option(options, "wait_s", (int, float), None if wait_ms is None else wait_ms / 1000)
        if wait_s is None:
            wait_s = self._fleet.configuration.settings.prompt.deadline_ms / 1000
        waiting = {"wait_s": wait_s}
        self._ask(session, request, Scope((), (top,)), waiting, complete)

    def _find(self, path: bytes, *, by_git_dir: bool) -> RepoPath | None:
        fleet = self._fleet
        known = fleet.repository(path)
        if known is not None and not by_git_dir and is_found_from_its_top(fleet, known):
            return known.path
        try:
            directory = real_path(fleet, path, strict=True)
            if not fleet.watcher.is_local(directory):
                return known_above(fleet, directory)
            return find_by_git_dir(fleet, directory) if by_git_dir else find_worktree_top(fleet, directory)
        except (OSError, NotLookedAt):
            return None

    # ---- answers

    def _reply_any(self, session: Session, request: Request, form: _Form, answer: Answer) -> None:
        if answer.repositories and not answer.repositories[0][0].gone:
            self._reply(session, request, form, *answer.repositories[0])
        else:
            self._reply_none(session, request, form)

    def _reply_none(self, session: Session, request: Request, form: _Form) -> None:
        """There is no repository: nil where fields are wanted, else what shows or sets nothing."""
        if form.fields or form.format == "report":
            session.reply(request.id, None)
        elif form.format in ("shell", "fish"):
            variables = shell_variables("norepo-sync", "none", None, counted=False, line="")
            session.reply_packed(request.id, _bin32(assignments(variables, fish=form.format == "fish").encode()))
        else:
            session.reply_packed(request.id, _bin32(b""))

    def _reply(
        self, session: Session, request: Request, form: _Form, repository: Repository, standing: Standing
    ) -> None:
        if form.format == "report":
            session.reply(request.id, report(repository, standing))
            return
        rendered = self._rendered.get(repository.path)
        if (
            rendered is None
            or rendered.outcome is not repository.outcome
            or rendered.location is not repository.location
            or len(rendered.answers) > _FORMS_KEPT
        ):
            rendered = self._rendered[repository.path] = _Rendered(repository.outcome, repository.location)
        prompt = self._fleet.configuration.settings.prompt
        if prompt.deadline_ms != self._deadline_told:
            self.tell_deadline()
        key = (form, standing.state, f"{prompt.deadline_ms} {prompt.template}")
        packed = rendered.answers.get(key)
        if packed is None:
            line = render_line(
                self._template_of(form), repository.location, repository.facts(), standing.state,
                consumer=_FORMATS[form.format], colours=_COLOURS, ascii_only=form.ascii_only,
            )  # fmt: skip
            text = _answer(form, repository.location, repository.facts(), standing.state, line, prompt.deadline_ms)
            packed = rendered.answers[key] = _bin32(text.encode(errors="replace"))
        session.reply_packed(request.id, packed)

    # ---- templates

    def _template_of(self, form: _Form) -> Template:
        configured = self._fleet.configuration.settings.prompt.template
        if form.template is not None:
            return self._template(form.template)
        try:
            return self._template(configured or BUILT_IN)
        except UserError as why:
            # In a prompt there is no room for an error: the log has it, and `doctor` shows the log's last words.
            if configured != self._complained_of:
                self._complained_of = configured
                _log.warning("[prompt] template is not used: %s", why.message)
            return self._template(BUILT_IN)

    def _template(self, text: str) -> Template:
        template = self._templates.get(text)
        if template is None:
            if len(self._templates) >= _TEMPLATES_KEPT:
                self._templates.clear()
            template = self._templates[text] = parse_template(text, _COLOURS)
        return template


def _answer(form: _Form, location: Location, facts: Facts, state: State, line: str, deadline_ms: int) -> str:
    if not form.fields and form.format not in ("shell", "fish"):
        return line
    fields = gitstatus_fields(location, facts)
    counted = facts.counts is not None
    if form.fields:
        own = [state.value, str(deadline_ms), line, str(int(counted)), " ".join(facts.hides or ())]
        return _SEPARATOR.join(own + fields)
    result = "tout" if state in (State.PENDING, State.FAILED) else "norepo-sync" if location.bare else "ok-sync"
    told = fields if result == "ok-sync" else None
    variables = shell_variables(result, state.value, told, counted=counted, line=line)
    return assignments(variables, fish=form.format == "fish")


def _bin32(data: bytes) -> bytes:
    """The same header whatever the length: shells take an answer apart without a decoder."""
    return b"\xc6" + len(data).to_bytes(4, "big") + data
