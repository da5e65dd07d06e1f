from __future__ import annotations

from gitwatchd.render.doctor_view import doctor_failed, render_doctor

FACTS = {
    "version": "0.1.0",
    "git_version": "2.39.5",
    "pid": 12,
    "started_at": 1000.0,
    "socket": b"/run/\xff.sock",
    "limits": {"max_user_watches": 8192, "max_user_instances": None},
    "repositories": {"total": 3, "by_state": {"fresh": 2, "failed": 1}, "by_watch": {}},
    "answers": {"L0": 7, "L3": 1},
    "audits": {"done": 5, "wrong": 2},
    "git_asked_because": {"a filter": 3},
    "new_part": {"x": 1},
    "problems": [{"what": "out of watches\x1b", "hint": "sysctl fs.inotify.max_user_watches=1000000"}],
    "errors": [{"at": 1060.0, "path": "/r", "text": "it broke"}],
}


def test_everything_is_told() -> None:
    assert render_doctor(FACTS, colour={}, now=1120.0).splitlines() == [
        "gitwatchd",
        "  version      0.1.0",
        "  git version  2.39.5",
        "  pid          12",
        "  started at   2m ago",
        "  socket       /run/\\xff.sock",
        "",
        "limits of the machine",
        "  max user watches    8192",
        "  max user instances  -",
        "",
        "repositories",
        "  total     3",
        "  by state  fresh 2, failed 1",
        "  by watch  -",
        "",
        "answers",
        "  L0 from memory      7",
        "  L3 git, everything  1",
        "",
        "audits",
        "  done   5",
        "  wrong  2",
        "",
        "why git was asked",
        "  a filter  3",
        "",
        "new_part",
        "  x  1",
        "",
        "2 audited answers were wrong: this is a bug; the log says how to reproduce it",
        "",
        "problem: out of watches\\x1b",
        "  sysctl fs.inotify.max_user_watches=1000000",
        "",
        "last errors",
        "  1m ago  /r: it broke",
    ]


def test_wrong_answers_and_failed_repositories_fail_but_problems_do_not() -> None:
    assert doctor_failed(FACTS) == 2  # one repository, and the audits
    assert doctor_failed({"problems": FACTS["problems"]}) == 0
    assert doctor_failed({"repositories": {"by_state": {"fresh": 3, "failed": 2}, "by_watch": {"polled": 5}}}) == 2
    assert doctor_failed({"audits": {"wrong": 0}}) == 0
    assert doctor_failed({}) == 0


def test_titles_have_their_colour() -> None:
    text = render_doctor(FACTS, colour={"title": "1"}, now=1120.0)
    assert "\x1b[1mgitwatchd\x1b[0m\n" in text
    assert render_doctor({}, colour={}, now=0.0) == "gitwatchd\n"
