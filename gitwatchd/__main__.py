"""`gitwatchd` and `python -m gitwatchd`."""

from __future__ import annotations

import sys

from gitwatchd.daemon.main import run


def main() -> None:
    sys.exit(run())


if __name__ == "__main__":
    main()
