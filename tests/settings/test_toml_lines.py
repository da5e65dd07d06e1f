from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitwatchd.settings.toml_lines import Place, find_lines

DOCUMENT = '''\
roots = [  # a comment with ] and "
    "~/a", '~/b # no comment',

    "~/c",
]
"quoted.key" = """
text with ] and "quotes" and \\""" in it
"""
dotted.name = 1979-05-27 07:32:00
inline = {a = 1, b = [2, {c = 3}]}

[ limits ]   # and so on
jobs = 4
literal = \'\'\'
'\'\'\'\'
[groups."my group"]
x = [
  [1, 2],
  [3]]
[[many]]
a = 1
[[many]]
a = 2'''

PLACES: dict[Place, int] = {
    ("roots",): 1, ("roots", 0): 2, ("roots", 1): 2, ("roots", 2): 4, ("quoted.key",): 6, ("dotted",): 9,
    ("dotted", "name"): 9, ("inline",): 10, ("inline", "a"): 10, ("inline", "b"): 10, ("inline", "b", 0): 10,
    ("inline", "b", 1): 10, ("inline", "b", 1, "c"): 10, ("limits",): 12, ("limits", "jobs"): 13,
    ("limits", "literal"): 14, ("groups",): 16, ("groups", "my group"): 16, ("groups", "my group", "x"): 17,
    ("groups", "my group", "x", 0): 18, ("groups", "my group", "x", 0, 0): 18, ("groups", "my group", "x", 0, 1): 18,
    ("groups", "my group", "x", 1): 19, ("groups", "my group", "x", 1, 0): 19, ("many",): 20, ("many", 0): 20,
    ("many", 0, "a"): 21, ("many", 1): 22, ("many", 1, "a"): 23,
}  # fmt: skip


def test_every_key_and_element_has_its_line() -> None:
    tomllib.loads(DOCUMENT)
    assert find_lines(DOCUMENT) == PLACES


def test_an_empty_document_has_none() -> None:
    assert find_lines("") == find_lines("# only a comment") == {}


def written(value: Any) -> str:
    """TOML of a value, spread over lines."""
    if isinstance(value, list):
        return "[\n" + "".join(f" {written(item)}, # ]\n" for item in value) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower()


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab\"\\[]{}#=,. '", max_size=6), lambda inner: st.lists(inner, max_size=3)
)


@given(st.lists(VALUES, max_size=6))
def test_each_key_is_found_on_the_line_where_it_was_written(values: list[Any]) -> None:
    text, expected = "", {}
    for number, value in enumerate(values):
        expected[f"key{number}"] = text.count("\n") + 1
        text += f"key{number} = {written(value)}\n"
    assert tomllib.loads(text) == {f"key{number}": value for number, value in enumerate(values)}
    lines = find_lines(text)
    assert {place[0]: line for place, line in lines.items() if len(place) == 1} == expected
