from __future__ import annotations

import os

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.wire.address import ENVIRONMENT_NAMES, MAX_SOCKET_PATH_BYTES, places

STANDARD = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"}
NO_SUCH_UID = 4_000_000_001


def test_standard_places() -> None:
    found = places(STANDARD, 7)
    assert found.socket == b"/run/user/7/gitwatchd/gitwatchd.sock"
    assert found.lock == b"/run/user/7/gitwatchd/gitwatchd.lock"
    assert found.run_dir == b"/run/user/7/gitwatchd"
    assert (found.state_dir, found.cache_dir) == (
        b"/home/u/.local/state/gitwatchd",
        b"/home/u/.cache/gitwatchd",
    )
    assert (found.intent, found.log) == (found.state_dir + b"/intent.db", found.state_dir + b"/gitwatchd.log")
    assert (found.cache, found.indexes) == (found.cache_dir + b"/cache.db", found.cache_dir + b"/indexes")


def test_xdg_directories_of_the_user() -> None:
    found = places(STANDARD | {"XDG_STATE_HOME": "/s/", "XDG_CACHE_HOME": "/c"}, 7)
    assert (found.state_dir, found.cache_dir) == (b"/s/gitwatchd", b"/c/gitwatchd")


@pytest.mark.parametrize("value", [None, "", "relative/run"])
def test_without_a_runtime_directory_the_temporary_one_by_uid(value: str | None) -> None:
    environ = {"HOME": "/home/u"} | ({} if value is None else {"XDG_RUNTIME_DIR": value})
    assert places(environ, 7).socket == b"/tmp/gitwatchd-7/gitwatchd.sock"
    assert places(environ | {"TMPDIR": "/var/tmp/"}, 7).socket == b"/var/tmp/gitwatchd-7/gitwatchd.sock"


def test_everything_is_below_the_state_directory_and_the_environment_is_not_asked() -> None:
    found = places({}, NO_SUCH_UID, b"/x/y/../z/")
    for name in type(found).__slots__:
        assert (getattr(found, name) + b"/").startswith(b"/x/z/"), name
    assert found.run_dir != found.state_dir


def test_a_relative_state_directory_is_made_absolute() -> None:
    assert places({}, 7, b"here").state_dir == os.getcwdb() + b"/here"


def test_a_long_socket_path_becomes_a_short_hashed_one() -> None:
    def at(length: int, letter: str = "a") -> bytes:
        runtime = "/" + letter * (length - len("//gitwatchd/gitwatchd.sock"))
        return places(STANDARD | {"XDG_RUNTIME_DIR": runtime}, 7).socket

    assert len(at(MAX_SOCKET_PATH_BYTES)) == MAX_SOCKET_PATH_BYTES
    assert at(MAX_SOCKET_PATH_BYTES).endswith(b"/gitwatchd/gitwatchd.sock")
    hashed = at(MAX_SOCKET_PATH_BYTES + 1)
    assert hashed.startswith(b"/tmp/gitwatchd-7/") and len(hashed) < 50
    assert hashed == at(MAX_SOCKET_PATH_BYTES + 1)
    assert hashed != at(MAX_SOCKET_PATH_BYTES + 1, "b")


def test_a_long_state_directory_has_a_lock_of_its_own_beside_the_hashed_socket() -> None:
    one, other = places({}, 7, b"/" + b"a" * 120), places({}, 7, b"/" + b"b" * 120)
    assert os.path.dirname(one.lock) == os.path.dirname(one.socket) == b"/tmp/gitwatchd-7"
    assert one.lock != other.lock
    assert one.intent == b"/" + b"a" * 120 + b"/intent.db"


def test_a_long_temporary_directory_is_not_used_for_the_socket() -> None:
    found = places({"HOME": "/h", "TMPDIR": "/" + "t" * 120}, 7)
    assert found.socket.startswith(b"/tmp/gitwatchd-7/") and len(found.socket) <= MAX_SOCKET_PATH_BYTES


def test_undecodable_names_survive() -> None:
    assert places({"HOME": os.fsdecode(b"/h\xff")}, 7).state_dir == b"/h\xff/.local/state/gitwatchd"


def test_without_home_the_user_database_is_asked() -> None:
    import pwd

    home = os.fsencode(pwd.getpwuid(os.getuid()).pw_dir).rstrip(b"/")
    assert places({}, os.getuid()).state_dir == home + b"/.local/state/gitwatchd"
    with pytest.raises(EnvironmentFailure, match="no home directory"):
        places({}, NO_SUCH_UID)


def test_no_other_variable_matters() -> None:
    class Recorder(dict[str, str]):
        asked: set[str] = set()  # noqa: RUF012

        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            self.asked.add(key)
            return default

    places(Recorder(), os.getuid())
    assert Recorder.asked == set(ENVIRONMENT_NAMES)
