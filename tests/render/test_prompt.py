from __future__ import annotations

import pytest

from gitwatchd.errors import UserError
from gitwatchd.model.report import Action, Counts, Facts, State, Tracking
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.render.prompt import (
    BUILT_IN,
    VARIABLES,
    Consumer,
    assignments,
    gitstatus_fields,
    parse_template,
    render_line,
    shell_variables,
)

WORDS = {"red": "31", "bold": "1", "reset": "0"}
HERE = Location(RepoPath(b"/code/app"), b"/code/app/.git", b"/code/app/.git", bare=False)
OID = b"0123456789abcdef0123456789abcdef01234567"
UPSTREAM = Tracking(b"origin/main", b"origin", b"https://host/x", 2, 1, gone=False)
PUSH = Tracking(b"mine/main", b"mine", b"https://host/y", 4, 3, gone=False)
BUSY = Facts(
    oid=OID, branch=b"main", tag=b"v1", upstream=UPSTREAM, push=PUSH, stashes=5, action=Action("rebase-i", 1, 2),
    counts=Counts(staged=6, unstaged=7, untracked=8, conflicted=9), summary=b"what it did", index_size=3,
)  # fmt: skip
CLEAN = Facts(oid=OID, branch=b"main", counts=Counts(), stashes=0)


def line(
    facts: Facts, template: str = BUILT_IN, state: State = State.FRESH, consumer: Consumer = Consumer.TEXT,
    *, ascii_only: bool = False,
) -> str:  # fmt: skip
    parsed = parse_template(template, WORDS)
    return render_line(parsed, HERE, facts, state, consumer=consumer, colours=WORDS, ascii_only=ascii_only)


def test_everything_in_gitstatus_vocabulary() -> None:
    assert line(BUSY) == "main ⇣1⇡2 ⇠3⇢4 *5 rebase-i 1/2 ~9 +6 !7 ?8"
    assert line(BUSY, ascii_only=True) == "main v1^2 <3>4 *5 rebase-i 1/2 ~9 +6 !7 ?8"


def test_clean_is_the_branch_alone() -> None:
    assert line(CLEAN) == "main"


@pytest.mark.parametrize(
    ("facts", "head"),
    [
        (Facts(oid=OID, tag=b"v2", counts=Counts()), "#v2"),
        (Facts(oid=OID, counts=Counts()), "@01234567"),
        (Facts(branch=b"main", unborn=True, counts=Counts()), "main"),
    ],
)
def test_head(facts: Facts, head: str) -> None:
    assert line(facts) == head


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.STALE, "main …"),
        (State.UNSAFE, "main unsafe"),
        (State.PENDING, ""),
        (State.GONE, ""),
        (State.FAILED, "status failed"),
    ],
)
def test_what_is_not_fresh_says_so(state: State, shown: str) -> None:
    assert line(CLEAN, state=state) == shown


def test_a_push_target_that_is_the_upstream_is_not_shown_twice() -> None:
    same = Facts(oid=OID, branch=b"main", upstream=UPSTREAM, push=UPSTREAM, counts=Counts())
    assert line(same) == "main ⇣1⇡2"
    assert dict(zip(VARIABLES, gitstatus_fields(HERE, same), strict=True))["PUSH_REMOTE_NAME"] == ""


def test_groups_vanish_with_their_fields() -> None:
    assert line(CLEAN, "a[ b {staged}]c[ d]e") == "ace"
    assert line(BUSY, "a[ b {staged}[ {tag}[{remote}]]]") == "a b 6 v1origin"


def test_a_backslash_takes_the_meaning_away() -> None:
    assert line(CLEAN, r"\{branch\} \[x\] \\") == r"{branch} [x] \ ".rstrip()


@pytest.mark.parametrize("template", ["{nope}", "{branch", "branch}", "[x", "x]", "{}", "[" * 30 + "]" * 30])
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(UserError):
        parse_template(template, WORDS)


