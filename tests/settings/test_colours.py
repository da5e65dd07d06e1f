from __future__ import annotations

import re
from pathlib import Path

from gitwatchd.render import table
from gitwatchd.settings.colours import WORDS, palette
from gitwatchd.settings.model import Colours


def test_words_become_parameters() -> None:
    colours = Colours(clean="none", changed="bold bright-red", tracking="underline cyan")
    looks = palette(colours)
    assert "clean" not in looks
    assert (looks["changed"], looks["tracking"], looks["title"]) == ("1;91", "4;36", "1")


def test_the_defaults_are_words() -> None:
    for role in Colours.__slots__:
        assert set(getattr(Colours(), role).split()) <= WORDS.keys()


def test_every_role_is_one_that_the_tables_draw() -> None:
    drawn = re.findall(r'"([a-z]+)"', "".join(Path(table.__file__).read_text().splitlines(True)))
    assert set(Colours.__slots__) <= set(drawn)
