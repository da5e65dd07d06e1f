"""The file as the daemon keeps it; with a real loop, and no daemon around it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitwatchd.daemon.configuration import Configuration
from gitwatchd.loop import Loop
from gitwatchd.settings.model import DEFAULTS, Settings


def fail(bug: BaseException) -> None:
    raise bug


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(fail)
    yield loop
    loop.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def configuration(loop: Loop, file: Path) -> Configuration:
    return Configuration(loop, os.fsencode(file), b"/home/u", ("branch",))


def test_unasked_a_change_waits_until_the_file_is_left_alone(loop: Loop, file: Path) -> None:
    file.write_text('roots = ["/a"]')
    known = configuration(loop, file)
    changes: list[Settings] = []

    def on_change(before: Settings) -> None:
        changes.append(before)
        loop.stop()

    known.on_change = on_change
    # Before the other: on however slow a machine it is due first.
    loop.call_later(0.001, lambda: (file.write_text('roots = ["/b"]'), known.note()))
    file.write_text("")
    known.note()
    loop.run()
    assert [before.roots for before in changes] == [(b"/a",)]
    assert known.settings.roots == (b"/b",)
    assert not known.unsettled


def test_asked_it_does_not_wait(loop: Loop, file: Path) -> None:
    known = configuration(loop, file)
    assert known.settings is DEFAULTS
    file.write_text('roots = ["/b"]')
    known.note()
    assert known.unsettled
    known.settle()
    assert known.settings.roots == (b"/b",) and not known.unsettled


def test_a_mistake_changes_nothing_but_what_is_told(loop: Loop, file: Path) -> None:
    file.write_text('\nroots = ["/a"]')
    known = configuration(loop, file)
    before = known.settings
    for content in (b"\nroot = []", b"\xff", b"roots = ["):
        file.write_bytes(content)
        known.read()
        assert known.settings is before and len(known.notes()) == 1
        assert known.lines == {"roots": 2} and known.written == {"roots": ["/a"]}
    assert known.notes() == [f"{file}:1: not TOML: invalid value"]
    file.unlink()
    file.mkdir()
    known.read()
    assert known.settings is before
    assert known.notes() == [f"{file}: cannot be read: is a directory"]
    file.rmdir()
    known.read()
    assert known.settings == DEFAULTS and known.notes() == [] and known.lines == {}


def test_what_is_written_again_unchanged_is_no_change(loop: Loop, file: Path) -> None:
    file.write_text('roots = ["/a"]')
    known = configuration(loop, file)
    known.on_change = lambda _before: pytest.fail("nothing changed")
    file.write_text('# a comment\nroots = ["/a"]')
    known.read()
    assert known.lines == {"roots": 2}


def test_without_a_file_nothing_is_imported_to_read_one(tmp_path: Path) -> None:
    """Of the daemon's start; and a command's ordinary way knows nothing of settings."""
    daemon = (
        "import sys; from gitwatchd.loop import Loop; from gitwatchd.daemon.main import _Daemon; "
        "from gitwatchd.daemon.fleet import Fleet; from gitwatchd.daemon.methods import Methods; "
        "from gitwatchd.daemon.configuration import Configuration; "
        f"Configuration(Loop(print), {os.fsencode(tmp_path / 'none')!r}, b'/', ()); "
    )
    client = "import sys, gitwatch.__main__, gitwatch.cli, gitwatch.status, gitwatch.link; "
    for script, absent in (
        (daemon, ("tomllib", "gitwatchd.settings.parser")),
        (client, ("tomllib", "gitwatchd.settings", "dataclasses", "typing")),
    ):
        script += f"print(sorted(set({absent!r}) & sys.modules.keys()))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("[]\n", "")
