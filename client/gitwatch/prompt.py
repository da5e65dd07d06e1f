"""The executable `gitwatch-prompt`: ask the daemon for one directory's line, and print it.

Owns one connection. Runs: a process for each prompt, in an interpreter without `site`, so it imports nothing but what
the interpreter has built in and `_socket` (a test holds it to that): whatever it cannot do itself it hands over to
`gitwatch prompt`.
Invariant: everything ends by the deadline; on any failure nothing is printed and the exit code is 0.
"""

import _socket
import posix
import sys
import time

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMATS = (b"text", b"zsh", b"bash", b"tmux", b"shell", b"fish")
_DEADLINE_S = 0.05
_MARGIN = 0.9
"""The share of the deadline that the daemon may use."""
_STEP_S = 0.001
_BACKLOG_FULL = (11, 35)
"""EAGAIN of Linux and of the BSDs, without the module that has the names."""
_OTHER_WORLDS = (b"GIT_WORK_TREE", b"GIT_INDEX_FILE", b"GIT_OBJECT_DIRECTORY", b"GIT_COMMON_DIR", b"GIT_NAMESPACE")
_START_AGAIN_S = 3.0
_NOWHERE = b"/dev/null/deleted"
"""In place of a current directory that was deleted: no repository can be there."""
_NIL = 0xC0
_USAGE = 2

Options = dict[bytes, bytes]


def main() -> int:
    arguments = [_encoded(argument) for argument in sys.argv[1:]]
    code = run(arguments)
    return _hand_over(arguments) if code is None else code


def run(arguments: list[bytes]) -> int | None:
    """The exit code; None for what is not for this short way: help, mistakes, JSON."""
    began = time.monotonic()
    options = _parse(arguments)
    if options is None:
        return None
    environ: dict[bytes, bytes] = posix.environ
    if any(name in environ for name in _OTHER_WORLDS):
        return 0  # the answer would be about something else than git sees here
    socket_path, run_dir = find_socket(environ, options.get(b"--state-dir"))
    given = options.get(b"--timeout")
    deadline = began + (configured_deadline_s(run_dir) if given is None else float(given))
    try:
        reply = _ask(socket_path, _request(options, environ, deadline), deadline)
    except (FileNotFoundError, ConnectionRefusedError):  # there is none, or a dead daemon's socket
        start_daemon(run_dir, options.get(b"--state-dir"))
        return 0
    except OSError:
        return 0
    if reply[3] == _NIL:
        text = _payload(reply)
        if text:
            _write(text if text.endswith(b"\n") else text + b"\n")
    elif reply[4] == _USAGE:  # the array of an error begins with its code
        return None  # the other way has the room to say what was wrong
    return 0


def _encoded(text: str) -> bytes:
    return text.encode(sys.getfilesystemencoding(), "surrogateescape")


def _parse(arguments: list[bytes]) -> Options | None:
    """Options and, as `PATH`, the operand; None for what is not for this short way (help, mistakes, JSON)."""
    options: Options = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith(b"-"):
            if b"PATH" in options or not argument:
                return None
            options[b"PATH"] = argument
            continue
        name, equals, value = argument.partition(b"=")
        if name not in (b"--format", b"--template", b"--timeout", b"--state-dir"):
            return None
        if not equals:
            following = next(rest, None)
            if following is None:
                return None
            value = following
        options[name] = value
    if options.get(b"--format", b"text") not in _FORMATS:
        return None
    try:
        if not 0 < float(options.get(b"--timeout", b"1")) < 1e9:
            return None
    except ValueError:
        return None
    return options


def _hand_over(arguments: list[bytes]) -> int:
    import os

    command = [*_gitwatch(), b"prompt", *arguments]
    os.execv(command[0], command)  # noqa: S606 - this very program


def _gitwatch() -> list[bytes]:
    """The ordinary command: beside this script, or where it is a symbolic link, by the interpreter."""
    beside = _encoded(sys.argv[0].rpartition("/")[0] or ".") + b"/gitwatch"
    return [beside] if posix.access(beside, posix.X_OK) else [_encoded(sys.executable), b"-P", b"-m", b"gitwatch"]


def find_socket(environ: "dict[bytes, bytes]", state_dir: bytes | None) -> tuple[bytes, bytes]:
    """Socket and its directory; the rules are `gitwatchd.wire.address`'s, and a test holds the two together."""
    temporary = _absolute(environ, b"TMPDIR") or b"/tmp"
    mine = b"/gitwatchd-%d" % posix.getuid()
    runtime = _absolute(environ, b"XDG_RUNTIME_DIR")
    if state_dir is not None:
        run_dir = _normal(state_dir) + b"/run"
    else:
        run_dir = temporary + mine if runtime is None else runtime + b"/gitwatchd"
    path = run_dir + b"/gitwatchd.sock"
    if len(path) > 100:
        from hashlib import sha256

        name = b"/" + sha256(path).hexdigest()[:16].encode() + b".sock"
        run_dir = temporary + mine
        path = run_dir + name
        if len(path) > 100:
            run_dir = b"/tmp" + mine
            path = run_dir + name
    return path, run_dir


def _absolute(environ: "dict[bytes, bytes]", name: bytes) -> bytes | None:
    value = environ.get(name, b"")
    return (value.rstrip(b"/") or b"/") if value.startswith(b"/") else None


