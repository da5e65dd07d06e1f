from __future__ import annotations

import pytest

from gitwatchd.settings.globs import covers, names_repository


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        (b"/home/u/code", b"/home/u/code", True),
        (b"/home/u/code", b"/home/u/code/a/b", True),
        (b"/home/u/code", b"/home/u/coder", False),
        (b"/home/*/code", b"/home/u/code/x", True),
        (b"/home/*", b"/home/u/deep/down", True),
        (b"/home/*/code", b"/home/u/v/code", False),
        (b"/home/**/code", b"/home/u/v/code/x", True),
        (b"vendor", b"/home/u/vendor/x", True),
        (b"vendor", b"/home/u/vendored", False),
        (b"*.tmp", b"/home/u/a.tmp", True),
        (b"/", b"/home", False),
    ],
)
def test_a_glob_covers_what_it_matches_and_what_lies_beneath(glob: bytes, path: bytes, expected: bool) -> None:
    assert covers([glob], path) is expected


def test_only_directories_below_the_one_asked_for_count() -> None:
    assert covers([b"tmp"], b"/tmp/x")
    assert not covers([b"tmp"], b"/tmp/x", below=b"/tmp")
    assert covers([b"x"], b"/tmp/x", below=b"/tmp")
    assert not covers([b"/tmp/x"], b"/tmp/x/repo", below=b"/tmp/x")
    assert covers([b"repo"], b"/repo", below=b"/")


def test_a_group_takes_a_bare_glob_for_a_repositorys_own_name() -> None:
    assert names_repository([b"api-*"], b"/w/api-users")
    assert not names_repository([b"api-*"], b"/w/api-users/vendor/lib")
    assert names_repository([b"lib", b"/w/api-*"], b"/w/api-users/vendor/tool")
    assert not names_repository([b"/w/api-*"], b"/w/web")
    assert not names_repository([], b"/w/web")
