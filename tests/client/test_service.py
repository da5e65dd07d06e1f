from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gitwatch import service as service_module
from gitwatch.cli import Invocation
from gitwatch.service import _quoted, _with_command

Completed = subprocess.CompletedProcess[str]


class Service:
    """`gitwatch service …` in a home of its own, with a systemctl that writes down what it is told."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.units = self.home / ".config/systemd/user"
        self.told = directory / "told"
        self.active = directory / "active"
        self.runtime = directory / "run"
        for made in (self.home, directory / "bin", self.runtime):
            made.mkdir(mode=0o700)
        systemctl = directory / "bin/systemctl"
        systemctl.write_text(
            f'#!/bin/sh\nshift 2; echo "$*" >>{self.told}\n'
            f"case $1 in start) touch {self.active};; disable) rm -f {self.active};;"
            f" is-active) test -e {self.active};; esac\n"
        )
        systemctl.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
            "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": f"{directory}/bin:{os.environ['PATH']}",
        }  # fmt: skip

    def give_manager(self) -> None:
        (self.runtime / "systemd").mkdir()
        (self.runtime / "systemd/private").touch()

    def __call__(self, *arguments: str) -> Completed:
        done = subprocess.run(
            [sys.executable, "-m", "gitwatch", *arguments], env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def asked(self) -> list[str]:
        """What systemctl was told since the last time, but for questions."""
        said = self.told.read_text().splitlines() if self.told.exists() else []
        self.told.unlink(missing_ok=True)
        return [line for line in said if not line.startswith("is-active")]

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir())


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


UNITS = [
    ".config/systemd/user/gitwatchd.service", ".config/systemd/user/gitwatchd.socket",
    ".config/systemd/user/sockets.target.wants/gitwatchd.socket",
]  # fmt: skip


def test_it_is_installed_twice_and_removed_twice(service: Service) -> None:
    service.give_manager()
    assert service("service", "status").returncode == 1
    done = service("service", "install")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "systemd listens: the next command starts the daemon"
    assert service.asked() == ["daemon-reload", "start gitwatchd.socket"]
    assert service.files() == UNITS
    assert (service.units / "sockets.target.wants/gitwatchd.socket").resolve() == service.units / "gitwatchd.socket"
    unit = (service.units / "gitwatchd.service").read_text()
    script = Path(sys.executable).with_name("gitwatchd")
    assert f"\nExecStart={_quoted(str(script))}\n" in unit and unit.count("\nExecStart=") == 1
    told = service("service", "status")
    assert (told.returncode, told.stdout.splitlines()[0]) == (0, "installed: yes")
    service.asked()
    assert [line.split()[0] for line in service("service", "install").stdout.splitlines()[:2]] == ["unchanged"] * 2
    assert service.asked() == []
    assert service("service", "uninstall").returncode == 0
    assert service.asked() == ["disable --now gitwatchd.socket gitwatchd.service", "daemon-reload"]
    assert service.files() == [] and not service.units.exists()
    done = service("service", "uninstall")
    assert (done.returncode, done.stdout) == (0, "not installed\n")


def test_another_installation_brings_the_units_up_to_date(service: Service) -> None:
    service("service", "install")
    unit = service.units / "gitwatchd.service"
    right = unit.read_text()
    unit.write_text(right.replace("ExecStart=", "ExecStart=/old/venv"))
    assert service("service", "install").stdout.splitlines()[0] == f"wrote {unit}"
    assert unit.read_text() == right


def test_without_a_manager_the_files_wait_for_the_next_login(service: Service) -> None:
    done = service("service", "install")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 3
    assert service.files() == UNITS and service.asked() == []


@pytest.mark.parametrize(
    ("booted", "told"),
    [
        (True, "no systemd user manager answers here: the socket is opened at your next login\n"),
        (False, "systemd does not run this machine: commands start the daemon themselves, as before\n"),
    ],
)
def test_a_login_is_promised_only_where_systemd_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], booted: bool, told: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(service_module, "BOOTED", str(tmp_path if booted else tmp_path / "missing"))
    service_module._start(Invocation("service install", {}, []), changed=True)
    assert capfd.readouterr().out == told


@pytest.mark.parametrize("make", [lambda path: path.write_text("[Unit]\n"), Path.mkdir], ids=["unit", "directory"])
def test_what_somebody_else_wrote_is_left_alone(service: Service, make: Callable[[Path], None]) -> None:
    service.units.mkdir(parents=True)
    make(service.units / "gitwatchd.socket")
    for command in ("install", "uninstall"):
        done = service("service", command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{service.units}/gitwatchd.socket was not written by" in done.stderr
        assert service.files() in ([], UNITS[1:2])


def test_a_daemon_that_runs_by_itself_makes_way(service: Service) -> None:
    assert service("daemon", "start").returncode == 0
    try:
        service.give_manager()
        assert service("service", "install").returncode == 0
        assert service.asked() == ["daemon-reload", "start gitwatchd.socket"]
        assert not (service.runtime / "gitwatchd/gitwatchd.sock").exists()
    finally:
        service("daemon", "stop")


def test_doctor_tells_of_it(service: Service) -> None:
    service("service", "install")
    try:
        told = json.loads(service("doctor", "--json").stdout)["service"]
        assert told["installed"] == "yes" and told["starts"].endswith("gitwatchd")
        lines = service("doctor").stdout.splitlines()
        assert lines[lines.index("systemd service") + 1].split() == ["installed", "yes"]
    finally:
        service("daemon", "stop")


def test_bad_input_is_one_line(service: Service, tmp_path: Path) -> None:
    assert service("--state-dir", str(tmp_path), "service", "install").returncode == 2
    assert service("service", "instal").returncode == 2
    service.home.joinpath(".config").write_text("")
    done = service("service", "install")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("name", ["a b %h é", 'a "b" $c %h \\ \'d'], ids=["itself", "by env"])
def test_systemd_reads_a_path_with_anything_in_it(tmp_path: Path, name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    script = odd / "gitwatchd"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    unit = tmp_path / "gitwatchd.service"
    unit.write_text(_with_command("[Service]\nExecStart=/nothing\n", [str(script), "-m", "x"]))
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", unit], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
