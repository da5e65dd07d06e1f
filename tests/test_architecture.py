"""ARCHITECTURE.md's code map: every module is in it, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
MAP = (TOP / "ARCHITECTURE.md").read_text().partition("\n## Code map\n")[2].partition("\n## ")[0]
FILES = re.compile(r"`([\w-]+\.(?:py|zsh|bash|fish))`")
SECTIONS = {
    title.removesuffix("/"): set(FILES.findall(text))
    for title, text in re.findall(r"^\*\*`([\w/]+/)`\*\*(.*?)(?=^\*\*`|\Z)", MAP, re.DOTALL | re.MULTILINE)
}
PACKAGES = {package.name: package for package in (TOP / "gitwatchd").iterdir() if (package / "__init__.py").exists()}
PACKAGES["client/gitwatch"] = TOP / "client" / "gitwatch"


def modules(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if FILES.fullmatch(f"`{path.name}`")} - {"__init__.py"}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_map_of_a_package_is_its_modules(name: str) -> None:
    assert modules(PACKAGES[name]) == SECTIONS[name]


def test_modules_beside_the_packages_are_in_the_map() -> None:
    assert modules(TOP / "gitwatchd") - {"__main__.py"} <= set(re.findall(r"\*\*`(\w+\.py)`\*\*", MAP))
