"""--fetch, --pull-safe, --push-safe: the user's own git, with the user's environment and configuration, started here.

Owns: the git children, the file of hosts that did not answer. Runs: one process a command; threads that wait for git.
The daemon has neither the user's ssh agent nor credential helpers, and hooks of the user's are to run as in the user's
own git: so it is the client that starts git.
Invariant: nothing asks anybody: no terminal (a session of its own), no standard input, no askpass, ssh in batch mode.
Invariant: a git child ends within its deadline, with everything it started; an interrupted command leaves none behind.
Invariant: never a force, never a filter. A pull is a fast-forward of a clean worktree, and replaces no ignored file; a
push is one exact refspec, and goes nowhere that the user's `git push` would not go.
Invariant: a host that did not answer is left alone for a while that doubles, and so is an URL that wanted a password:
500 failing logins look like an attack. Who names one repository alone is obeyed.
Invariant: no password of an URL is shown or written down.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitwatch.words import to_bytes
from gitwatchd.render.remote_names import parse_remote, scrub

Report = dict[str, Any]

FIELDS = ("fetch_failed", "pull_failed", "push_failed", "pulled", "pushed")
_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
_GENTLE_S = 1.0
"""After SIGTERM git removes its locks."""
_OF_ANOTHER_REPOSITORY = frozenset(
    {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_QUARANTINE_PATH", "SSH_ASKPASS", "GIT_ASKPASS",
    }
)  # fmt: skip
_AUTH = (
    "could not read username", "could not read password", "authentication failed", "permission denied (",
    "terminal prompts disabled", "host key verification failed", "invalid username or password", "returned error: 401",
    "returned error: 403",
)  # fmt: skip
_UNREACHABLE = (
    "could not resolve host", "connection refused", "connection timed out", "no route to host", "operation timed out",
    "network is unreachable", "failed to connect", "couldn't connect", "connection reset", "connection closed by",
    "name or service not known", "temporary failure in name resolution", "unable to connect",
)  # fmt: skip


class Trouble(Exception):
    """Why git failed: `kind` is auth_needed, unreachable, timed_out or failed."""

    def __init__(self, kind: str, text: str) -> None:
        text = scrub(text)
        super().__init__(f"{kind}: {text}" if kind != "failed" else text)
        self.kind = kind


def classify(stderr: bytes) -> Trouble:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    said = stderr.decode(errors="replace").lower()
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "!", "remote: error", "ssh:"))] or lines
    text = telling[0] if telling else "git failed and said nothing"
    for kind, words in (("auth_needed", _AUTH), ("unreachable", _UNREACHABLE)):
        found = next((word for word in words if word in said), None)
        if found is not None:
            return Trouble(kind, next((line for line in lines if found in line.lower()), text))
    return Trouble("failed", text)


class Exchange:
    """`limits`: git children at once, seconds for each."""

    def __init__(self, state_dir: bytes, *, jobs: int, timeout_s: float, obey: bool) -> None:
        self._jobs = max(1, jobs)
        self._timeout_s = timeout_s
        self._pauses = _Pauses(state_dir + b"/hosts.json", obey=obey)
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    # ---- what is done

    def fetch(self, reports: Sequence[Report], tell: Callable[[int], None], *, prune: bool = False) -> None:
        """Fetch from every remote of each of these; `fetch_failed` and `remote_reason` say what came of it."""
        self._each(reports, lambda report: self._fetch(report, prune=prune), "fetch_failed", tell)

    def pull(self, reports: Sequence[Report], tell: Callable[[int], None]) -> None:
        """Fast-forward the clean ones that are behind only."""
        self._each([r for r in reports if _is_safe(r, "behind", "ahead")], self._pull, "pull_failed", tell)

    def push(self, reports: Sequence[Report], tell: Callable[[int], None]) -> None:
        """Push the branch of the clean ones that are ahead only."""
        self._each([r for r in reports if _is_safe(r, "ahead", "behind")], self._push, "push_failed", tell)

    def _fetch(self, report: Report, *, prune: bool) -> None:
        place = to_bytes(report["path"])
        troubles = []
        appending: list[str] = []
        for remote, url in self._remotes(place):
            try:
                self._pauses.check(url)
                options = ["--prune"] if prune else []
                self._git(place, "fetch", *options, *appending, "--", remote)
                self._pauses.answered(url)
                appending = ["--append"]  # as `fetch --all` does
            except Trouble as trouble:
                self._pauses.note(url, trouble)
                troubles.append(trouble)
        self._pauses.save()
        if troubles:
            raise troubles[0]

    def _remotes(self, place: bytes) -> list[tuple[bytes, str]]:
        """Name and URL, as `git fetch --all` chooses them."""
        found: dict[bytes, str] = {}
        for key, value in self._config(place, r"^remote\..*\.(url|skipfetchall|skipdefaultupdate)$"):
            name, _, last = key.removeprefix(b"remote.").rpartition(b".")
            if last == b"url":
                found.setdefault(name, scrub(value.decode(errors="replace")))
            elif value.lower() in (b"true", b"yes", b"on", b"1", b""):
                found[name] = ""
        return [(name, url) for name, url in found.items() if url]

    def _config(self, place: bytes, pattern: str) -> list[tuple[bytes, bytes]]:
        # `-z` puts a newline between key and value.
        try:
            listed = self._git(place, "config", "-z", "--get-regexp", pattern)
        except Trouble:
            return []  # exit 1: there is none
        return [(key, value) for key, _, value in (entry.partition(b"\n") for entry in listed.split(b"\0")[:-1])]

    def _pull(self, report: Report) -> None:
        # git would take an ignored file for rubbish that a tracked one may replace.
        options = ("--ff-only", "--no-overwrite-ignore", "--no-autostash", "--no-squash", "--quiet")
        self._git(to_bytes(report["path"]), "merge", *options, "@{upstream}")
        report["pulled"] = True

    def _push(self, report: Report) -> None:
        place, branch = to_bytes(report["path"]), to_bytes(report["branch"])
        format_ = "--format=%(upstream:remotename)%00%(upstream:remoteref)%00%(push:remotename)%00"
        remote, target, usual, _ = self._git(place, "for-each-ref", format_, b"refs/heads/" + branch).split(b"\0", 3)
        if remote in (b"", b".") or not target.startswith(b"refs/heads/"):
            return  # its upstream is no branch of a remote
        if usual != remote:
            report["remote_reason"] = (
                f"not pushed: git push goes to {_shown(usual)}, its upstream is on {_shown(remote)}"
            )
            return
        if target != b"refs/heads/" + branch and not self._pushes_to_upstreams(place):
            name = _shown(remote + b"/" + target.removeprefix(b"refs/heads/"))
            report["remote_reason"] = f"not pushed: its upstream has another name, {name} (see push.default)"
            return
        url = dict(self._remotes(place)).get(remote, "")
        try:
            self._pauses.check(url)
            self._git(place, "push", "--no-follow-tags", "--", remote, b"refs/heads/" + branch + b":" + target)
        except Trouble as trouble:
            self._pauses.note(url, trouble)
            self._pauses.save()
            raise
        report["pushed"] = True

    def _pushes_to_upstreams(self, place: bytes) -> bool:
        """Whether the user's git pushes to an upstream of another name. By itself it does not: work on a topic that was
        begun at `origin/main` is not meant for `main`."""
        configured = self._config(place, r"^push\.default$")
        return bool(configured) and configured[-1][1] in (b"upstream", b"tracking")

    # ---- how

    def _each(
        self, reports: Sequence[Report], work: Callable[[Report], None], failed: str, tell: Callable[[int], None]
    ) -> None:
        waiting: queue.SimpleQueue[Report] = queue.SimpleQueue()
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for report in reports:
            waiting.put(report)

        def run() -> None:
            while not self._stopped:
                try:
                    report = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    work(report)
                except Trouble as trouble:
                    report[failed] = True
                    report["remote_reason"] = str(trouble)
                except BaseException as bug:  # noqa: BLE001 - raised again where the command can end by it
                    done.put(bug)
                    return
                done.put(None)

        threads = [threading.Thread(target=run, daemon=True) for _ in range(min(self._jobs, len(reports)))]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, len(reports) + 1):
                _raise(done.get())
                tell(number)
        except BaseException:
            self._stop()
            raise

    def _git(self, place: bytes, *arguments: str | bytes) -> bytes:
        """Output of the user's git. Raises Trouble."""
        environment = self._environment(place, arguments[0])  # asks git itself: not under the lock
        try:
            with self._lock:
                if self._stopped:
                    raise Trouble("failed", "interrupted")
                child = subprocess.Popen(
                    ["git", "-C", place, *arguments], env=environment,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    start_new_session=True,  # no terminal that ssh could ask on, and one group to end
                )  # fmt: skip
                self._children.add(child)
        except OSError as why:
            raise Trouble("failed", f"git does not start: {why.strerror}") from None
        try:
            stdout, stderr = child.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            _end(child)
            word = os.fsdecode(arguments[0])
            raise Trouble("timed_out", f"git {word} did not end within {self._timeout_s:g} s") from None
        finally:
            with self._lock:
                self._children.discard(child)
        if child.returncode:
            raise classify(stderr)
        return stdout

    def _environment(self, place: bytes, command: str | bytes) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
        # LANGUAGE: failures are told apart by git's English words. GIT_ASKPASS empty, not unset: that falls through to
        # core.askPass.
        environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "LANGUAGE": "en"}
        if command in ("fetch", "push") and "GIT_SSH" not in os.environ:
            ssh = os.environ.get("GIT_SSH_COMMAND")
            if not ssh:
                configured = self._config(place, r"^core\.sshcommand$")
                ssh = os.fsdecode(configured[-1][1]) if configured else "ssh"
            batch = "-batch" if "plink" in os.path.basename(ssh.split()[0]).lower() else "-o BatchMode=yes"
            environment["GIT_SSH_COMMAND"] = f"{ssh} {batch}"
        return environment

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            children = list(self._children)
        for child in children:
            _end(child)


