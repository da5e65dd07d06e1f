"""The command line: which commands and options there are, and which module serves each.

Owns: the table of commands. Runs: one process a command. Own parser, because argparse alone costs 8 ms; a
command's module is imported when it is called, the help when it is asked for.
"""

from __future__ import annotations

import os
import time

from gitwatchd.errors import EnvironmentFailure, UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Value = bool | int | float | str
    Command = Callable[["Invocation"], int]

FLAG, COUNT, SECONDS, TEXT = "flag", "count", "seconds", "text"

GLOBAL_OPTIONS = {"--state-dir": TEXT, "--help": FLAG, "-h": FLAG, "--version": FLAG}

_STATUS = {
    "--json": FLAG, "--jsonl": FLAG, "--porcelain": TEXT, "-z": FLAG, "--format": TEXT, "-o": "--format",
    "--no-wait": FLAG, "--verify": FLAG, "--direct": FLAG, "--include-ignored": FLAG, "-I": "--include-ignored",
    "--jobs": COUNT, "-j": "--jobs", "--timeout": SECONDS, "--strict": FLAG, "--no-progress": FLAG,
    "--where": TEXT, "-w": "--where", "--print": TEXT, "-p": "--print", "--print0": FLAG, "-0": "--print0",
    "--help-where": FLAG, "--sort": TEXT, "-s": "--sort", "--reverse": FLAG, "-r": "--reverse",
    "--columns": TEXT, "-c": "--columns", "--dirty": FLAG, "--dirty-only": "--dirty", "-d": "--dirty",
    "--depth": COUNT, "--metadata-only": FLAG, "--errors": FLAG, "--lines": FLAG,
    "--fetch": FLAG, "-f": "--fetch", "--pull-safe": FLAG, "-P": "--pull-safe",
    "--push-safe": FLAG, "-U": "--push-safe",
}  # fmt: skip
"""A name that stands for another option is that one's short or older form."""

_BRANCHES = {
    "--json": FLAG, "-j": "--json", "--glob": TEXT, "-g": "--glob", "--regex": TEXT, "-r": "--regex",
    "--where": TEXT, "-w": "--where", "--print": TEXT, "-p": "--print", "--print0": FLAG, "-0": "--print0",
    "--help-where": FLAG, "--sort": TEXT, "-s": "--sort", "--reverse": FLAG, "--columns": TEXT, "-c": "--columns",
    "--timeout": SECONDS, "--fetch": FLAG, "-f": "--fetch",
}  # fmt: skip

_UNSAVED = {"--json": FLAG, "--timeout": SECONDS, "--no-progress": FLAG, "--fetch": FLAG, "-f": "--fetch"}

_PROMPT = {"--format": TEXT, "--template": TEXT, "--timeout": SECONDS}

_ANY = 1 << 30

COMMANDS: Mapping[str, tuple[str, str, Mapping[str, str], int, int]] = {
    "status": ("status", "status", _STATUS, 0, _ANY),
    "unsaved": ("unsaved", "unsaved", _UNSAVED, 0, _ANY),
    "branches": ("branches", "branches", _BRANCHES, 0, 1),
    "roots add": ("repositories", "add_root", {"--include-ignored": FLAG}, 1, 1),
    "roots rm": ("repositories", "remove_root", {}, 1, 1),
    "roots list": ("repositories", "list_roots", {}, 0, 0),
    "refresh": ("repositories", "refresh", {"--timeout": SECONDS, "--no-progress": FLAG}, 0, _ANY),
    "verify": ("repositories", "verify", {"--timeout": SECONDS}, 0, _ANY),
    "trust": ("repositories", "trust", {"--remove": FLAG}, 1, 1),
    "prompt": ("prompt_command", "prompt", _PROMPT, 0, 1),
    "init": ("init", "init", {}, 1, 1),
    "gitstatusd": ("gitstatusd", "command", {}, 0, 0),
    "doctor": ("repositories", "doctor", {"--json": FLAG, "--dump": FLAG}, 0, 0),
    "config": ("repositories", "config", {"--json": FLAG}, 0, 0),
    "watch": ("watch", "watch", {}, 0, _ANY),
    "events": ("events", "events", {}, 0, _ANY),
    "daemon start": ("control", "start", {}, 0, 0),
    "daemon stop": ("control", "stop", {}, 0, 0),
    "daemon restart": ("control", "restart", {}, 0, 0),
    "daemon status": ("control", "status", {}, 0, 0),
    "daemon logs": ("control", "logs", {}, 0, 0),
    "service install": ("service", "install", {}, 0, 0),
    "service uninstall": ("service", "uninstall", {}, 0, 0),
    "service status": ("service", "status", {}, 0, 0),
    "completion": ("completion", "completion", {}, 1, 1),
    "help": ("help", "help_command", {}, 0, 2),
}
"""Command: module of this package, function, options, fewest and most operands."""

