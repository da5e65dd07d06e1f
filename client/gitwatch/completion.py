"""Completion: `gitwatch completion SHELL`, and the hidden `gitwatch __complete` that the shells call at each Tab.

Owns nothing. Runs: one process a Tab, one thread. The scripts hold no words: what there is comes from the one table in
`cli.py`, from the modules that know a value's words, and from a running daemon; so an old script cannot be wrong.
Invariant: `__complete` starts no daemon, waits no longer than a person notices, and never says anything but words.
"""

from __future__ import annotations

import os
import re

from gitwatch import output
from gitwatch.cli import COMMANDS, FLAG, GLOBAL_OPTIONS, WITH_GROUPS, Invocation
from gitwatchd.errors import GitwatchError, UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Any

    Ask = Callable[[str], Collection[str]]
    """Paths of the `repositories` or `roots` that the daemon knows, names of `groups`; empty without a daemon."""

DIRECTORIES = ":directories"
"""A line that asks the shell for its own words: it knows how to quote a path."""

_ANSWER_S = 1.0
_TARGETS = frozenset(
    {"status", "refresh", "verify", "trust", "watch", "events", "prompt", "branches", "unsaved", "roots add"}
)
"""Commands whose operands are paths of repositories or directories."""

_BASH = r"""# bash: add  eval "$(gitwatch completion bash)"  to ~/.bashrc
_gitwatch() {
    local word line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :directories ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")
        else
            COMPREPLY+=("$line")
        fi
    done < <(gitwatch __complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _gitwatch gitwatch
"""

_ZSH = r"""#compdef gitwatch
# zsh: save this as _gitwatch in a directory of $fpath, or add  eval "$(gitwatch completion zsh)"  after compinit
_gitwatch() {
    local line
    local -a found
    for line in "${(@f)$(gitwatch __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :directories ]]; then
            _files -/
        elif [[ -n $line ]]; then
            found+=("$line")
        fi
    done
    # -U: what fits was chosen already; a repository's name stands for its path.
    (( $#found )) && compadd -U -- "${found[@]}"
}
if [[ ${funcstack[1]} == _gitwatch ]]; then _gitwatch "$@"; else compdef _gitwatch gitwatch; fi
"""