def _normal(path: bytes) -> bytes:
    import os

    return os.path.abspath(path)


def configured_deadline_s(run_dir: bytes) -> float:
    """What `[prompt] deadline_ms` says: the daemon leaves it beside its socket."""
    try:
        fd = posix.open(run_dir + b"/prompt-deadline-ms", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
        try:
            return int(posix.read(fd, 16)) / 1000
        finally:
            posix.close(fd)
    except (OSError, ValueError):
        return _DEADLINE_S


def _request(options: Options, environ: "dict[bytes, bytes]", deadline: float) -> bytes:
    """One MessagePack-RPC frame, made by hand: the library takes 5 ms to import."""
    git_dir = environ.get(b"GIT_DIR", b"")
    directory = options.get(b"PATH") or git_dir
    if not directory.startswith(b"/"):
        directory = _working_directory() + (b"/" + directory if directory not in (b"", b".") else b"")
    milliseconds = max(1, int((deadline - time.monotonic()) * 1000 * _MARGIN))
    named = {
        b"wait_ms": b"\xce" + milliseconds.to_bytes(4, "big"),
        b"format": _string(options.get(b"--format", b"text")),
        b"ascii": b"\xc2" if is_utf8(environ) else b"\xc3",
    }
    if git_dir and b"PATH" not in options:
        named[b"git_dir"] = b"\xc3"
    if b"--template" in options:
        named[b"template"] = _string(options[b"--template"])
    pairs = b"".join([_string(key) + value for key, value in named.items()])
    return b"\x94\x00\x01\xa6prompt\x92" + _binary(directory) + bytes((0x80 + len(named),)) + pairs


def _working_directory() -> bytes:
    try:
        return posix.getcwdb()
    except OSError:
        return _NOWHERE


def _string(text: bytes) -> bytes:
    return b"\xdb" + len(text).to_bytes(4, "big") + text


def _binary(data: bytes) -> bytes:
    return b"\xc6" + len(data).to_bytes(4, "big") + data


def is_utf8(environ: "Mapping[bytes, bytes]") -> bool:
    """Whether the locale of this process's environment is."""
    said = environ.get(b"LC_ALL") or _character_locale(environ) or environ.get(b"LANG", b"")
    return said.lower().replace(b"-", b"").endswith(b"utf8")


def _character_locale(environ: "Mapping[bytes, bytes]") -> bytes:
    name = b"LC_CTYPE"
    if not sys.flags.utf8_mode:
        return environ.get(name, b"")
    # Python found the locale C, and put another one into this variable before anybody could look.
    try:
        fd = posix.open("/proc/self/environ", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            given = posix.read(fd, 1 << 21)
        finally:
            posix.close(fd)
    except OSError:
        return b""
    return next((word[len(name) + 1 :] for word in given.split(b"\0") if word.startswith(name + b"=")), b"")


def _ask(path: bytes, frame: bytes, deadline: float) -> bytes:
    """The whole reply. Raises OSError: nobody listens, or not in time, or it is another user's socket."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    while True:
        sock.settimeout(_remaining_s(deadline))
        try:
            sock.connect(path)
            break
        except OSError as why:
            if why.errno not in _BACKLOG_FULL:
                raise
        time.sleep(_STEP_S)
    if hasattr(_socket, "SO_PEERCRED"):
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) != posix.getuid():
            raise PermissionError
    sock.sendall(frame)
    reply = b""
    while len(reply) < _wanted_bytes(reply):
        sock.settimeout(_remaining_s(deadline))
        data = sock.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        reply += data
    return reply


def _wanted_bytes(reply: bytes) -> int:
    """`[1, 1, nil, nil or bin 32]`, or `[1, 1, [code, ...], ...]`, of which the code is enough."""
    if len(reply) < 6:
        return 6 if reply[3:5] != b"\xc0\xc0" else 5
    return 9 + int.from_bytes(reply[5:9], "big") if reply[3] == _NIL else 6


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s


def _payload(reply: bytes) -> bytes:
    return reply[9:]


def _write(text: bytes) -> None:
    try:
        while text:
            text = text[posix.write(1, text) :]
    except OSError:
        pass


def start_daemon(run_dir: bytes, state_dir: bytes | None) -> None:
    """For the next prompt, without a wait; seldom, because one that cannot start would cost every prompt a process."""
    stamp = run_dir + b"/prompt-started"
    try:
        try:
            posix.mkdir(run_dir, 0o700)
        except FileExistsError:
            pass
        try:
            if time.time() - posix.stat(stamp).st_mtime < _START_AGAIN_S:
                return
        except FileNotFoundError:
            pass
        posix.close(posix.open(stamp, posix.O_WRONLY | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC, 0o600))
        posix.utime(stamp)
        command = _gitwatch()
        if state_dir is not None:
            command += [b"--state-dir", _normal(state_dir)]
        null = [(posix.POSIX_SPAWN_OPEN, fd, b"/dev/null", posix.O_RDWR, 0) for fd in (0, 1, 2)]
        # A session of its own: what ends the shell's process group must not end the daemon.
        posix.posix_spawn(command[0], [*command, b"daemon", b"start"], posix.environ, file_actions=null, setsid=True)
    except (OSError, NotImplementedError):
        pass