_GROUPS = frozenset(name.split()[0] for name in COMMANDS if " " in name)


WITH_GROUPS = ("status", "unsaved", "refresh", "verify", "watch", "events")
"""Commands whose operands may be groups of the configuration; `./@NAME` is a path."""

_LONGEST_S = 600.0
"""The daemon itself waits no longer than this for an analysis."""

_GRACE_S = 10.0
"""What the daemon gets beyond its own wait, to say what it did not finish."""


class Invocation:
    """One command as it was typed, and the time it has for everything."""

    __slots__ = ("_ends_at", "command", "operands", "options")

    def __init__(self, command: str, options: dict[str, Value], operands: list[str]) -> None:
        self.command = command
        self.options = options
        self.operands = operands
        timeout_s = self.timeout_s
        self._ends_at = time.monotonic() + (_LONGEST_S + _GRACE_S if timeout_s is None else timeout_s)

    def remaining_s(self) -> float:
        """Seconds until everything must be over; above 0 even when it should be."""
        return max(self._ends_at - time.monotonic(), 0.001)

    def has(self, option: str) -> bool:
        return option in self.options

    @property
    def state_dir(self) -> bytes | None:
        """Absolute, as given by --state-dir."""
        given = self.options.get("--state-dir")
        return None if given is None else absolute(str(given))

    @property
    def timeout_s(self) -> float | None:
        given = self.options.get("--timeout")
        return None if given is None else float(given)

    @property
    def jobs(self) -> int | None:
        given = self.options.get("--jobs")
        return None if given is None else int(given)

    def paths(self) -> list[bytes]:
        """The operands as absolute paths without symlinks; where groups may stand, without those."""
        return [absolute(operand) for operand in self.operands if not self._is_group(operand)]

    def groups(self) -> dict[str, list[str]]:
        """The option that names the groups among the operands (`@NAME`); empty without any."""
        names = [operand[1:] for operand in self.operands if self._is_group(operand)]
        return {"groups": names} if names else {}

    def _is_group(self, operand: str) -> bool:
        return operand.startswith("@") and self.command in WITH_GROUPS


def absolute(path: str) -> bytes:
    # Not abspath: it takes the name before `..` away even where that is a symlink to another place.
    return os.path.realpath(os.path.join(working_directory(), os.fsencode(path)))


def working_directory() -> bytes:
    try:
        return os.getcwdb()
    except OSError as why:
        raise EnvironmentFailure(
            f"the current directory cannot be read: {why.strerror}",
            "it may have been deleted: `cd` to another",
        ) from None


def run(arguments: Sequence[str]) -> int:
    """The exit code of `gitwatch ARGUMENTS`. Raises UserError, and what the commands raise."""
    if arguments[:1] == ["__complete"]:
        from gitwatch.completion import complete

        return complete(arguments[1:])
    if arguments[:1] == ["gitstatusd"]:
        # Its options are gitstatusd's, with gitstatusd's own exit codes.
        from gitwatch.gitstatusd import main

        return main(arguments[1:])
    invocation = parse(arguments)
    module, function = ("help", "version") if invocation.has("--version") else COMMANDS[invocation.command][:2]
    if invocation.has("--help") or invocation.has("-h"):
        invocation.operands = invocation.command.split()
        module, function = "help", "help_command"
    command: Command = getattr(__import__(f"gitwatch.{module}", fromlist=[function]), function)
    return command(invocation)