def _raise(bug: BaseException | None) -> None:
    if bug is not None:
        raise bug


def _end(child: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGTERM, _GENTLE_S), (signal.SIGKILL, _GENTLE_S)):
        try:
            os.killpg(child.pid, sign)
        except (ProcessLookupError, PermissionError):
            pass
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _is_safe(report: Report, has: str, has_not: str) -> bool:
    upstream = report["upstream"]
    return bool(
        report["state"] == "fresh" and report["dirty"] is False and report["action"] is None and not report["bare"]
        and report["branch"] is not None and not report["unborn"] and upstream and not upstream["gone"]
        and upstream[has] and upstream[has_not] == 0 and not any(report[field] for field in FIELDS[:3])
    )  # fmt: skip


class _Pauses:
    """Which hosts and URLs are left alone, and until when (epoch seconds): the file holds for all commands."""

    def __init__(self, path: bytes, *, obey: bool) -> None:
        self._path = path
        self._obey = obey
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = self._read()
        self._changed: dict[str, dict[str, Any] | None] = {}

    def check(self, url: str) -> None:
        """Raises Trouble when it is to be left alone."""
        if self._obey:
            return
        with self._lock:
            for key in (_host(url), url):
                pause = self._known.get(key) if key else None
                if pause is not None and (left_s := pause["until"] - time.time()) > 0:
                    why = "was not reachable" if pause["kind"] != "auth_needed" else "wanted a password"
                    rest = f"not tried again for {max(1, round(left_s / 60))} min (name one repository to try now)"
                    raise Trouble(pause["kind"], f"{key} {why}; {rest}")

    def note(self, url: str, trouble: Trouble) -> None:
        key = url if trouble.kind == "auth_needed" else _host(url)
        if trouble.kind == "failed" or not key:
            return
        with self._lock:
            before = self._known.get(key)
            if before is not None and before["until"] > time.time() and not self._obey:
                return  # it was not tried
            failures = min((before["failures"] if before else 0) + 1, 16)
            pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
            self._known[key] = self._changed[key] = {
                "failures": failures, "until": time.time() + pause_s, "kind": trouble.kind,
            }  # fmt: skip

    def answered(self, url: str) -> None:
        with self._lock:
            for key in (_host(url), url):
                if self._known.pop(key, None) is not None:
                    self._changed[key] = None

    def save(self) -> None:
        """What changed here, into what others may have written meanwhile. A file that cannot be written is no reason to
        fail."""
        with self._lock:
            if not self._changed:
                return
            try:
                with open(self._path + b".lock", "ab", opener=_private) as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    known = self._read()
                    for key, pause in self._changed.items():
                        if pause is None:
                            known.pop(key, None)
                        else:
                            known[key] = pause
                    temporary = self._path + b".new"
                    with open(temporary, "w", opener=_private) as file:
                        json.dump(known, file)
                    os.replace(temporary, self._path)
                    self._changed.clear()
            except OSError:
                pass

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            with open(self._path, "rb") as file:
                found = json.loads(file.read(1 << 20))
        except (OSError, ValueError):
            return {}
        return {key: pause for key, pause in found.items() if _is_pause(pause)} if isinstance(found, dict) else {}


