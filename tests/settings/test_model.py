"""No key of `config.toml` is a promise without a keeper."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gitwatchd.settings.parser import keys

TOP = Path(__file__).parents[2]
READERS = [*(TOP / "gitwatchd").rglob("*.py"), TOP / "client/gitwatch/exchanging.py"]


def mentioned(source: Path) -> set[str]:
    """What code takes from something (`settings.limits.jobs`), and whole texts other than docstrings."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(f'"{node.value}"')
    return found


@pytest.fixture(scope="module")
def read() -> set[str]:
    return {word for source in READERS if source.parent.name != "settings" for word in mentioned(source)}


@pytest.mark.parametrize("key", keys())
def test_every_key_has_a_reader(key: str, read: set[str]) -> None:
    section, _, name = key.partition(".")
    if section == "colours":
        # Taken together by `palette`; each is the role of some cell.
        assert any(word.endswith("settings.colours") for word in read) and f'"{name}"' in read
    elif section == "groups" or not name:
        assert any(word.endswith(f"settings.{section}") for word in read)
    else:
        assert f'"{key}"' in read or any(f".{word}".endswith(f".{key}") for word in read)


@pytest.mark.parametrize("key", ["limits.nonsense", "nonsense", "colours.nonsense"])
def test_one_that_nothing_reads_would_be_found(key: str, read: set[str]) -> None:
    with pytest.raises(AssertionError):
        test_every_key_has_a_reader(key, read)
