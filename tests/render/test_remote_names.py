from __future__ import annotations

import time

import pytest

from gitwatchd.render.remote_names import browse_url, scrub, short_remote


@pytest.mark.parametrize(
    ("url", "short", "browse"),
    [
        ("https://github.com/owner/repo.git", "owner/repo", "https://github.com/owner/repo"),
        ("git@github.com:owner/repo.git", "ssh+owner/repo", "https://github.com/owner/repo"),
        ("ssh://git@gitlab.com:2222/g/sub/repo.git", "ssh+gl:g/sub/repo", "https://gitlab.com/g/sub/repo"),
        ("https://bitbucket.org/o/r/", "bb:o/r", "https://bitbucket.org/o/r"),
        ("https://git.sr.ht/~u/r", "sr.ht:~u/r", "https://git.sr.ht/~u/r"),
        (
            "git://git.kernel.org/pub/scm/git/git.git",
            "kernel:pub/scm/git/git",
            "https://git.kernel.org/pub/scm/git/git",
        ),
        ("https://codeberg.org/o/r", "cb:o/r", "https://codeberg.org/o/r"),
        ("http://git.example.org:8080/o/r.git", "git.example.org:8080/o/r", "http://git.example.org:8080/o/r"),
        ("user@example.org:r.git", "ssh+example.org/r", "https://example.org/r"),
        ("/srv/git/r.git", "/srv/git/r.git", None),
        ("../r", "../r", None),
        ("file:///srv/git/r.git", "/srv/git/r", None),
        ("https://example.org", "example.org", None),
        ("ext::sh -c 'x'", "ssh+ext/:sh -c 'x'", "https://ext/:sh%20-c%20'x'"),
        ("https://e.org/\x1b]8;;\x07ü", "e.org/\x1b]8;;\x07ü", "https://e.org/%1B%5D8;;%07%C3%BC"),
        ("", "", None),
    ],
)
def test_names(url: str, short: str, browse: str | None) -> None:
    assert short_remote(url) == short
    assert browse_url(url) == browse


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("https://user:secret@host/p.git", "https://host/p.git"),
        ("fatal: 'https://secret@host/p': 403", "fatal: 'https://host/p': 403"),
        ("ssh://git@host:22/p and http://a:secret@b/ too", "ssh://host:22/p and http://b/ too"),
        ("https://u:sec@ret@host/p", "https://host/p"),
        ("https://u:sec/ret@host/p", "https://host/p"),
        ("https://u:12/secret@host/p", "https://u:12/secret@host/p"),
        ('https://it\'s:"secret"@host', "https://host"),
        ("b'https://u:secret@[::1]:8080/p'", "b'https://[::1]:8080/p'"),
        ("HTTPS://U:SECRET@HOST", "HTTPS://HOST"),
        ("https://host:8080/a@v1", "https://host:8080/a@v1"),
        ("https://[::1]:8080/a@v1", "https://[::1]:8080/a@v1"),
        ("https://host/a@v1 me@example.org", "https://host/a@v1 me@example.org"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("at https://host: then mail me@example.org", "at https://host: then mail me@example.org"),
        ("https://u:secret@h1,https://u:secret@h2", "https://h1,https://h2"),
    ],
)
def test_userinfo_is_removed(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


def test_scrubbing_a_long_line_is_quick() -> None:
    text = "x" * 200_000 + "://" + "a:" * 100_000 + " @"
    before = time.process_time()
    scrub(text)
    assert time.process_time() - before < 1
