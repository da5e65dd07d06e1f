"""Objects that a remote has promised are missing, and nobody goes to fetch them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.zoo.commands import Git
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, configure


class Server:
    """Hangs up on whoever calls, and counts them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.calls = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._socket.accept()[0].close()
                self.calls += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # or `accept` would wait on
        self._socket.close()
        self._thread.join()


@pytest.fixture
def remote() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.mark.parametrize("sealed", [True, False])
def test_what_a_remote_promised_is_not_fetched(
    client: Client, repository: Callable[..., Git], remote: Server, sealed: bool
) -> None:
    """`sealed` False: a driver that the user trusts has git run without what the kernel forbids it otherwise."""
    text = b"".join(b"line %d\n" % n for n in range(50))
    git = repository({"old": text, "f.txt": b"1\n", ".gitattributes": b"*.txt filter=own\n"})
    blob = git("rev-parse", "HEAD:old").decode().strip()
    # A rename whose similarity can only be told by the content of the old file.
    git("mv", "old", "new")
    append(git.path / "new", b"one more\n")
    git("add", "new")
    configure(
        git,
        f'[remote "origin"]\n\turl = git://127.0.0.1:{remote.port}/x\n\tpromisor = true\n'
        "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tpartialClone = origin\n",
    )
    (git.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    if not sealed:
        configure(git, '[filter "own"]\n\tclean = cat\n')
        (git.path / "f.txt").write_bytes(b"2\n")
        client.reports(git.path)
        client.call("trust", str(git.path))
    for verify in (False, True):
        append(git.path / "new", b"and more\n")
        (report,) = client.reports(git.path, verify=verify)
        assert report["state"] == "fresh" or (report["state"] == "failed" and report["reason"])
        client.call("unsaved", [str(git.path)])
        client.call("branches", [str(git.path)])
    assert remote.calls == 0
    git.ask("status", "--porcelain")
    assert remote.calls, "plain git would have called: the trap is one"
