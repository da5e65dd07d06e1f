"""Tell systemd how the service is: sd_notify(3), without its library.

Owns: nothing that lasts; a datagram socket for each message. Runs: serving thread.
Invariant: without NOTIFY_SOCKET, or with one that cannot be reached, every call does nothing: the daemon's
work never depends on who watches it.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from contextlib import suppress


class ServiceNotifier:
    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes NOTIFY_SOCKET out of `environ`: a child that inherits it would speak for the daemon."""
        address = environ.pop("NOTIFY_SOCKET", "")
        # "@name" is the abstract name space; anything else that is no path (vsock:) is not for user services.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._enabled = address.startswith(("@", "/"))

    def ready(self) -> None:
        """The socket listens. Under Type=notify the start is complete only now."""
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl --user status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def _send(self, message: str) -> None:
        if not self._enabled:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # a full queue at the other end must not hold the serving thread
            sock.sendto(message.encode("utf-8", "replace"), self._address)
