"""A user and mount namespace of a daemon's own: limits of inotify that may be lowered, mounts without privilege.

The host's sysctls and mounts are never touched. Where there are no user namespaces the tests skip, with the reason.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache

import pytest

from tests.zoo.commands import JUDGE, Answer

_LIMITS = "/proc/sys/user/max_inotify_"


@cache
def _refusal() -> str:
    try:
        done = subprocess.run(
            _enter({"watches": 100}, ("mount -t tmpfs tmpfs /mnt",), ("true",)), capture_output=True, check=False
        )
    except FileNotFoundError:
        return "no unshare"
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""


def require() -> None:
    """Skip the test where there are no user namespaces."""
    if reason := _refusal():
        pytest.skip(f"no user namespace to be had: {reason}")


def entering(limits: Mapping[str, int] | None = None, *commands: str) -> tuple[str, ...]:
    """What a daemon is run by: inside, with these limits (`watches`, `instances`), after these shell commands."""
    return _enter(limits or {}, commands, ())


def _enter(limits: Mapping[str, int], commands: tuple[str, ...], program: tuple[str, ...]) -> tuple[str, ...]:
    steps = [f"echo {number} > {_LIMITS}{name}" for name, number in limits.items()]
    script = " && ".join([*steps, *commands, 'exec "$@"'])
    return ("unshare", "-Ur", "--mount", "sh", "-c", script, "sh", *program)


def joining(pid: int) -> tuple[str, ...]:
    """What a program is run by that is to be in the namespaces of process `pid`."""
    return ("nsenter", "-U", "-m", "--preserve-credentials", "-t", str(pid))


def inside(pid: int, command: str) -> str:
    """Run a shell command in the namespaces of process `pid`; raises when it fails."""
    done = subprocess.run(
        [*joining(pid), "sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def limit(pid: int, name: str, number: int) -> None:
    """Change a limit of those namespaces."""
    inside(pid, f"echo {number} > {_LIMITS}{name}")


def judge_inside(pid: int, path: str) -> Answer:
    done = subprocess.run(
        [*joining(pid), JUDGE[0], "-C", path, *JUDGE[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)
