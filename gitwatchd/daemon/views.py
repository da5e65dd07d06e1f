"""Reports ready to be sent: the packed bytes and the table row of each repository, made once per outcome.

Owns: the packed bodies and rows. Runs: serving thread. The hot query copies bytes: it packs six small fields, not
fifty.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import Standing, Wire, facts_to_wire, standing_to_wire
from gitwatchd.model.repository import RepoPath, identity_to_wire, report_to_wire
from gitwatchd.render.table import Row, row_of
from gitwatchd.wire.rpc import pack

_REPOS = pack("repos")
_ERRORS = pack("errors")
_MAP16_HEADER_BYTES = 3


def report(repository: Repository, standing: Standing) -> Wire:
    """The whole report as a map."""
    return report_to_wire(repository.location, repository.facts(), standing)


@dataclass(slots=True)
class _View:
    outcome: object
    location: object
    body: bytes
    """The packed keys and values of identity and facts, without a map header."""
    fields: int
    row: Row | None = None
    row_standing: tuple[object, str] | None = None


class Views:
    def __init__(self) -> None:
        self._views: dict[RepoPath, _View] = {}

    def _view(self, repository: Repository) -> _View:
        view = self._views.get(repository.path)
        if view is None or view.outcome is not repository.outcome or view.location is not repository.location:
            whole = {**identity_to_wire(repository.location), **facts_to_wire(repository.facts())}
            body = pack(whole)[_MAP16_HEADER_BYTES:]  # more than 15 fields: its header is a map16's
            view = _View(repository.outcome, repository.location, body, len(whole))
            self._views[repository.path] = view
        return view

    def packed_report(self, repository: Repository, standing: Standing) -> bytes:
        view = self._view(repository)
        tail = pack(standing_to_wire(standing))
        # `tail` is a fixmap of six: its header byte makes way for a header that counts the body's fields too.
        return struct.pack(">BH", 0xDE, view.fields + 6) + view.body + tail[1:]

    def row(self, repository: Repository, standing: Standing) -> Row:
        view = self._view(repository)
        key = (standing.state, standing.reason)
        if view.row is None or view.row_standing != key:
            view.row, view.row_standing = row_of(repository.location, repository.facts(), standing), key
        return view.row

    def forget(self, path: RepoPath) -> None:
        self._views.pop(path, None)


def packed_status(reports: Collection[bytes], errors: list[Wire]) -> bytes:
    """The result of `status`: `{repos: [...], errors: [...]}` from packed reports."""
    header = struct.pack(">BI", 0xDD, len(reports))
    return b"".join([b"\x82", _REPOS, header, *reports, _ERRORS, pack(errors)])


def select_fields(whole: Wire, fields: Collection[object]) -> dict[str, Any]:
    """Only these fields of a report, `path` always among them; what names none is left out."""
    return {key: value for key, value in whole.items() if key == "path" or key in fields}
