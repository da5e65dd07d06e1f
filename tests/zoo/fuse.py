"""A file system in user space, read only: what lies in a directory, seen through a server that can fall silent.

`python -m tests.zoo.fuse BACKING MOUNTPOINT` mounts it (run it in a mount namespace of its own) and serves until it is
killed. SIGUSR1: it says "silent", and from then on takes requests and answers none, as a dead network server does: who
waits sleeps uninterruptibly.
SIGUSR2: it answers again, those that waited first. Nothing is cached by the kernel, so a change of BACKING shows at
once and raises no event in the mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import stat
import struct
import sys

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS, _INTERRUPT, _BATCH_FORGET = 25, 26, 27, 28, 29, 34, 36, 42
_SILENT = frozenset({_FORGET, _INTERRUPT, _BATCH_FORGET})
_PAGE = 4096


class Server:
    def __init__(self, backing: str) -> None:
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self.paths = {1: backing}
        self.nodes = {backing: 1}
        self.silent = False
        self.waiting: list[bytes] = []

    def mount(self, point: str) -> None:
        options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"zoo", os.fsencode(point), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")

    def fall_silent(self, *_: object) -> None:
        self.silent = True
        os.write(sys.stdout.fileno(), b"silent\n")

    def serve(self) -> None:
        while True:
            try:
                ready = select.select([self.device], [], [], 0.05)[0]
            except InterruptedError:
                continue
            if not self.silent:
                waiting, self.waiting = self.waiting, []
                for request in waiting:
                    self.answer(request)
            if ready:
                try:
                    request = os.read(self.device, 1 << 17)
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return  # unmounted
                    continue
                if self.silent:
                    self.waiting.append(request)
                else:
                    self.answer(request)

    def answer(self, request: bytes) -> None:
        _length, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in _SILENT:
            return
        try:
            data, error = self.handle(opcode, node, request[_IN.size :]), 0
        except OSError as why:
            data, error = b"", -(why.errno or errno.EIO)
        try:
            os.write(self.device, _OUT.pack(_OUT.size + len(data), error, unique) + data)
        except OSError:
            pass  # whoever asked was killed

    def handle(self, opcode: int, node: int, body: bytes) -> bytes:
        path = self.paths.get(node, "")
        if opcode == _INIT:
            return struct.pack("<IIIIHHIIHHI", 7, 31, 1 << 17, 0, 16, 16, _PAGE, 1, 32, 0, 0) + bytes(28)
        if opcode == _LOOKUP:
            return self.entry(path + "/" + os.fsdecode(body.rstrip(b"\0")))
        if opcode == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(path)
        if opcode == _READLINK:
            return os.fsencode(os.readlink(path))
        if opcode in (_OPEN, _OPENDIR):
            os.close(os.open(path, os.O_RDONLY))
            return struct.pack("<QII", 0, 1, 0)  # FOPEN_DIRECT_IO: no page is kept
        if opcode == _READ:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            with open(path, "rb") as file:
                return os.pread(file.fileno(), size, offset)
        if opcode == _READDIR:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            return self.listing(path, offset, size)
        if opcode == _STATFS:
            return struct.pack("<QQQQQIIII", 1, 1, 1, 1, 1, _PAGE, 255, _PAGE, 0) + bytes(24)
        if opcode in (_RELEASE, _RELEASEDIR, _FLUSH, _ACCESS):
            return b""
        raise OSError(errno.ENOSYS, "not offered")

    def entry(self, path: str) -> bytes:
        attributes = self.attributes(path)
        node = self.nodes.setdefault(path, len(self.nodes) + 1)
        self.paths[node] = path
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + attributes

    def attributes(self, path: str) -> bytes:
        found = os.lstat(path)
        seconds = [t // 10**9 for t in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)]
        rest = [t % 10**9 for t in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)]
        return _ATTR.pack(
            found.st_ino, found.st_size, found.st_blocks, *seconds, *rest,
            found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, _PAGE, 0,
        )  # fmt: skip

    def listing(self, path: str, offset: int, size: int) -> bytes:
        data = b""
        for place, entry in enumerate(sorted(os.scandir(os.fsencode(path)), key=lambda e: e.name)):
            if place < offset:
                continue
            kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) >> 12
            record = struct.pack("<QQII", entry.inode(), place + 1, len(entry.name), kind) + entry.name
            record += bytes(-len(record) % 8)
            if len(data) + len(record) > size:
                break
            data += record
        return data


def main() -> None:
    backing, point = sys.argv[1:]
    server = Server(backing)
    signal.signal(signal.SIGUSR1, server.fall_silent)
    signal.signal(signal.SIGUSR2, lambda *_: setattr(server, "silent", False))
    server.mount(point)
    print("mounted", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
