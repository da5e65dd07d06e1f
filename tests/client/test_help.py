from __future__ import annotations

import re
from pathlib import Path

import pytest
from gitwatch.cli import COMMANDS, Invocation
from gitwatch.help import _TEXTS, help_command, topics
from gitwatch.topics import TOPICS
from gitwatch.words import FACTS, IDENTITY, STANDING

from gitwatchd.errors import UserError
from gitwatchd.settings.parser import keys

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_help_and_in_the_readme(command: str) -> None:
    text = re.split(r"[^\w-]+", _TEXTS[command.split()[0]])
    readme = README.read_text()
    assert f"`{command}" in readme or f"`{command.split()[-1]}`" in readme
    for option in COMMANDS[command][2]:
        assert option in text, option
        assert option in readme, option


def test_every_key_of_the_configuration_is_in_the_help() -> None:
    words = set(re.split(r"[^\w]+", _TEXTS["config"]))
    for key in keys():
        assert set(key.replace("*", "NAME").split(".")) <= words, key


@pytest.mark.parametrize("topic", topics())
def test_every_topic_is_told(topic: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert help_command(Invocation("help", {}, [topic])) == 0
    told = capfd.readouterr().out
    assert told.endswith("\n") and max(map(len, told.splitlines())) <= 120


def test_the_report_of_the_help_is_the_reports() -> None:
    words = set(re.split(r"[^\w]+", TOPICS["report"]))
    assert {*IDENTITY, *STANDING, *FACTS} - {"lines"} <= words


def test_an_unknown_topic_names_those_there_are() -> None:
    with pytest.raises(UserError, match="no command or topic 'nonsense'") as caught:
        help_command(Invocation("help", {}, ["nonsense"]))
    assert "exit-codes" in caught.value.hint and "status" in caught.value.hint