def test_colours_are_written_for_the_consumer() -> None:
    template = "{red}x{reset}"
    assert line(CLEAN, template) == "\x1b[31mx\x1b[0m"
    assert line(CLEAN, template, consumer=Consumer.ZSH) == "%{\x1b[31m%}x%{\x1b[0m%}"
    assert line(CLEAN, template, consumer=Consumer.BASH) == "\x01\x1b[31m\x02x\x01\x1b[0m\x02"
    assert line(CLEAN, template, consumer=Consumer.TMUX) == "#[fg=red]x#[default]"


NASTY = b"$(true>PWNED)`true>PWNED`%F{red}#(touch x)\x1b[31m\x01\x02\n\xff\xe2\x80\xae"


def test_a_name_cannot_steer_a_terminal_or_be_expanded() -> None:
    nasty = Facts(oid=OID, branch=NASTY, counts=Counts())
    shown = r"$(true>PWNED)`true>PWNED`%F{red}#(touch x)\x1b[31m\x01\x02\x0a\xff\u202e"
    assert line(nasty) == shown
    assert line(nasty, consumer=Consumer.ZSH) == shown.replace("%", "%%")
    assert line(nasty, consumer=Consumer.TMUX) == shown.replace("#", "##")


def test_a_rename_is_one_deleted_and_one_new() -> None:
    facts = Facts(
        oid=OID, branch=b"main",
        counts=Counts(
            staged=4, staged_new=1, staged_deleted=1, staged_renamed=1, staged_copied=1, unstaged=2, unstaged_deleted=1,
            unstaged_renamed=1,
        ),
    )  # fmt: skip
    fields = dict(zip(VARIABLES, gitstatus_fields(HERE, facts), strict=True))
    names = "NUM_STAGED", "NUM_STAGED_NEW", "NUM_STAGED_DELETED", "NUM_UNSTAGED", "NUM_UNSTAGED_DELETED"
    assert [fields[name] for name in names] == ["5", "3", "2", "3", "2"]


def test_fields_are_utf8_without_control_characters() -> None:
    facts = Facts(oid=OID, branch=NASTY, counts=Counts(), summary=b"caf\xe9\x1e\x1f", tag="é".encode())
    fields = dict(zip(VARIABLES, gitstatus_fields(HERE, facts), strict=True))
    assert fields["COMMIT_SUMMARY"] == "caf???" and fields["TAG"] == "é"
    assert fields["LOCAL_BRANCH"].isprintable() is False  # U+202E is for who shows it to judge, as in gitstatus
    assert not any(ord(c) < 32 or ord(c) == 127 for value in fields.values() for c in value)


def test_a_branch_name_there_is_without_its_remote() -> None:
    fields = dict(zip(VARIABLES, gitstatus_fields(HERE, BUSY), strict=True))
    assert (fields["REMOTE_BRANCH"], fields["REMOTE_NAME"], fields["COMMITS_AHEAD"]) == ("main", "origin", "2")
    assert (fields["PUSH_REMOTE_NAME"], fields["PUSH_COMMITS_BEHIND"]) == ("mine", "3")


def test_what_was_not_counted_is_unknown() -> None:
    fields = gitstatus_fields(HERE, Facts(branch=b"main", oid=OID))
    variables = dict(shell_variables("ok-sync", "unsafe", fields, counted=False, line=""))
    assert variables["VCS_STATUS_HAS_STAGED"] == variables["VCS_STATUS_HAS_UNTRACKED"] == "-1"


def test_assignments_are_quoted() -> None:
    variables = [("A", r"it's \ `x` $(y)"), ("B", None)]
    assert assignments(variables, fish=False) == "A='it'\\''s \\ `x` $(y)'\nunset B\n"
    assert assignments(variables, fish=True) == "set -g A 'it\\'s \\\\ `x` $(y)'\nset -e B\n"
