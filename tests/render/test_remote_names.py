from __future__ import annotations

import pytest

from gitwatchd.render.remote_names import browse_url, short_remote


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
