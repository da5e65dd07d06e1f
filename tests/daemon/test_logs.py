"""The log, as a real process writes it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from gitwatchd.daemon import logs
from gitwatchd.daemon.logs import NeverWaiting, PrivateRotatingFile, ScrubUserinfo

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR|CRITICAL) [\w.]+: .*")
PRELUDE = """
import logging, os, sys, threading
from gitwatchd.daemon.logs import configure
from pathlib import Path
os.umask(0)
print(configure(os.fsencode(sys.argv[1]), foreground="--foreground" in sys.argv, environ=os.environ).value)
log = logging.getLogger("gitwatchd.test")
"""


def run(code: str, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "TZ": "Pacific/Kiritimati", **environ},
    )


def test_a_file_of_ones_own_with_utc_lines(tmp_path: Path) -> None:
    path = tmp_path / "state" / "gitwatchd.log"
    result = run("print(__import__('time').time()); log.info('first'); log.debug('unseen')", path)
    assert result.stdout.startswith("file\n") and result.stderr == ""
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    (line,) = path.read_text().splitlines()
    assert LINE.fullmatch(line) and line.endswith("INFO gitwatchd.test: first")
    stamp = datetime.fromisoformat(line.split()[0]).timestamp()
    assert abs(stamp - float(result.stdout.split()[1])) < 5


def test_foreground_and_journal_write_to_stderr(tmp_path: Path) -> None:
    path = tmp_path / "gitwatchd.log"
    result = run("log.warning('x')", path, "--foreground")
    assert result.stdout == "stderr\n" and LINE.fullmatch(result.stderr.strip())
    code = "import os; s = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{s.st_dev}:{s.st_ino}'\n" + PRELUDE
    journal = subprocess.run(
        [sys.executable, "-c", code + "log.warning('x'); log.error('y')", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert journal.stdout == "journal\n"
    assert [line[:3] for line in journal.stderr.splitlines()] == ["<4>", "<3>"]
    assert all(LINE.fullmatch(line[3:]) for line in journal.stderr.splitlines())
    assert not path.exists()


def test_a_journal_inherited_from_somebody_elses_service_does_not_count(tmp_path: Path) -> None:
    result = run("log.info('x')", tmp_path / "log", JOURNAL_STREAM="8:12345")
    assert result.stdout == "file\n" and result.stderr == ""


def test_a_file_that_cannot_be_made_falls_back_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("log.info('x')", tmp_path / "file" / "log")
    assert result.stdout == "stderr\n"
    assert "cannot write the log file" in result.stderr and result.stderr.endswith("x\n")


def test_one_record_is_one_line_tracebacks_included(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = r"""
def fail():
    raise RuntimeError("first\nsecond https://me:secret@host/x")
try:
    fail()
except RuntimeError:
    log.exception("it %s", "broke\r\n2026-01-01T00:00:00.000Z INFO forged: line \x1b[31m \x85 \u2028 \udcff")
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
import warnings; warnings.warn("a warning")
log.info("%d repositories", "many")
log.info("stack", stack_info=True)
fail()
"""
    result = run(code, path)
    assert result.stderr == "" and result.returncode == 1
    text = path.read_bytes().decode()
    lines = text.split("\n")[:-1]
    assert len(lines) == 6 == len(text.splitlines())
    assert all(LINE.fullmatch(line) for line in lines)
    assert "\x1b" not in text and "secret" not in text
    assert "it broke" in lines[0] and "in fail\\n" in lines[0] and "second https://host/x" in lines[0]
    assert "uncaught exception in thread worker" in lines[1] and "RuntimeError" in lines[1]
    assert "UserWarning: a warning" in lines[2]
    assert "%d repositories" in lines[3] and "many" in lines[3]
    assert "uncaught exception in thread MainThread" in lines[5]


def test_the_filter_covers_arguments_that_are_no_strings() -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "remote %r", (b"https://u:secret@h/",), None)
    assert ScrubUserinfo().filter(record)
    assert record.getMessage() == "remote b'https://h/'"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivateRotatingFile:
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 100)
    return PrivateRotatingFile(os.fsencode(tmp_path / "log"))


def say(handler: PrivateRotatingFile, text: str) -> None:
    handler.handle(logging.LogRecord("n", logging.INFO, "p", 1, text, None, None))


def test_rotated_at_the_limit_three_files_in_all(small: PrivateRotatingFile, tmp_path: Path) -> None:
    for n in range(100):
        say(small, f"{n:02} " + "x" * 30)
    small.close()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    kept = "".join((tmp_path / name).read_text() for name in ("log.2", "log.1", "log"))
    numbers = [int(line[:2]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 100)) and len(numbers) in range(5, 10)
    assert {f.stat().st_mode & 0o777 for f in tmp_path.iterdir()} == {0o600}
    assert all(f.stat().st_size <= 100 for f in tmp_path.iterdir())


def test_a_line_longer_than_the_limit_is_still_written(small: PrivateRotatingFile, tmp_path: Path) -> None:
    say(small, "y" * 500)
    say(small, "z")
    small.close()
    assert (tmp_path / "log.1").stat().st_size == 501 and (tmp_path / "log").read_text() == "z\n"


def test_removed_or_moved_under_us_it_goes_on_at_its_path(small: PrivateRotatingFile, tmp_path: Path) -> None:
    say(small, "one")
    (tmp_path / "log").unlink()
    say(small, "two")
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    (tmp_path / "log").write_text("theirs\n")
    say(small, "three")
    small.close()
    assert (tmp_path / "elsewhere").read_text() == "two\n"
    assert (tmp_path / "log").read_text() == "theirs\nthree\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_grow_stops_nothing(tmp_path: Path) -> None:
    """A file size limit refuses writes as a full disk does."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for n in range(10):
    log.info("%d" % n)
print("alive")
"""
    result = run(code, tmp_path / "log")
    assert result.stdout == "file\nalive\n" and result.stderr == ""
    assert (tmp_path / "log").stat().st_size == 100


def test_standard_error_that_nobody_reads_holds_nobody() -> None:
    """A pager in which somebody stopped; what there was no room for is counted."""
    read, write = os.pipe()
    handler = NeverWaiting(write)
    handler.setFormatter(logging.Formatter("%(message)s"))
    record = logging.LogRecord("x", logging.INFO, "x", 1, "y" * 1000, None, None)
    began = time.monotonic()
    for _ in range(1000):
        handler.emit(record)
    assert time.monotonic() - began < 30.0
    os.set_blocking(read, False)
    first = os.read(read, 1 << 20)
    handler.emit(record)
    assert b"y" * 1000 + b"\n" in first and b"lost" not in first
    said = os.read(read, 1 << 20)
    assert said.startswith(b"[") and b" lines lost] yyy" in said
    os.close(read)
    handler.emit(record)  # and one that is gone
    os.close(write)
