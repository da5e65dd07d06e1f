"""The words for colours, and what a terminal wants instead of them.

Owns nothing; pure. Runs: serving thread (and the client's process for `--direct`).
"""

from __future__ import annotations

from gitwatchd.settings.model import Colours

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

WORDS = {
    "none": "", "bold": "1", "dim": "2", "italic": "3", "underline": "4", "reverse": "7",
    **{name: str(30 + number) for number, name in enumerate(_NAMES)},
    **{f"bright-{name}": str(90 + number) for number, name in enumerate(_NAMES)},
}  # fmt: skip
"""Word: SGR parameter."""


def palette(colours: Colours) -> dict[str, str]:
    """SGR parameters by role, as the tables take them; a role that is drawn as plain text is left out.

    Words that are none (`WORDS`) were refused by the parser.
    """
    drawn = {role: ";".join(filter(None, map(WORDS.get, getattr(colours, role).split()))) for role in colours.__slots__}
    return {role: parameters for role, parameters in drawn.items() if parameters}
