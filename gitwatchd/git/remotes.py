"""Where a branch fetches from and pushes to, by configuration: ref names and URLs, as git resolves them.

Owns nothing, keeps nothing; of the disk it sees no more than whether there is a remote's file of old. The rules are
those of git's remote.c (`branch_get_upstream`, `branch_get_push`, `alias_url`). What is not reproduced says so
(`git_must_resolve`), and then git is asked: versions of it differ there.
Invariant: no URL leaves here with a password or token in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from gitwatchd.git.refs import is_plain_ref
from gitwatchd.git.repository_config import RepositoryConfig

_HEADS = b"refs/heads/"
_OF_OLD = (b"remotes", b"branches")
"""Where remotes were defined before there was configuration for them, a file each; most versions of git still look."""
_SCHEME_USERINFO = re.compile(
    rb"""([a-zA-Z][a-zA-Z0-9+.-]*)://(
        [^/?#\s]*                                     # up to the last @ of the authority
        | [^/?#\s@:\[]+:(?!\d{0,5}(?:[/?#\s]|$))\S*   # a password with a slash: after : comes no port
    )@""",
    re.VERBOSE,
)
_SCP_PASSWORD = re.compile(rb"^([^/@:\s]+):[^/@\s]*@(?=[^/:@\s]+:)")


def without_userinfo(url: bytes) -> bytes:
    """The URL without secrets.

    A login name is kept where it is needed to connect and is no secret: `ssh://git@host/x` and `git@host:x`.
    Elsewhere (`https://token@host`) the name itself may be the token, so all of it goes.
    """

    def replacement(match: re.Match[bytes]) -> bytes:
        scheme, userinfo = match[1], match[2]
        login = userinfo.partition(b":")[0] + b"@" if b"ssh" in scheme.lower().split(b"+") else b""
        return scheme + b"://" + login

    return _SCP_PASSWORD.sub(rb"\1@", _SCHEME_USERINFO.sub(replacement, url))


def fetch_remote(config: RepositoryConfig, branch: bytes) -> bytes | None:
    """Name of the remote (`.`: this repository) that the branch's upstream is on; None without one."""
    return config.get(b"branch." + branch + b".remote")


def push_remote(config: RepositoryConfig, branch: bytes) -> bytes:
    """Name of the remote that `git push` would use. It may be unknown to the configuration, or an URL."""
    named = (
        config.get(b"branch." + branch + b".pushremote")
        or config.get(b"remote.pushdefault")
        or fetch_remote(config, branch)
    )
    if named:
        return named
    remotes = list(config.subsections(b"remote"))
    return remotes[0] if len(remotes) == 1 else b"origin"


def fetch_url(config: RepositoryConfig, remote: bytes) -> bytes | None:
    """As `git remote get-url` prints it, without userinfo; None when there is none."""
    url = next(iter(config.get_all(b"remote." + remote + b".url")), None)
    url = _url_of_unnamed(remote) if url is None else url
    return None if url is None else without_userinfo(_rewritten(config, url, b"insteadof") or url)


def push_url(config: RepositoryConfig, remote: bytes) -> bytes | None:
    """As `git remote get-url --push` prints it, without userinfo; None when there is none."""
    url = next(iter(config.get_all(b"remote." + remote + b".pushurl")), None)
    if url is not None:
        return without_userinfo(_rewritten(config, url, b"insteadof") or url)
    url = next(iter(config.get_all(b"remote." + remote + b".url")), None)
    url = _url_of_unnamed(remote) if url is None else url
    rewritten = None if url is None else _rewritten(config, url, b"pushinsteadof")
    return fetch_url(config, remote) if rewritten is None else without_userinfo(rewritten)


def git_must_resolve(config: RepositoryConfig, branch: bytes) -> bool:
    """Whether `upstream_ref` and `push_ref` may differ from what the installed git says."""
    fetched = fetch_remote(config, branch)
    remotes = {fetched or b"origin", push_remote(config, branch)}
    keys = [b"remote." + remote + kind for remote in remotes for kind in (b".fetch", b".push")]
    if any(value.startswith(b"^") for key in keys for value in config.get_all(key)):
        return True
    if any(_has_file_of_old(config, remote) for remote in remotes):
        return True
    upstream = upstream_ref(config, branch)
    return fetched == b"" or (upstream is not None and not _is_plain(upstream))


def _is_plain(ref: bytes) -> bool:
    """Whether every git takes it for a ref and shortens it in the same way."""
    return is_plain_ref(ref) and not ref.endswith(b"/HEAD")


def directories_of_old(config: RepositoryConfig) -> list[bytes]:
    """Directories in which a file may define a remote that some branch names and the configuration does not define."""
    named = {entry.value for entry in config.entries if entry.key.startswith(b"branch.")
             and entry.key.endswith(b".remote")}  # fmt: skip
    if all(remote is None or config.find(b"remote." + remote + b".url") or not _is_nick(remote) for remote in named):
        return []
    return [config.location.common_dir + b"/" + name for name in _OF_OLD]


def _has_file_of_old(config: RepositoryConfig, remote: bytes) -> bool:
    if config.find(b"remote." + remote + b".url") is not None or not _is_nick(remote):
        return False
    return any(os.path.lexists(b"/".join((config.location.common_dir, name, remote))) for name in _OF_OLD)


def _is_nick(remote: bytes) -> bool:
    """Whether it can be the name of a file of old."""
    return remote not in (b"", b".", b"..") and b"/" not in remote and b"\0" not in remote


def upstream_ref(config: RepositoryConfig, branch: bytes) -> bytes | None:
    """Full name of the ref that the branch's upstream is tracked by here; it may not exist."""
    remote = fetch_remote(config, branch)
    merge = next(iter(config.get_all(b"branch." + branch + b".merge")), None)
    if not remote or merge is None:
        return None
    tracked = _map(_refspecs(config, remote, b"fetch"), merge)
    if tracked is None and remote == b".":
        return merge
    return tracked


def push_ref(config: RepositoryConfig, branch: bytes) -> bytes | None:
    """Full name of the ref here that tracks where `git push` would push to (`@{push}`); it may not exist.

    None where git cannot say: push.default is `nothing`, or `simple` with another name, or nothing tracks it.
    """
    remote = push_remote(config, branch)
    fetched = list(_refspecs(config, remote, b"fetch"))
    here = _HEADS + branch
    pushed = list(_refspecs(config, remote, b"push"))
    if pushed:
        destination = _map(pushed, here)
        return None if destination is None else _map(fetched, destination)
    if config.get_bool(b"remote." + remote + b".mirror", False):
        return _map(fetched, here)
    match config.get(b"push.default") or b"simple":
        case b"matching" | b"current":
            return _map(fetched, here)
        case b"upstream" | b"tracking":
            return upstream_ref(config, branch)
        case b"simple":
            tracked = _map(fetched, here)
            return tracked if tracked is not None and tracked == upstream_ref(config, branch) else None
        case _:
            return None


_Refspec = tuple[bytes, bytes | None]


def _refspecs(config: RepositoryConfig, remote: bytes, kind: bytes) -> Iterator[_Refspec]:
    for value in config.get_all(b"remote." + remote + b"." + kind):
        source, colon, destination = value.removeprefix(b"+").rpartition(b":")
        if not colon:
            yield destination, None
        elif source or destination:
            yield source, destination
        else:
            yield b"", None  # `:`, push what both sides have: it names no destination, but it is a refspec


def _map(refspecs: Iterable[_Refspec], name: bytes) -> bytes | None:
    """Where the first refspec that takes `name` puts it."""
    for source, destination in refspecs:
        if not destination:
            continue
        before, star, after = source.partition(b"*")
        if not star:
            if source == name:
                return destination
        elif name.startswith(before) and name.endswith(after) and len(name) >= len(before) + len(after):
            return destination.replace(b"*", name[len(before) : len(name) - len(after)], 1)
    return None


def _rewritten(config: RepositoryConfig, url: bytes, kind: bytes) -> bytes | None:
    """`url.BASE.insteadOf`: of the prefixes that fit the longest wins, of equal ones the first."""
    best, base = -1, b""
    for candidate in config.subsections(b"url"):
        for prefix in config.get_all(b"url." + candidate + b"." + kind):
            if len(prefix) > best and url.startswith(prefix):
                best, base = len(prefix), candidate
    return None if best < 0 else base + url[best:]


def _url_of_unnamed(remote: bytes) -> bytes | None:
    """git takes a remote that the configuration does not know for an URL or a path."""
    return remote if b"/" in remote or b":" in remote else None
