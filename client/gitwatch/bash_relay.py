"""What `gitwatch init bash` runs beside the shell, because bash has no sockets: records in, the daemon's answers out.

Owns nothing. Runs: one process a shell, until that shell is gone. `python -m gitwatch.bash_relay PID [ascii]`.
A record is `id 0x1f directory`; the answer `id`, then the daemon's fields, or `none` where there is no repository.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from gitwatch.relay import FIELD, Relay
from gitwatchd.errors import GitwatchError
from gitwatchd.wire.address import places


def main() -> int:
    shell, options = int(sys.argv[1]), {"format": "bash", "ascii": sys.argv[2:] == ["ascii"]}
    # Keys pressed in the shell's terminal are not for us.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)

    def lives() -> bool:
        try:
            os.kill(shell, 0)
        except OSError:
            return False
        return True

    def on_record(record: bytes) -> None:
        request, _, path = record.partition(FIELD)

        def on_result(result: Any) -> None:
            relay.write(request + FIELD + (result if isinstance(result, bytes) else b"none"))

        relay.ask_prompt(path, options, on_result)

    try:
        relay = Relay(places(os.environ, os.getuid()), on_record, lives)
        relay.run()
    except GitwatchError as error:
        print(f"gitwatch: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
