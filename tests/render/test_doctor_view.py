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
    "problems": [{"what": "out of watches\x1b", "hint": "sudo sysctl fs.inotify.max_user_watches=1000000"}],
    "errors": [{"at": 1060.0, "path": "/r", "text": "it broke"}],
}


def test_everything_is_told() -> None:
    assert render_doctor(FACTS, colour={}, now=1120.0).splitlines() == [
        "gitwatchd",
        "  version      0.1.0",
        "  git version  2.39.5",
        "  pid          12",
        "  started      2m ago",
        "  socket       /run/\\xff.sock",
        "",
        "limits of the machine",
        "  max user watches    8192",
        "  max user instances  -",
        "",
        "repositories",
        "  total                  3",
        "  last answers           fresh 2, failed 1",
        "  how they are followed  -",
        "",
        "answers",
        "  from memory         7",
        "  by git, everything  1",
        "",
        "audits: answers that were compared with git's, while nothing else was to do",
        "  compared  5",
        "  wrong     2",
        "",
        "why git was asked",
        "  a filter  3",
        "",
        "new_part",
        "  x  1",
        "",
        "last warnings of the log",
        "  1m ago  /r: it broke",
        "",
        "problem: 2 audited answers were wrong. They were put right; that they were is a bug: please report it",
        "  The log says how to reproduce it: gitwatch daemon logs",
        "",
        "problem: out of watches\\x1b",
        "  sudo sysctl fs.inotify.max_user_watches=1000000",
        "  and for good: echo fs.inotify.max_user_watches=1000000 | sudo tee /etc/sysctl.d/60-inotify.conf",
        "",
        "2 problems. Below each stands what it means, or what helps.",
    ]


def test_what_concerns_many_repositories_alike_is_told_once() -> None:
    cure = "sudo sysctl fs.inotify.max_user_watches=9"
    problems = [
        {"what": "", "hint": cure, "path": f"/r{n}", "how": "polled", "reason": "no watches\x1b left"} for n in range(5)
    ]
    problems.append({"what": "discovery has none", "hint": cure})
    lines = render_doctor({"problems": problems}, colour={}, now=0.0).splitlines()
    assert lines[2:] == [
        "problem: discovery has none",
        f"  {cure}",
        "  and for good: echo fs.inotify.max_user_watches=9 | sudo tee /etc/sysctl.d/60-inotify.conf",
        "",
        "problem: 5 repositories are polled: no watches\\x1b left: /r0, /r1, /r2 and 2 more",
        "  Answers are right, but each takes as long as git does.",
        "  The command above helps here, too.",
        "",
        "2 problems. Below each stands what it means, or what helps.",
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
    assert render_doctor({}, colour={}, now=0.0) == "gitwatchd\n\nNothing is wrong.\n"
