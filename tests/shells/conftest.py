from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """An XDG_RUNTIME_DIR in which the daemon of the fixture `daemon` is the user's own."""
    directory = tmp_path / "x"
    directory.mkdir()
    (directory / "gitwatchd").symlink_to(tmp_path / "state" / "run")
    return directory
