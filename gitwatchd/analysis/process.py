"""A worker as a process: how it is started.

Owns nothing. Runs: serving thread. Imports next to nothing, so that the start of the daemon can begin with it.
"""

from __future__ import annotations

import socket
import subprocess
import sys


class WorkerProcess:
    """One that runs, and our end of its socket. Raises OSError when it cannot be started."""

    __slots__ = ("process", "sock")

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        try:
            # -P: the current directory is no place to import from. A session of its own: a terminal's Ctrl-C
            # is the daemon's to handle, and by the session what a worker started is found when it is killed.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gitwatchd.analysis.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd="/",
                close_fds=False,
                start_new_session=True,
            )
        except OSError:
            self.sock.close()
            raise
        finally:
            theirs.close()
