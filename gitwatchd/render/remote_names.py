"""What a remote's URL looks like to people (`owner/repo`, `gl:owner/repo`, never with a password), and where a browser
finds it.

Owns nothing; pure. Runs: serving thread, and the client where an expression or an order asks for it: so it imports
nothing before it has to.
"""

from __future__ import annotations

_HOSTS = {
    "github.com": "", "gitlab.com": "gl:", "bitbucket.org": "bb:", "codeberg.org": "cb:", "gitea.com": "gitea:",
    "git.mozilla.org": "moz:", "git.sr.ht": "sr.ht:", "pagure.io": "pg:", "git.kernel.org": "kernel:",
    "git.apache.org": "apache:", "git.savannah.gnu.org": "gnu:",
}  # fmt: skip
"""The words that gitoverit's users know. A host that is not among them stands in front of its path."""
_SSH = ("ssh", "git+ssh", "ssh+git")
_BROWSABLE = ("http", "https", "git", *_SSH)
_USERINFO = r"""://(?:
    [^/\s]*@                                      # up to the last @ of the authority
    | [^/\s@:\[]+:(?!\d{0,5}(?:[/\s'"]|$))\S*@    # a password with a slash: after : comes no port
)"""
_PLAIN_IN_URL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/%+:@!$&'()*,;=")


def parse_remote(url: str) -> tuple[str, str, str]:
    """(scheme, host, path): `git@host:path` has the scheme `ssh`; a path of this machine has neither scheme nor host.

    The host is without user, with its port; the path without slashes around it and without `.git`.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme.replace("+", "").isalnum():
        host, _, path = rest.partition("/")
        host = host.rpartition("@")[2]
    elif ":" in url and "/" not in url.partition(":")[0]:
        # git's rule: a colon before the first slash makes it a host.
        scheme = "ssh"
        host, _, path = url.partition(":")
        host = host.rpartition("@")[2]
    else:
        return "", "", url
    return scheme.lower(), host.lower(), path.strip("/").removesuffix(".git")


def short_remote(url: str) -> str:
    """`owner/repo` on a host that everybody knows, with `ssh+` before it where that is how it is reached."""
    scheme, host, path = parse_remote(url)
    if not host:
        return path if scheme == "" else "/" + path
    prefix = _HOSTS.get(_without_port(host), host + "/")
    return ("ssh+" if scheme in _SSH else "") + (prefix + path if path else prefix.rstrip("/:") or host)


def browse_url(url: str) -> str | None:
    """Where a browser would find it; None when nowhere. Holds nothing but printable ASCII."""
    scheme, host, path = parse_remote(url)
    if scheme not in _BROWSABLE or not host or not path:
        return None
    if scheme not in ("http", "https"):
        scheme, host = "https", _without_port(host)
    address = f"{scheme}://{host}/{path}"
    quoted = (c if c in _PLAIN_IN_URL else "".join(f"%{b:02X}" for b in c.encode(errors="replace")) for c in address)
    return "".join(quoted)


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdecimal() and name else host


def scrub(text: str) -> str:
    """`text` with the userinfo of every URL in it removed."""
    if "://" not in text or "@" not in text:
        return text
    import re

    return re.sub(_USERINFO, "://", text, flags=re.VERBOSE)
