"""The executable `gitwatch-gitstatusd` (and `gitwatch gitstatusd`): gitstatusd's protocol and options, by our daemon.

Owns: the options of one helper process. Runs: one process a shell.
For gitstatus's own plugins and powerlevel10k, unchanged, by `GITSTATUS_DAEMON`. The counts have gitstatus's documented
meaning and are otherwise git's. A repository that is not analysed (`unsafe`, `failed`) is none here: the protocol has
no way to say that something is not known, and zeros would say that it is clean.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from getopt import GetoptError, gnu_getopt
from typing import Any

from gitwatch.relay import FIELD, Relay
from gitwatchd.errors import GitwatchError, UserError
from gitwatchd.wire.address import places

VERSION = "v1.5.5"
"""Of the gitstatusd whose protocol and options these are; the plugins insist on it."""

_BAD_OPTION = 10
_OTHER_VERSION = 11
_SHORT = "hVG:l:p:t:v:r:z:s:u:c:d:m:eUWD"
_LONG = {
    "help": "-h", "version": "-V", "version-glob=": "-G", "lock-fd=": "-l", "parent-pid=": "-p", "num-threads=": "-t",
    "log-level=": "-v", "repo-ttl-seconds=": "-r", "max-commit-summary-length=": "-z", "max-num-staged=": "-s",
    "max-num-unstaged=": "-u", "max-num-conflicted=": "-c", "max-num-untracked=": "-d", "dirty-max-index-size=": "-m",
    "recurse-untracked-dirs": "-e", "ignore-status-show-untracked-files": "-U",
    "ignore-bash-show-untracked-files": "-W", "ignore-bash-show-dirty-state": "-D",
}  # fmt: skip
_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")

_USAGE = """\
usage: gitwatch-gitstatusd [OPTION]...

Speaks gitstatusd's protocol on standard input and output and answers from the gitwatch daemon, which it starts when
none runs. GITSTATUS_DAEMON=/path/to/gitwatch-gitstatusd makes gitstatus and powerlevel10k use it.

  -l, --lock-fd=NUM                     exit when that descriptor is not locked any more
  -p, --parent-pid=NUM                  exit when that process is gone
  -z, --max-commit-summary-length=NUM   at most so many bytes of the commit's summary [256]
  -s, --max-num-staged=NUM              report at most so many staged changes; negative: all [1]
  -u, --max-num-unstaged=NUM            ... unstaged changes [1]
  -c, --max-num-conflicted=NUM          ... conflicts [1]
  -d, --max-num-untracked=NUM           ... untracked files [1]
  -m, --dirty-max-index-size=NUM        no unstaged and untracked where the index is larger; negative: always [-1]
  -e, --recurse-untracked-dirs          count the files in untracked directories
  -U, --ignore-status-show-untracked-files   count untracked files though status.showUntrackedFiles is no
  -W, --ignore-bash-show-untracked-files     ... though bash.showUntrackedFiles is false
  -D, --ignore-bash-show-dirty-state         count changes though bash.showDirtyState is false
  -G, --version-glob=GLOB               exit with 11 when the version does not match
  -V, --version
  -h, --help