def parse(arguments: Sequence[str]) -> Invocation:
    """Options may stand anywhere before `--`; a command's own only after it."""
    words: list[str] = []
    options: dict[str, Value] = {}
    operands: list[str] = []
    command = None
    known = GLOBAL_OPTIONS
    rest = iter(arguments)
    for argument in rest:
        if argument == "--" and command is not None:
            operands += rest
        elif argument.startswith("-") and len(argument) > 1:
            name, value = _parse_option(argument, known, rest, command)
            options[name] = value
        elif command is not None:
            operands.append(argument)
        else:
            words.append(argument)
            command = _parse_command(words)
            if command is not None:
                known = {**GLOBAL_OPTIONS, **COMMANDS[command][2]}
    if command is None:
        return _without_command(words, options)
    if not ("--help" in options or "-h" in options):
        _check_operands(command, operands)
    return Invocation(command, options, operands)


def _parse_command(words: list[str]) -> str | None:
    """The command that `words` name; None when a second word is needed."""
    name = " ".join(words)
    if name in COMMANDS:
        return name
    if len(words) == 1 and name in _GROUPS:
        return None
    group = words[0] + " " if len(words) > 1 else ""
    choices = sorted({c.removeprefix(group).split()[0] for c in COMMANDS if c.startswith(group)})
    instead = f"one of: {', '.join(choices)}" if group else _see_help(None)
    raise UserError(f"no command {name!r}", nearest(words[-1], choices) or instead)


def _without_command(words: list[str], options: dict[str, Value]) -> Invocation:
    if "--version" in options or "--help" in options or "-h" in options:
        version = {"--version": True} if "--version" in options else {}
        return Invocation("help", {**version}, words)
    if words:
        choices = ", ".join(c.split()[1] for c in COMMANDS if c.startswith(words[0] + " "))
        raise UserError(f"`gitwatch {words[0]}` needs one of: {choices}", f"see `gitwatch help {words[0]}`")
    raise UserError("which command?", "try `gitwatch status`, or `gitwatch help` for all of them")


def _parse_option(
    argument: str, known: Mapping[str, str], rest: Sequence[str] | object, command: str | None
) -> tuple[str, Value]:
    name, equals, given = argument.partition("=")
    if name not in known and len(name) > 2 and name[1] != "-" and name[:2] in known:
        # `-sbranch`; flags are not run together, as that would make `-dirty` a `-d`, `-i` ...
        name, equals, given = argument[:2], "=", argument[2:]
    kind = known.get(name)
    if kind is not None and kind.startswith("--"):
        name, kind = kind, known[kind]
    if kind is None:
        after = f" of `gitwatch {command}`" if command else ""
        raise UserError(f"no option {name!r}{after}", nearest(name, list(known)) or _see_help(command))
    if kind is FLAG:
        if equals:
            raise UserError(f"{name} takes no value")
        return name, True
    if not equals:
        following = next(rest, None)  # type: ignore[call-overload]
        if following is None:
            raise UserError(f"{name} needs a value", _see_help(command))
        given = following
    return name, _parse_value(name, kind, given)


def _parse_value(name: str, kind: str, given: str) -> Value:
    if kind is TEXT:
        return given
    try:
        value: int | float = int(given) if kind is COUNT else float(given)
    except ValueError:
        value = -1
    if not 0 <= value < 1e9 or (kind is SECONDS and value == 0):
        wanted = "a whole number, 0 or more" if kind is COUNT else "a number of seconds above 0"
        raise UserError(f"{name} needs {wanted}, not {given!r}")
    return value


def _check_operands(command: str, operands: list[str]) -> None:
    least, most = COMMANDS[command][3:]
    if len(operands) < least:
        wanted = "SHELL" if command in ("completion", "init") else "PATH"
        raise UserError(f"`gitwatch {command}` needs a {wanted}", f"see `gitwatch help {command}`")
    if len(operands) > most:
        raise UserError(f"`gitwatch {command}` takes no {operands[most]!r}", f"see `gitwatch help {command}`")
    if "" in operands:
        raise UserError("a PATH is empty", "say . for the current directory")


def _see_help(command: str | None) -> str:
    return f"see `gitwatch help {command}`" if command else "see `gitwatch help`"


def nearest(word: str, choices: list[str]) -> str:
    """A question about the choice that was most likely meant; empty without one."""
    import difflib

    # Without their dashes: `--` alone would make any two options alike.
    bare = {choice.strip("-"): choice for choice in choices}
    near = difflib.get_close_matches(word.strip("-"), bare, 1, cutoff=0.7)
    return f"did you mean {bare[near[0]]!r}?" if near else ""
