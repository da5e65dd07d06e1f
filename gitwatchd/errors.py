"""Four kinds of failure, told apart by type.

    GitwatchError
    ├── UserError          a bad argument: exit 2, one line and a hint
    ├── EnvironmentFailure the world's fault, expected: exit 1 (or 4)
    │   ├── GitMissing     no git to run
    │   ├── GitTimedOut    a git child passed its deadline and was ended
    │   ├── DaemonUnavailable  nothing listens and nothing could be started: exit 4
    │   └── NotARepository that place holds no repository
    └── PeerError          the other end of a connection broke the protocol: reply if possible, close it

Everything else that is raised is a bug: it ends that request or job, is logged with its traceback, never the process.
In a fleet a failure is a value (`gitwatchd.model.repository.Failed`) in one report, not an exception.
"""

from __future__ import annotations


class GitwatchError(Exception):
    """`message` is one line: what and why. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UserError(GitwatchError):
    pass


class EnvironmentFailure(GitwatchError):
    pass


class GitMissing(EnvironmentFailure):
    pass


class GitTimedOut(EnvironmentFailure):
    pass


class DaemonUnavailable(EnvironmentFailure):
    pass


class NotARepository(EnvironmentFailure):
    pass


class PeerError(GitwatchError):
    pass