Taken and not needed: -t, --num-threads; -v, --log-level; -r, --repo-ttl-seconds.
"""

_WAIT_S = 600.0
# Positions in a response, counted from the field after its id and its flag.
_INDEX_SIZE, _STAGED, _UNSTAGED, _CONFLICTED, _UNTRACKED = range(7, 12)
_UNSTAGED_DELETED, _STAGED_NEW, _STAGED_DELETED = 16, 17, 18
_SKIP_WORKTREE, _ASSUME_UNCHANGED, _SUMMARY = 23, 24, 26
_OF_INDEX = (
    _INDEX_SIZE, _STAGED, _UNSTAGED, _CONFLICTED, _UNTRACKED, _UNSTAGED_DELETED, _STAGED_NEW, _STAGED_DELETED,
    _SKIP_WORKTREE, _ASSUME_UNCHANGED,
)  # fmt: skip


@dataclass(slots=True)
class Options:
    """A negative limit is none."""

    lock_fd: int = -1
    parent_pid: int = -1
    summary_bytes: int = 256
    staged: int = 1
    unstaged: int = 1
    conflicted: int = 1
    untracked: int = 1
    dirty_max_index_size: int = -1
    recurse_untracked: bool = False
    ignore_status_untracked: bool = False
    ignore_bash_untracked: bool = False
    ignore_bash_dirty: bool = False


class _Exit(Exception):
    def __init__(self, code: int, said: str = "") -> None:
        super().__init__(said)
        self.code = code
        self.said = said


_NUMBERS = {
    "-l": "lock_fd", "-p": "parent_pid", "-z": "summary_bytes", "-s": "staged", "-u": "unstaged", "-c": "conflicted",
    "-d": "untracked", "-m": "dirty_max_index_size", "-t": "", "-r": "",
}  # fmt: skip
_FLAGS = {
    "-e": "recurse_untracked", "-U": "ignore_status_untracked", "-W": "ignore_bash_untracked",
    "-D": "ignore_bash_dirty",
}  # fmt: skip


def parse(arguments: Sequence[str]) -> Options:
    """Raises _Exit with gitstatusd's exit code."""
    try:
        given, operands = gnu_getopt(list(arguments), _SHORT, [*_LONG])
    except GetoptError as why:
        raise _Exit(_BAD_OPTION, f"gitwatch-gitstatusd: {why}") from None
    options = Options()
    names = {f"--{long.rstrip('=')}": short for long, short in _LONG.items()}
    for name, value in given:
        option = names.get(name, name)
        if option == "-h":
            sys.stdout.write(_USAGE)
            raise _Exit(0)
        if option == "-V":
            sys.stdout.write(f"{VERSION}\n")
            raise _Exit(0)
        if option == "-G":
            _check_version(value)
        elif option == "-v":
            if value not in _LEVELS:
                raise _Exit(_BAD_OPTION, f"gitwatch-gitstatusd: no log level {value!r}; one of {', '.join(_LEVELS)}")
        elif option in _FLAGS:
            setattr(options, _FLAGS[option], True)
        else:
            number = _number(option, value)
            if _NUMBERS[option]:
                setattr(options, _NUMBERS[option], number)
    if operands:
        raise _Exit(_BAD_OPTION, f"gitwatch-gitstatusd: takes no {operands[0]!r}")
    return options