_FISH = r"""# fish: gitwatch completion fish > ~/.config/fish/completions/gitwatch.fish
function __gitwatch_complete
    set -l current (commandline -ct)
    for line in (gitwatch __complete fish (commandline -opc)[2..-1] "$current" 2>/dev/null)
        if test "$line" = :directories
            __fish_complete_directories "$current" ''
        else
            echo $line
        end
    end
end
complete -c gitwatch -f -a '(__gitwatch_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(invocation: Invocation) -> int:
    shell = invocation.operands[0]
    if shell not in SCRIPTS:
        raise UserError(f"no completion for {shell!r}", f"one of: {', '.join(SCRIPTS)}")
    output.write_text(SCRIPTS[shell])
    return 0


def complete(arguments: Sequence[str]) -> int:
    """`gitwatch __complete SHELL WORD… CURRENT`: what CURRENT may become, a line each."""
    shell, *words = arguments or ("",)
    if not words:
        return 0
    if shell == "bash":
        words, cut = _unsplit(words)
    else:
        cut = 0
    try:
        found = candidates(words[:-1], words[-1], _Daemon(words))
        output.write_text("".join(f"{word if word == DIRECTORIES else word[cut:]}\n" for word in found))
    except (GitwatchError, OSError):
        return 0
    return 0


def _unsplit(words: list[str]) -> tuple[list[str], int]:
    """bash splits at `=` and `@` as well. The words as they were typed, and how much of the last it keeps itself."""
    whole: list[str] = []
    cut, glue = 0, False
    for word in words:
        if whole and (glue or (word == "=" and whole[-1].startswith("--"))):
            cut = len(whole[-1]) + (len(word) if word == "=" else 0)
            whole[-1] += word
        else:
            cut = len(word) if word == "@" else 0
            whole.append(word)
        glue = word in ("=", "@")
    return whole, cut


def candidates(words: Sequence[str], current: str, ask: Ask) -> list[str]:
    """What the word after `words` may become when `current` is its beginning."""
    command, expects, operands, options_over = _read(words)
    known = {**GLOBAL_OPTIONS, **(COMMANDS[command][2] if command else {})}
    if expects is not None:
        return _values(_canonical(expects, known), current, ask)
    if current.startswith("-") and not options_over:
        name, equals, given = current.partition("=")
        if equals:
            return [f"{name}={value}" for value in _values(_canonical(name, known), given, ask)]
        return _fitting(known, current)
    if command is None:
        group = " ".join(operands)
        return _fitting(_next_words(group), current)
    return _operands(command, operands, current, ask)


def _read(words: Sequence[str]) -> tuple[str | None, str | None, list[str], bool]:
    """(command, option that waits for its value, operands or words of an unfinished command, whether `--` was there)"""
    command: str | None = None
    known: Mapping[str, str] = GLOBAL_OPTIONS
    rest: list[str] = []
    expects = None
    for number, word in enumerate(words):
        if expects is not None:
            expects = None
        elif word == "--" and command is not None:
            return command, None, rest + list(words[number + 1 :]), True
        elif word.startswith("-") and len(word) > 1:
            kind = known.get(_canonical(word, known), FLAG)
            expects = word if kind is not FLAG and "=" not in word else None
        else:
            rest.append(word)
            if command is None and " ".join(rest) in COMMANDS:
                command, rest = " ".join(rest), []
                known = {**GLOBAL_OPTIONS, **COMMANDS[command][2]}
    return command, expects, rest, False


def _canonical(option: str, known: Mapping[str, str]) -> str:
    kind = known.get(option, "")
    return kind if kind.startswith("--") else option


def _next_words(group: str) -> list[str]:
    prefix = group + " " if group else ""
    return list(dict.fromkeys(name.removeprefix(prefix).split()[0] for name in COMMANDS if name.startswith(prefix)))


def _values(option: str, current: str, ask: Ask) -> list[str]:
    if option == "--state-dir":
        return [DIRECTORIES]
    if option == "--porcelain":
        return _fitting(["v2"], current)
    if option == "--format":
        return _fitting(["json", "table"], current)
    if option == "--sort":
        from gitwatch.words import ORDERS

        return _fitting(ORDERS, current)
    if option == "--columns":
        from gitwatchd.render.table import COLUMNS

        return _last_of(r"[^,]*$", current, [*COLUMNS, *(f"-{name}" for name in COLUMNS)])
    if option in ("--where", "--print"):
        from gitwatch.words import NAMES

        return _last_of(r"[A-Za-z_]*$", current, sorted(NAMES))
    return []


def _last_of(pattern: str, current: str, words: Iterable[str]) -> list[str]:
    """`current` with its last piece completed."""
    found = re.search(pattern, current)
    before = current[: found.start()] if found else current
    return [before + word for word in _fitting(words, current[len(before) :])]


def _operands(command: str, given: Sequence[str], current: str, ask: Ask) -> list[str]:
    if command == "help":
        from gitwatch.help import topics

        return [] if given else _fitting(topics(), current)
    if command in ("completion", "init"):
        return [] if given else _fitting(SCRIPTS, current)
    if len(given) >= COMMANDS[command][4]:
        return []
    if command == "roots rm":
        return _fitting(ask("roots"), current)
    if command not in _TARGETS:
        return []
    if current.startswith("@") and command in WITH_GROUPS:
        return _fitting((f"@{name}" for name in ask("groups")), current)
    if not current or current.startswith((".", "~")) or "/" in current:
        return [DIRECTORIES]
    named = sorted(path for path in ask("repositories") if os.path.basename(path).startswith(current))
    return [*named, DIRECTORIES]


def _fitting(words: Iterable[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]


class _Daemon:
    """Asks the daemon that runs, if one does."""

    def __init__(self, words: Sequence[str]) -> None:
        options: dict[str, bool | int | float | str] = {"--timeout": _ANSWER_S}
        for number, word in enumerate(words):
            if word == "--state-dir" and number + 1 < len(words):
                options["--state-dir"] = words[number + 1]
            elif word.startswith("--state-dir="):
                options["--state-dir"] = word.partition("=")[2]
        self._invocation = Invocation("status", options, [])

    def __call__(self, kind: str) -> list[str]:
        from gitwatch.link import find_running, places_of

        link = find_running(places_of(self._invocation), _ANSWER_S / 2)
        if link is None:
            return []

        def call(method: str, *params: Any) -> Any:
            return link.call(method, *params, timeout_s=self._invocation.remaining_s())

        if kind == "groups":
            names = call("config")["values"]
            return [name.removeprefix("groups.") for name in names if name.startswith("groups.")]
        if kind == "roots":
            paths = [root["path"] for root in call("roots.list")]
        else:
            paths = [report["path"] for report in call("status", [], {"wait_s": 0, "fields": ["path"]})["repos"]]
        # A path that is not text, or holds a newline, cannot be a line.
        return [path for path in paths if isinstance(path, str) and path.isprintable()]
