from __future__ import annotations

import tomllib

from gitwatchd.render.config_view import render_config

EFFECTIVE = {
    "file": b"/c/\xff.toml",
    "exists": True,
    "values": {
        "roots": {"value": ["~/code", "/\x7f\u202e"], "origin": "/c/config.toml:3"},
        "limits.jobs": {"value": None, "origin": "default"},
        "fetch.timeout_s": {"value": 60.0, "origin": "default"},
        "groups.a": {"value": ["x" * 60], "origin": "/c/config.toml:4"},
    },
    "problems": [{"where": "/c/config.toml:9", "what": "no key\x1b", "hint": "did you mean"}],
}


def test_it_is_toml_with_the_origins_as_comments() -> None:
    text = render_config(EFFECTIVE, colour={})
    assert text.splitlines() == [
        "# /c/\\xff.toml",
        'roots = ["~/code", "/\\x7f\\u202e"]                 # /c/config.toml:3',
        "# limits.jobs is not set                          # default",
        "fetch.timeout_s = 60.0                            # default",
        'groups.a = ["' + "x" * 60 + '"]  # /c/config.toml:4',
        "",
        "# problem: /c/config.toml:9: no key\\x1b",
        "#   did you mean",
        "# Until this is put right, what the file said before is in force.",
    ]
    readable = {**EFFECTIVE, "values": {"fetch.timeout_s": EFFECTIVE["values"]["fetch.timeout_s"]}}  # type: ignore[index]
    assert tomllib.loads(render_config(readable, colour={})) == {"fetch": {"timeout_s": 60.0}}


def test_origins_recede_where_there_is_colour() -> None:
    assert "  \x1b[2m# default\x1b[0m\n" in render_config(EFFECTIVE, colour={"faint": "2"})