def _number(option: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0 if option == "-t" else 1 << 64
    if not -(1 << 63) <= number < 1 << 63 or (option == "-t" and number <= 0):
        raise _Exit(_BAD_OPTION, f"gitwatch-gitstatusd: {option} needs a whole number, not {value!r}")
    return number


def _check_version(glob: str) -> None:
    from fnmatch import fnmatchcase

    if not fnmatchcase(VERSION, glob):
        raise _Exit(_OTHER_VERSION, f"gitwatch-gitstatusd: speaks as gitstatusd {VERSION}; wanted: {glob}")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        GitstatusHelper(options).run()
    except _Exit as why:
        if why.said:
            print(why.said, file=sys.stderr)
        return why.code
    except GitwatchError as error:
        print(f"gitwatch-gitstatusd: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def command(_invocation: object) -> int:
    """`gitwatch --state-dir DIR gitstatusd`, which cannot be: the plugins give a helper no such option."""
    raise UserError("gitstatusd takes no --state-dir", "XDG_RUNTIME_DIR says where the daemon's socket is")


class GitstatusHelper:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._relay = Relay(places(os.environ, os.getuid()), self._on_record, self._shell_lives)

    def run(self) -> None:
        self._relay.run()

    def _shell_lives(self) -> bool:
        if self._options.lock_fd >= 0 and not _is_locked(self._options.lock_fd):
            return False
        if self._options.parent_pid >= 0:
            try:
                os.kill(self._options.parent_pid, 0)
            except OSError:
                return False
        return True

    def _on_record(self, record: bytes) -> None:
        request, *rest = record.split(FIELD)
        if not rest or len(rest) > 2 or rest[1:] not in ([], [b"0"], [b"1"]):
            print(f"gitwatch-gitstatusd: malformed request: {record!r}", file=sys.stderr)
            return
        directory, without_index = rest[0], rest[1:] == [b"1"]
        answer = _Answer(request, without_index, self._options, self._relay)
        if not directory:
            answer.say_none()
            return
        self._relay.ask_prompt(directory, {"wait_s": _WAIT_S}, answer.on_result)


class _Answer:
    """One request, from the daemon's answer to the response."""

    def __init__(self, request: bytes, without_index: bool, options: Options, relay: Relay) -> None:
        self._request = bytes(b if 32 <= b != 127 else 0x3F for b in request)
        self._without_index = without_index
        self._options = options
        self._relay = relay
        self._untracked = 0

    def say_none(self) -> None:
        self._relay.write(self._request + FIELD + b"0")

    def on_result(self, result: Any) -> None:
        if not isinstance(result, bytes):
            self.say_none()
            return
        state, _deadline, _line, _counted, hides, *fields = result.split(FIELD)
        workdir = fields[0]
        if state != b"fresh" or not workdir:
            self.say_none()
            return
        words = hides.split()
        counted = limited(fields, words, self._options, without_index=self._without_index)
        all_files = self._options.recurse_untracked
        hidden = b"untracked" in words and self._options.ignore_status_untracked
        wanted = self._limit_of_untracked(words, int(fields[_INDEX_SIZE]))
        if (hidden or (all_files and int(fields[_UNTRACKED]))) and not 0 <= wanted <= int(counted[_UNTRACKED]):
            self._count_by_git(workdir, counted, wanted, all_files=all_files)
        else:
            self._say(counted)

    def _limit_of_untracked(self, words: list[bytes], index_size: int) -> int:
        o = self._options
        too_large = 0 <= o.dirty_max_index_size < index_size
        return 0 if self._without_index or too_large or _hides_untracked(words, o) else o.untracked

    def _count_by_git(self, workdir: bytes, fields: list[bytes], most: int, *, all_files: bool) -> None:
        """The daemon counts as `git status` does there; what these options want besides only git knows."""
        command = ["git", "-c", "core.fsmonitor=false", "ls-files", "--others", "--exclude-standard", "-z"]
        if not all_files:
            command += ["--directory", "--no-empty-directory"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        read, write = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, write, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]  # fmt: skip
        arguments = [b"git", b"-C", workdir, *map(os.fsencode, command[1:])]
        try:
            pid = os.posix_spawnp("git", arguments, environment, file_actions=actions)
        except OSError:
            os.close(read)
            self.say_none()
            return
        finally:
            os.close(write)

        def on_data(data: bytes) -> None:
            if data:
                self._untracked += data.count(b"\0")
                return
            if os.waitpid(pid, 0)[1]:
                self.say_none()
                return
            fields[_UNTRACKED] = b"%d" % (self._untracked if most < 0 else min(self._untracked, most))
            self._say(fields)

        self._relay.read_child(read, on_data)

    def _say(self, fields: list[bytes]) -> None:
        self._relay.write(FIELD.join([self._request, b"1", *fields]))


def _hides_untracked(hides: Sequence[bytes], options: Options) -> bool:
    return (b"untracked" in hides and not options.ignore_status_untracked) or (
        b"bash-untracked" in hides and not options.ignore_bash_untracked
    )


def limited(fields: Sequence[bytes], hides: Sequence[bytes], options: Options, *, without_index: bool) -> list[bytes]:
    """The fields of a response as the options want them: limits, sizes, what configuration hides."""
    told = list(fields)
    staged, unstaged, conflicted, untracked = (
        options.staged, options.unstaged, options.conflicted, options.untracked,
    )  # fmt: skip
    if b"bash-dirty" in hides and not options.ignore_bash_dirty:
        staged = unstaged = conflicted = 0
    if _hides_untracked(hides, options):
        untracked = 0
    if 0 <= options.dirty_max_index_size < int(fields[_INDEX_SIZE]):
        unstaged = untracked = 0
    for positions, most in (
        ((_STAGED, _STAGED_NEW, _STAGED_DELETED), staged), ((_UNSTAGED, _UNSTAGED_DELETED), unstaged),
        ((_CONFLICTED,), conflicted), ((_UNTRACKED,), untracked),
    ):  # fmt: skip
        for position in positions if most >= 0 else ():
            told[position] = b"%d" % min(int(told[position]), most)
    if without_index:
        for position in _OF_INDEX:
            told[position] = b"0"
    if 0 <= options.summary_bytes < len(told[_SUMMARY]):
        told[_SUMMARY] = told[_SUMMARY][: options.summary_bytes].decode(errors="ignore").encode()
    return told


def _is_locked(fd: int) -> bool:
    """By another process (F_GETLK)."""
    layout = "@hhlli"
    asked = struct.pack(layout, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        return bool(struct.unpack(layout, fcntl.fcntl(fd, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
