"""Globs that name directories and repositories in `config.toml`.

Owns nothing; pure. Runs: anywhere.

A glob with a slash is matched against the whole path (`~` was expanded by the parser), one without against a name. `*`,
`?` and `[...]` do not match a slash, `**` does. A glob that matches a directory covers everything beneath it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gitwatchd.git.wildmatch import wildmatch


def matches_directory(globs: Iterable[bytes], path: bytes) -> bool:
    """Whether any of `globs` matches this directory itself (absolute, no trailing slash)."""
    name = path.rpartition(b"/")[2]
    return any(wildmatch(glob, path if b"/" in glob else name) for glob in globs)


def covers(globs: Iterable[bytes], path: bytes, below: bytes = b"") -> bool:
    """Whether any of `globs` matches `path` or a directory above it that lies below `below` (itself excluded)."""
    globs = tuple(globs)
    while globs and path.strip(b"/") and path != below:
        if matches_directory(globs, path):
            return True
        path = path.rpartition(b"/")[0]
    return False


def names_repository(globs: Iterable[bytes], path: bytes) -> bool:
    """Whether the repository at `path` belongs to a group of these globs.

    A glob without a slash is matched against the repository's own name only: `api-*` is not everything that somebody
    keeps below a directory of that name.
    """
    globs = tuple(globs)
    name = path.rpartition(b"/")[2]
    return any(wildmatch(glob, name) for glob in globs if b"/" not in glob) or covers(
        (glob for glob in globs if b"/" in glob), path
    )
