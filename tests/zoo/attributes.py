"""Builders: odd names, and attributes and filters that change what "equal content" means."""

from __future__ import annotations

import os

from tests.zoo.commands import Git
from tests.zoo.nursery import Catalogue, Nursery, append, configure, write

ATTRIBUTES = Catalogue()

ODD_NAMES = (
    b"new\nline",
    b"tab\tname",
    b'quote"double',
    b"quote'single",
    b"back\\slash",
    b"per%cent",
    b"$(touch pwned)",
    b"`id`",
    b"-leading-dash",
    b" leading space",
    b"trailing space ",
    b"caf\xc3\xa9-nfc",
    b"cafe\xcc\x81-nfd",
    b"latin1-\xe9",
    b"\xff\xfe",
    b"\x01control\x1b[31m",
    b"*",
    b"[a]",
    b"a -> b",
    b"#hash",
    b"!bang",
    b"~tilde",
    b"semi;colon",
    b"\xf0\x9f\x90\x98",
    b"x" * 255,
)


@ATTRIBUTES.add
def odd_names(zoo: Nursery, name: str) -> Git:
    """Each odd name tracked and modified, staged under `added-`, and untracked in an odd directory."""
    git = zoo.base(name)
    top = os.fsencode(git.path)
    for odd in ODD_NAMES:
        write(top + b"/" + odd, b"1\n")
        write(top + b"/in-" + odd[:200] + b"/" + odd, b"1\n")
    git("add", "-A")
    git("commit", "-qm", "odd")
    for odd in ODD_NAMES:
        write(top + b"/" + odd, b"22\n")
        write(top + b"/added-" + odd[:200], b"%d\n" % ODD_NAMES.index(odd))
    git("add", b"added-*")
    for odd in ODD_NAMES:
        write(top + b"/untracked-" + odd[:200] + b"/file", b"")
    return git


@ATTRIBUTES.add
def odd_renames(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("mv", "data/a.txt", b'data/\xe9 \n\t"a')
    git("mv", "--", "data/b.txt", b"-b")
    return git


@ATTRIBUTES.add
def sorting(zoo: Nursery, name: str) -> Git:
    """Names whose order differs between bytes, tree entries (`a/` after `a-b`) and case-folding."""
    git = zoo.base(name)
    for path in ("a-b", "a/file", "a.c", "a0", "A", "B/x", "b", "a_/x"):
        write(git.path / "tracked" / path, b"1\n")
    git("add", "-A")
    git("commit", "-qm", "sorted")
    for path in ("a-b", "a/file", "a.c", "a0", "A", "B/x", "b", "a_/x"):
        append(git.path / "tracked" / path, b"2\n")
        write(git.path / "untracked" / path, b"")
        write(git.path / f"tracked/{path}~", b"")
        write(git.path / f"top-{path}", b"")
    return git


@ATTRIBUTES.add
def directory_named_oddly(zoo: Nursery, name: str) -> Git:
    """The worktree's own path is neither UTF-8 nor tame."""
    git = zoo.base(b"odd \xe9 %s $(x) 'dir'\n")
    append(git.path / "README.md", b"more\n")
    return git


@ATTRIBUTES.add
def line_endings(zoo: Nursery, name: str) -> Git:
    """eol=crlf: CRLF in the worktree, LF in the index; LF there, a size apart, counts as modified."""
    git = zoo.base(name)
    write(git.path / ".gitattributes", b"*.txt text eol=crlf\n*.bin -text\n")
    write(git.path / "win.txt", b"one\r\ntwo\r\n")
    write(git.path / "changed.txt", b"one\r\n")
    write(git.path / "raw.bin", b"one\r\n")
    git("add", "-A")
    git("commit", "-qm", "attributes")
    write(git.path / "win.txt", b"one\ntwo\n")
    write(git.path / "changed.txt", b"one\r\ntwo\r\n")
    write(git.path / "raw.bin", b"one\n")
    return git


@ATTRIBUTES.add
def automatic_line_endings(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    configure(git, "[core]\n\tautocrlf = true\n")
    write(git.path / "docs/guide.txt", b"one\r\ntwo\r\nthree\r\n")
    write(git.path / "data/a.txt", b"other\r\n")
    return git


@ATTRIBUTES.add
def line_endings_not_normalised(zoo: Nursery, name: str) -> Git:
    """CRLF was committed before the attributes came: status changes as soon as the stat data do."""
    git = zoo.base(name)
    write(git.path / "old.txt", b"one\r\n")
    git("add", "-A")
    git("commit", "-qm", "crlf inside")
    write(git.path / ".gitattributes", b"* text=auto\n")
    git("add", "-A")
    git("commit", "-qm", "attributes")
    os.utime(git.path / "old.txt", ns=(10**18, 10**18))
    return git


@ATTRIBUTES.add
def identification(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / ".gitattributes", b"*.c ident\n")
    write(git.path / "id.c", b"/* $Id$ */\n")
    git("add", "-A")
    git("commit", "-qm", "ident")
    write(git.path / "id.c", b"/* $Id: 0000 $ */\n")
    return git


@ATTRIBUTES.add
def global_filter(zoo: Nursery, name: str) -> Git:
    """The clean filter of the user's own configuration makes another content equal."""
    git = zoo.base(name)
    write(git.path / ".gitattributes", b"*.sec filter=zoo\n")
    write(git.path / "a.sec", b"public\n")
    write(git.path / "b.sec", b"public\n")
    git("add", "-A")
    git("commit", "-qm", "filter")
    write(git.path / "a.sec", b"secret\n")
    write(git.path / "b.sec", b"other\n")
    return git


@ATTRIBUTES.add
def own_filter(zoo: Nursery, name: str) -> Git:
    """As an unpacked archive may have it: the program runs on every `git status`."""
    git = global_filter(zoo, name)
    configure(git, f'[filter "zoo"]\n\tclean = touch {zoo.directory}/_pwned; cat\n')
    return git


@ATTRIBUTES.add
def worktree_encoding(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / ".gitattributes", b"*.u16 text working-tree-encoding=UTF-16LE\n")
    write(git.path / "a.u16", "text\n".encode("utf-16-le"))
    git("add", "-A")
    git("commit", "-qm", "encoding")
    os.utime(git.path / "a.u16", ns=(10**18, 10**18))
    return git


@ATTRIBUTES.add
def info_attributes(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / ".git/info/attributes", b"*.txt text eol=crlf\n")
    write(git.path / "docs/guide.txt", b"one\r\ntwo\r\nthree\r\n")
    return git


@ATTRIBUTES.add
def stat_checked_minimally(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    configure(git, "[core]\n\tcheckStat = minimal\n\ttrustctime = false\n")
    append(git.path / "README.md", b"more\n")
    return git


@ATTRIBUTES.add
def case_ignored(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    configure(git, "[core]\n\tignoreCase = true\n")
    write(git.path / "readme.MD", b"another\n")
    write(git.path / "X.O", b"")
    return git


@ATTRIBUTES.add
def links_as_files(zoo: Nursery, name: str) -> Git:
    """core.symlinks=false: a plain file with the target's name counts as the link."""
    git = zoo.base(name)
    configure(git, "[core]\n\tsymlinks = false\n")
    (git.path / "link").unlink()
    write(git.path / "link", b"README.md")
    return git
