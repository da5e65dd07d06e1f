"""A daemon for the client's tests: the real lock, socket and protocol, and answers read from a file.

    python fake_gitwatchd.py [--state-dir] DIR

DIR/answers: packed map of method -> {"result": ...} | {"error": [code, text]} | {"silent": true}, with optional
"notify": [[method, params]...] sent before it. DIR/requests: every request, packed, one after the other.
DIR/environment: packed map of what this process was started with.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgpack

from gitwatchd.daemon.lock import DaemonLock
from gitwatchd.loop import Loop
from gitwatchd.server.listener import Listener, bind_socket
from gitwatchd.server.session import Session
from gitwatchd.wire.address import ANOTHER_RUNS, places
from gitwatchd.wire.rpc import UNKNOWN_METHOD, Request


def raise_bug(bug: BaseException) -> None:
    raise bug


def main() -> int:
    directory = Path(sys.argv[-1])
    where = places(os.environ, os.getuid(), os.fsencode(directory))
    lock = DaemonLock(where.lock)
    if not lock.acquire():
        return ANOTHER_RUNS
    if (directory / "broken").exists():
        sys.stderr.write("Traceback and more\nthe disk is on fire\n")
        return 1
    if (directory / "mute").exists():
        return 7
    answers = {}
    with suppress(FileNotFoundError):
        answers = msgpack.unpackb((directory / "answers").read_bytes())
    started_with = {
        "environment": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0o077), "session": os.getsid(0),
        "pid": os.getpid(),
    }  # fmt: skip
    (directory / "environment").write_bytes(msgpack.packb(started_with))
    record = os.open(directory / "requests", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    loop = Loop(raise_bug)

    def handle(session: Session, request: Request) -> None:
        os.write(record, msgpack.packb([request.method, request.params]))
        answer = answers.get(request.method)
        if answer is None and request.method == "shutdown":
            session.reply(request.id, True)
            session.close_when_sent()
            loop.stop()
            return
        if answer is None:
            session.fail(request.id, UNKNOWN_METHOD, f"no method {request.method}")
            return
        for method, params in answer.get("notify", ()):
            session.notify(method, params)
        if "error" in answer:
            session.fail(request.id, *answer["error"])
        elif "result" in answer:
            result = answer["result"]
            if request.method == "hello":
                result["pid"] = os.getpid()
            session.reply(request.id, result)

    sessions = []

    def connected(connection: socket.socket) -> None:
        sessions.append(Session(loop, connection, handle, lambda _session: None))

    listener = Listener(loop, bind_socket(where.socket, os.getuid()), connected, uid=os.getuid(), adopted=False)
    with open(directory / "served", "a") as served:
        served.write(f"{os.getpid()}\n")
    loop.run()
    listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
