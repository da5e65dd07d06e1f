from __future__ import annotations

import re
from pathlib import Path

import pytest
from gitwatch.cli import COMMANDS
from gitwatch.help import _TEXTS

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_help_and_in_the_readme(command: str) -> None:
    text = re.split(r"[^\w-]+", _TEXTS[command.split()[0]])
    readme = README.read_text()
    assert f"`{command}" in readme or f"`{command.split()[-1]}`" in readme
    for option in COMMANDS[command][2]:
        assert option in text, option
        assert option in readme, option
