from __future__ import annotations

import os
from pathlib import Path

import pytest
from gitwatch.cli import absolute

from gitwatchd.daemon.main import _parse
from gitwatchd.wire.address import places


@pytest.mark.parametrize("form", [["--state-dir", "{}"], ["--state-dir={}"]])
def test_daemon_and_client_mean_the_same_socket(tmp_path: Path, form: list[str]) -> None:
    """Behind a link to a path that is too long for a socket, and behind `..` after a link."""
    deep = tmp_path / ("d" * 100)
    (deep / "inner").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(deep / "inner")
    for given in (f"{link}/s", f"{link}/../s"):
        _, state_dir = _parse([part.format(given) for part in form])
        theirs = places(os.environ, os.getuid(), absolute(given))
        assert places(os.environ, os.getuid(), state_dir).socket == theirs.socket
