"""The answer of `gitwatch config`: what is in force, as one would write it in `config.toml`, and where it comes from.

Owns nothing; pure. Runs: serving thread.

    file, exists
    values {key: {value, origin ("default", or FILE:LINE)}}, in the order in which they are shown
    problems [{where, what, hint}]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gitwatchd.render.table import Palette
from gitwatchd.render.text import shown, width_of

_WIDEST = 48
"""A value longer than this pushes its own origin to the right, not everybody's."""


def render_config(effective: Mapping[str, Any], *, colour: Palette) -> str:
    """TOML that would have the same effect; ends with a newline."""
    lines = [f"# {shown(effective['file'])}" + ("" if effective["exists"] else " (there is no such file)")]
    pairs = [(_assignment(name, value["value"]), value["origin"]) for name, value in effective["values"].items()]
    column = min(max(width_of(pair) for pair, _ in pairs), _WIDEST)
    faint, end = (f"\x1b[{colour['faint']}m", "\x1b[0m") if colour.get("faint") else ("", "")
    lines += [f"{pair}{' ' * (column - width_of(pair))}  {faint}# {shown(origin)}{end}" for pair, origin in pairs]
    for problem in effective["problems"]:
        lines += ["", f"# problem: {shown(problem['where'])}: {shown(problem['what'])}"]
        if problem["hint"]:
            lines.append(f"#   {shown(problem['hint'])}")
    if effective["problems"]:
        lines.append("# Until this is put right, what the file said before is in force.")
    return "".join(f"{line}\n" for line in lines)


def _assignment(name: str, value: object) -> str:
    # A number that has no default of its own cannot be written down: it depends on the machine.
    return f"# {name} is not set" if value is None else f"{name} = {shown(json.dumps(value, ensure_ascii=False))}"
