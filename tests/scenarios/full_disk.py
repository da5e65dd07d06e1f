"""What happens on a full disk, played inside a mount namespace: `python -m tests.scenarios.full_disk STATE REPOSITORY`.

STATE lies on a file system of some hundred kilobytes. Exit 0 when everything went as it should.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import FAILED, RemoteError
from tests.zoo.commands import judge
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until


def fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)


def roots(client: Client) -> set[str]:
    return {root["path"] for root in client.call("roots.list") if root["permanent"]}


def main(state: Path, repository: Path) -> None:
    first, second = str(repository.parent), str(repository)
    filler = state / "filler"
    daemon = Daemon(state)
    try:
        with daemon.connect() as client:
            assert client.entries(repository).stdout == judge(repository)
            client.call("roots.add", first)
            fill(filler)
            for number in range(3):
                (repository / f"new{number}").write_bytes(b"")
                answer = client.entries(repository)
                assert (answer.state, answer.stdout) == ("fresh", judge(repository))
            with pytest.raises(RemoteError, match="cannot keep roots and trust") as refused:
                client.call("roots.add", second)
            assert refused.value.code == FAILED
            assert roots(client) == {first}
            wait_until(
                lambda: any("the cache cannot be written" in p["what"] for p in client.call("doctor")["problems"]),
                what="the doctor tells that the cache cannot be written",
            )
            filler.unlink()
            client.call("roots.add", second)
            assert roots(client) == {first, second}
        daemon.kill()
        daemon = Daemon(state)
        with daemon.connect() as client:
            assert roots(client) == {first, second}
            assert client.entries(repository).stdout == judge(repository)
        daemon.stop()
    finally:
        daemon.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
