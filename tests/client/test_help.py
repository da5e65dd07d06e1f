from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from gitwatch.cli import COMMANDS, Invocation, parse
from gitwatch.help import _ALL, _TEXTS, help_command, topics
from gitwatch.topics import TOPICS
from gitwatch.words import FACTS, IDENTITY, OUTCOMES, STANDING

from gitwatchd.errors import UserError
from gitwatchd.settings.parser import keys

README = Path(__file__).parents[2] / "README.md"
METHODS = Path(__file__).parents[2] / "gitwatchd/daemon/methods.py"
GITOVERIT = {
    "status": """-f --fetch -P --pull-safe -U --push-safe -o --format -d --dirty-only --metadata-only -I
        --include-ignored -s --sort -r --reverse -j --jobs -p --print -0 --print0 -c --columns -w --where --errors
        --no-progress --help-where""",
    "branches": """-f --fetch -j --json -g --glob -r --regex -s --sort --reverse -p --print -0 --print0 -c --columns
        -w --where --help-where""",
}
"""All there are in gitoverit d9d6c82, but -a, --table-algo: there is one way to share the width here."""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_its_options_in_the_help(command: str) -> None:
    text = re.split(r"[^\w-]+", _TEXTS[command.split()[0]])
    readme = README.read_text()
    assert f"`{command}" in readme or f"`{command.split()[-1]}`" in readme
    assert command.split()[0] in re.split(r"[^\w-]+", _ALL)
    for option in COMMANDS[command][2]:
        assert option in text, option


def test_every_command_line_of_the_readme_is_one() -> None:
    lines = re.findall(r"(?:^\$ |^|`)gitwatch ([^`\n]+)", README.read_text(), re.MULTILINE)
    typed = [
        re.split(r" [#|] | \[PATH", line)[0] for line in lines if line.split()[0] in {c.split()[0] for c in COMMANDS}
    ]
    assert len(typed) > 20
    for line in typed:
        if line.split()[0] not in ("help", "gitstatusd"):
            first = re.sub(r"(\w+)[|][\w|]+$", r"\1", line)  # of `start|stop|logs`
            parse([*shlex.split(first), "-h"])


@pytest.mark.parametrize("command", GITOVERIT)
def test_every_option_of_gitoverit_is_ours_and_in_the_table(command: str) -> None:
    table = README.read_text().split("### Coming from gitoverit")[1].split("\n#")[0]
    told = set(re.findall(r"--?[a-zA-Z0-9][a-z0-9-]*", table))
    theirs = {*GITOVERIT[command].split()}
    assert theirs - {*COMMANDS[command][2]} == set()
    assert {*theirs, "-a", "--table-algo"} - told == set()


@pytest.mark.parametrize("command", GITOVERIT)
def test_every_option_of_gitoverit_is_exercised_by_a_test(command: str) -> None:
    tests = [path for path in Path(__file__).parents[1].rglob("*.py") if path != Path(__file__)]
    typed = "\n".join(path.read_text() for path in tests)
    # As an argument, alone or with its value: "-s", "--sort=name", "-sNAME".
    missing = [o for o in GITOVERIT[command].split() if not re.search(rf'"{o}(?:=|[A-Z]|")', typed)]
    assert missing == []


def test_every_key_of_the_configuration_is_in_the_help() -> None:
    words = set(re.split(r"[^\w]+", _TEXTS["config"]))
    for key in keys():
        assert set(key.replace("*", "NAME").split(".")) <= words, key


@pytest.mark.parametrize("topic", topics())
def test_every_topic_is_told(topic: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert help_command(Invocation("help", {}, [topic])) == 0
    told = capfd.readouterr().out
    assert told.endswith("\n") and max(map(len, told.splitlines())) <= 120


def test_every_method_is_in_the_help() -> None:
    text = TOPICS["protocol"].split("RESULT")[1]
    handlers = METHODS.read_text().split("self._handlers: dict[str, Handler] = {")[1].split("}")[0]
    methods = re.findall(r'"([a-z.]+)":', handlers)
    assert len(methods) > 15
    for method in methods:
        assert re.search(rf"^{re.escape(method)} \[", text, re.MULTILINE), method


def test_the_report_of_the_help_is_the_reports() -> None:
    words = set(re.split(r"[^\w]+", TOPICS["report"]))
    assert {*IDENTITY, *STANDING, *FACTS, *OUTCOMES} <= words


def test_an_unknown_topic_names_those_there_are() -> None:
    with pytest.raises(UserError) as near:
        help_command(Invocation("help", {}, ["stats"]))
    assert near.value.hint == "did you mean 'status'?"
    with pytest.raises(UserError, match="no command or topic 'nonsense'") as caught:
        help_command(Invocation("help", {}, ["nonsense"]))
    assert "exit-codes" in caught.value.hint and "status" in caught.value.hint
