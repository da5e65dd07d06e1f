"""`gitwatch help TOPIC`: what belongs to no single command. Imported only when it is asked for."""

from __future__ import annotations

from gitwatch.help_where import STATUS

TOPICS = {
    "where": STATUS,
    "exit-codes": """\
0     fine
1     some repository failed, a PATH does not exist, or git refused; with --strict also `unsafe`, `stale`, `pending`
      and `gone`. And of single commands:
      unsaved          something exists only here, or could not be checked or fetched
      verify           an answer differs from git's
      refresh          some repository failed, or was not finished in time
      doctor           a repository failed, or an audited answer was wrong
      config           it has mistakes
      service status   not installed
2     wrong usage
3     refused: --porcelain=v2 of an `unsafe` repository
4     no daemon answers and none could be started; daemon status: none runs; events, watch: the daemon ended
130   interrupted; events in a pipe whose reader went end by SIGPIPE, as other programs do
""",
    "report": """\
The fields of a report, in JSON and on the wire. What is not known is null.

path name git_dir common_dir bare        which repository
state                                    fresh: as true as git's own answer. stale: an earlier one, not confirmed for
                                         this request. pending: not analysed yet. failed, unsafe, gone
reason hint                              why it is not fresh or not watched, and what to do
watch                                    watched: the kernel reports changes. polled: scanned when asked
as_of age_ms                             when git or the daemon last looked (epoch seconds), and how long ago that is
oid branch detached unborn summary tag   HEAD
upstream push                            {name, remote, url, ahead, behind, gone}; URLs without user name and password
counts                                   entries of porcelain v2: staged, unstaged, untracked, conflicted, and their
                                         kinds: staged_new, staged_modified, staged_deleted, staged_renamed,
                                         staged_copied, staged_typechange, unstaged_modified, unstaged_deleted,
                                         unstaged_renamed, unstaged_typechange; modified: M, A, R, C or T in either
                                         column, deleted: D in either
dirty                                    whether any of the first four is above 0
stashes action                           their number; {name, step, total} of a merge, rebase, bisect ... in progress
index_size skip_worktree assume_unchanged
                                         counts of index entries
submodules worktrees                     counts
mtime                                    newest modification of a file that is not ignored (epoch seconds)
fetched_at                               the last fetch (epoch seconds); null after one that failed
ident                                    the author that a commit made now would have
lines                                    only on request (--lines): {added, removed}, as git diff counts, staged and not
hides                                    what configuration keeps out of a prompt: untracked, bash-untracked, bash-dirty

And after --fetch, --pull-safe, --push-safe: fetch_failed pull_failed push_failed pulled pushed, true or false, and
remote_reason: auth_needed, unreachable, timed_out, or git's words; why nothing was pushed.

A name that is not UTF-8 has U+FFFD in its field, and its bytes in base64 in FIELD_b64.
A repository that is gone is shown once in a list, and forgotten a day later.
""",
    "protocol": """\
MessagePack-RPC on a Unix stream socket (`gitwatch daemon status` names it): request [0, id, method, params], response
[1, id, error, result], notification [2, method, params]. `params` is a list, named options are one map as its last
element, paths are absolute. An error is [code, text]; a second line of the text says what to do. The protocol only
grows: ignore what you do not know.

METHOD [PARAMS]                          RESULT

hello [version, [major, minor]]          {version, protocol, pid, git, git_version, home, xdg_config_home, state_dir,
                                         notes}; notes: what is wrong with the configuration, a line each
status [paths, {wait_s, verify, fields, jobs, include_ignored, groups, lines, progress}]
                                         {repos: [report...], errors: [{path, reason, hint}...]}; no paths: all known
entries [path, {wait_s, verify, z, cwd}] {state, reason, hint, exit, stdout, stderr}: git's own bytes
render ["status", {paths, repositories, width, colour, links, columns, marks, ...}]
       ["doctor", {colour}], ["config", {colour}], ["unsaved", {paths, ...}]
       ["branches", {paths, branches, columns, links, ...}]
                                         {text, notes, failed, strict_failed}. `repositories`: exactly these, in this
                                         order; `columns`: as --columns has them; `marks`:
                                         {path: note}, where `WORD failed: ...` counts as a failure
prompt [directory, {wait_s, wait_ms, format, template, ascii, fields, git_dir}]
                                         the line as bytes (`format` as in gitwatch-prompt; `report`: a report). With
                                         `fields`, separated by 0x1f: state, deadline_ms, the line, 1 if counted, what
                                         is hidden, then gitstatusd's fields from the third on; nil: no repository.
                                         Without `wait_s`: the configured deadline. `git_dir`: the path is one
roots.add [path, {include_ignored}]      {path}
roots.remove [path]                      true
roots.list []                            [{path, permanent, configured, include_ignored, asked_at, repositories}...]
unsaved [paths, {wait_s, groups, progress}]
                                         {repos: [{path, name, unsaved, state, fetched_at, reasons}...], errors}
branches [[path], {wait_s}]              {path, state, reason, hint, fetched_at, branches}
refresh [paths, {wait_s, groups, progress}]
                                         {repositories, failed, unfinished}
verify [paths, {wait_s, groups, progress}]
                                         {checked, not_compared, differences: [{path, expected, answered}...]}
trust [path, {remove}]                   {path}; with remove {path, configured}: config.toml trusts it all the same
subscribe [{paths, groups, settle_s, method, args}]
                                         {subscription}; then notifications method(*args, report), by default
                                         changed(report)
doctor []                                a map
config []                                {file, exists, values, problems}
dump []                                  a map, for reports of bugs
shutdown []                              true

`wait_s`: how long to wait for analyses: 0 gives what is known now, without it the daemon waits up to 600 s. With
`progress`, notifications progress({phase, found, done, total}) come while you wait; `render` with `rows: N` (and a
`width`) adds to them `rows`, the lines of up to N repositories that are answered already. Error codes: 1 failed,
2 usage, 3 refused, -32601 unknown method, -32603 a bug, -32700 malformed.

In Python, with `pip install msgpack`:

    import os, socket, msgpack

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.environ["XDG_RUNTIME_DIR"] + "/gitwatchd/gitwatchd.sock")
        sock.sendall(msgpack.packb([0, 1, "status", [[os.path.expanduser("~/code")], {"wait_s": 5}]]))
        unpacker = msgpack.Unpacker()
        response = None
        while response is None:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("gitwatchd closed the connection")
            unpacker.feed(data)
            response = next(unpacker, None)
    _, _, error, result = response
    for report in result["repos"]:
        print(report["path"], report["branch"], report["state"], report["dirty"])

In Neovim, which speaks this protocol itself:

    local path = vim.env.XDG_RUNTIME_DIR .. "/gitwatchd/gitwatchd.sock"
    local gitwatchd = vim.fn.sockconnect("pipe", path, { rpc = true })
    local answer = vim.rpcrequest(gitwatchd, "status", { vim.fn.getcwd() }, { wait_s = 1 })
    print(answer.repos[1].branch, answer.repos[1].counts.unstaged)

    -- Keep g:gitwatch at the newest report of this directory's repositories.
    local options = { paths = { vim.fn.getcwd() }, method = "nvim_set_var", args = { "gitwatch" } }
    vim.rpcrequest(gitwatchd, "subscribe", options)
""",
}