def _is_pause(found: Any) -> bool:
    """Nothing else may stand in that file; and a clock that was put back must not make a pause of a year."""
    if not isinstance(found, dict) or not isinstance(found.get("failures"), int):
        return False
    until, now = found.get("until"), time.time()
    recent = isinstance(until, int | float) and now - 86400 < until < now + 2 * _LONGEST_PAUSE_S
    return recent and found.get("kind") in ("auth_needed", "unreachable", "timed_out")


def _private(path: Any, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _host(url: str) -> str:
    return parse_remote(url)[1]


def _shown(name: bytes) -> str:
    return scrub(name.decode(errors="replace"))


def blank(report: Report) -> Report:
    """The report with the fields of an exchange that has not happened."""
    return {**report, **dict.fromkeys(FIELDS, False), "remote_reason": None}


def taken_over(report: Report, before: Mapping[Any, Report]) -> Report:
    """A newer report with what an earlier one has of the exchange."""
    earlier = before.get(report["path"])
    if earlier is None:
        return blank(report)
    return {**report, **{field: earlier[field] for field in (*FIELDS, "remote_reason")}}


def mark_of(report: Report) -> str | None:
    """What the table notes of it."""
    for field in FIELDS[:3]:
        if report[field]:
            return f"{field.removesuffix('_failed')} failed: {report['remote_reason']}"
    done = [word for word in FIELDS[3:] if report[word]]
    return ", ".join(done) or report["remote_reason"]
