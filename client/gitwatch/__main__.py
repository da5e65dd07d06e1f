"""The `gitwatch` command: what an exception means to the shell.

Owns: the exit code. Runs: one process a command, one thread.
Exit codes: 0 fine; 1 some repository failed; 2 usage; 3 refused; 4 no daemon and none could be started; 130
interrupted. Never a traceback for what is the world's fault; a bug shows its own.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from gitwatchd.errors import GitwatchError

_INTERRUPTED = 130


def main() -> int:
    _open_standard_descriptors()
    if sys.argv[1:2] == ["prompt"]:
        # Before the imports of all other commands, which take longer than a prompt altogether.
        from gitwatch import prompt

        code = prompt.run([os.fsencode(argument) for argument in sys.argv[2:]])
        if code is not None:
            return code
    return _run_command()


def _run_command() -> int:
    from gitwatch.cli import run
    from gitwatch.output import OutputClosed, complain
    from gitwatchd.errors import GitwatchError

    try:
        return run(sys.argv[1:])
    except GitwatchError as error:
        complain(error.message, error.hint)
        return exit_code(error)
    except OutputClosed:
        return _end_by_sigpipe()
    except KeyboardInterrupt:
        return _INTERRUPTED


def _open_standard_descriptors() -> None:
    """A caller may have closed 0, 1 or 2 (`>&-`): the socket must not take the number, or the table goes into it.

    Opened for reading, so that writing there still fails.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)


def exit_code(error: GitwatchError) -> int:
    from gitwatchd.errors import DaemonUnavailable, PeerError, UserError
    from gitwatchd.wire.rpc import REFUSED, USAGE, RemoteError

    if isinstance(error, UserError):
        return 2
    if isinstance(error, RemoteError):
        return {USAGE: 2, REFUSED: 3}.get(error.code, 1)
    return 4 if isinstance(error, DaemonUnavailable | PeerError) else 1


def _end_by_sigpipe() -> int:
    # As every program that does not catch it: quiet, and a shell with `pipefail` sees the usual 141.
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
