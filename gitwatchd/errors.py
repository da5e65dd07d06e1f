"""Four kinds of failure, told apart by type.

    GitwatchError
    ├── UserError               a bad argument: exit 2, one line and a hint
    ├── EnvironmentFailure      the world's fault, expected: exit 1 (or 4)
    │   ├── GitMissing          no git to run
    │   ├── GitTimedOut         a git child passed its deadline and was ended
    │   ├── NotARepository      that place holds no repository
    │   ├── IndexDamaged        an index file is not one, or breaks off (git.index_format)
    │   ├── ConfigDamaged       a configuration file that git would refuse (git.config_file)
    │   │   └── BadValue        … or one value in it (git.config_file)
    │   ├── ObjectsUnreadable   commits or trees cannot be read here; git itself may (git.objects)
    │   └── DaemonUnavailable   nothing listens and nothing could be started: exit 4
    │       └── DaemonSilent    something listens and does not answer in time (wire.blocking)
    ├── PeerError               the other end of a connection broke the protocol: reply if possible, close it; exit 4
    │   └── MalformedFrame      its stream cannot be read on (wire.rpc)
    ├── RemoteError             the daemon's own refusal, as the client raises it: exit by its code (wire.rpc)
    └── Inexact                 no failure: only git itself can give this answer (incremental.terms)

Everything else that is raised is a bug: it ends that request or job, is logged with its traceback, never the process.
In a fleet a failure is a value (`gitwatchd.model.repository.Failed`) in one report, not an exception.
"""

from __future__ import annotations

import errno


class GitwatchError(Exception):
    """`message` is one line: what and why. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


def is_exhaustion(error: OSError) -> bool:
    """No descriptor is left, of this process or of the system: it says nothing of the path."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def reason_of(error: OSError) -> str:
    """What the system says of it, as a reason in a report or message: lower case, without the path."""
    return (error.strerror or str(error)).lower()


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
