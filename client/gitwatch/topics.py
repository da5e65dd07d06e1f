"""`gitwatch help TOPIC`: what belongs to no single command. Imported only when it is asked for."""

from __future__ import annotations

from gitwatch.help_where import STATUS

TOPICS = {
    "where": STATUS,
    "exit-codes": """\
0     fine
1     some repository failed, a PATH does not exist, or git refused; with --strict also `unsafe`, `stale`, `pending`
      and `gone`. verify: an answer differs from git's. doctor: a repository failed, or an audited
      answer was wrong. config: it has mistakes. service status: not installed
2     wrong usage
3     refused: --porcelain=v2 of an `unsafe` repository
4     no daemon answers and none could be started; daemon status: none runs; events, watch: the daemon ended
130   interrupted; events in a pipe whose reader went end by SIGPIPE, as other programs do
""",
    "report": """\
The fields of a report, in JSON and on the wire. What is not known is null.

path name git_dir common_dir bare        which repository
state                                    fresh: as true as git's own answer. stale: an earlier one, not confirmed.
                                         pending: not analysed yet. failed, unsafe, gone
reason hint                              why it is not fresh or not watched, and what to do
watch                                    watched: the kernel reports changes. polled: scanned when asked
as_of age_ms                             when it was last looked at (epoch seconds), and how long ago that is
oid branch detached unborn summary tag   HEAD
upstream push                            {name, remote, url, ahead, behind, gone}
counts dirty                             entries of porcelain v2: staged, unstaged, untracked, conflicted and their
                                         kinds; whether any of these four is above 0
stashes action                           their number; {name, step, total} of a merge, rebase, bisect ... in progress
index_size skip_worktree assume_unchanged submodules worktrees    counts
mtime fetched_at ident                   newest file, last fetch (epoch seconds), the author of a commit made now
lines                                    only on request: {added, removed}
hides                                    what the configuration keeps out of a prompt

A name that is not UTF-8 has U+FFFD in its field, and its bytes in base64 in FIELD_b64.
""",
    "protocol": """\
MessagePack-RPC on a Unix stream socket (`gitwatch daemon status` names it): request [0, id, method, params], response
[1, id, error, result], notification [2, method, params]. `params` is a list, named options are one map as its last
element, paths are absolute. An error is [code, text]; a second line of the text says what to do. The protocol only
grows: ignore what you do not know. README.md has the table of methods, and examples.
""",
}
