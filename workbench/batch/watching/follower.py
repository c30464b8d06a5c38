"""Which files a kernel and the programs it starts open, through whatever library, told by the Linux kernel itself.

A seccomp filter in the job's process makes the system ask before each `open`, and the worker answers "go on" after noting the
path (seccomp_unotify(2)): about 0.06 ms for each file. It sees what Python's audit events cannot: the netCDF library, native
readers, child processes. Where the system does not allow it, `install` says so and Python's events are all that is noted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from workbench.batch.watching.traces import State, state_of

# Numbers of the system calls by machine: (audit architecture, {call: number}).
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {"open": 2, "creat": 85, "openat": 257, "openat2": 437, "rename": 82, "renameat": 264, "renameat2": 316,
         "execve": 59, "execveat": 322},
    ),
    "aarch64": (
        0xC00000B7, {"openat": 56, "openat2": 437, "renameat": 38, "renameat2": 276, "execve": 221, "execveat": 281},
    ),
}  # fmt: skip
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101  # ioctl numbers of SECCOMP_IOCTL_NOTIF_RECV and _SEND
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_HERE = -100  # AT_FDCWD
_LONGEST = 4096


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def _filter(architecture: int, numbers: list[int]) -> list[tuple[int, int, int, int]]:
    """Classic BPF: ask for these system calls, allow all else (also those of another architecture)."""
    load, equal, end = 0x20, 0x15, 0x06
    count = len(numbers)
    tests = [(equal, count - index, 0, number) for index, number in enumerate(numbers)]
    return [
        (load, 0, 0, 4),
        (equal, 0, count + 1, architecture),
        (load, 0, 0, 0),
        *tests,
        (end, 0, 0, _ALLOW),
        (end, 0, 0, _ASK),
    ]


def install(address: str) -> bool:
    """In the job's process: let the follower at this socket see every file opened from now on; False where that cannot be had."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8 or not address:
        return False
    architecture, calls = machine
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(address)
        except OSError:
            return False
        words = _filter(architecture, list(calls.values()))
        filter_ = (_Instruction * len(words))(*(_Instruction(*word) for word in words))
        program = _Program(len(words), filter_)
        libc.prctl(
            0x59616D61, ctypes.c_ulong(-1), 0, 0, 0
        )  # PR_SET_PTRACER, any: Yama would hide the paths from the worker
        if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS, without which only root may filter
            return False
        descriptor = libc.syscall(_SECCOMP[platform.machine()], 1, 8, ctypes.byref(program))
        if descriptor < 0:
            return False
        # Until the follower has the descriptor nobody answers: nothing may be opened before this line.
        socket.send_fds(link, [b"x"], [descriptor])
        os.close(descriptor)
        return link.recv(1) == b"x"


class _Call(NamedTuple):
    identity: int
    process: int
    number: int
    arguments: tuple[int, ...]


class Follower:
    """In the worker: notes what its job opens.

    Attributes:
        read: path as opened (absolute) to what `state_of` said of it the first time.
        written: paths opened for writing, created, or renamed to.
        listed: folders opened.
        unseen: whether some path could not be learnt.
        active: whether the job's process came and is followed.
    """

    def __init__(self, address: str, ignored: tuple[str, ...] = ()) -> None:
        self.read: dict[str, State] = {}
        self.written: set[str] = set()
        self.listed: set[str] = set()
        self.unseen = False
        self.active = False
        self.address = address
        self._ignored = ignored
        self._names = {number: name for name, number in _MACHINES.get(platform.machine(), (0, {}))[1].items()}
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(address)
        self._door.listen(1)
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._door.close()

    def _follow(self) -> None:
        import fcntl
        import select

        try:
            link, _ = self._door.accept()
            with link:
                _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
                if not descriptors:
                    return
                self.active = True
                link.send(b"x")
        except OSError:
            return
        (listener,) = descriptors
        message = bytearray(80)
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        try:
            while not any(event & select.POLLHUP for _, event in waiting.poll()):
                message[:] = bytes(80)
                try:
                    fcntl.ioctl(listener, _RECEIVE, message)
                except OSError as problem:
                    if problem.errno in (errno.ENOENT, errno.EINTR):  # the asker was killed, or a signal came
                        continue
                    return
                identity, process, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", message)
                try:
                    self._note(_Call(identity, process, number, tuple(arguments)))
                except Exception:  # whatever is asked, it must be answered
                    self.unseen = True
                with suppress(OSError):  # the asker was killed meanwhile
                    fcntl.ioctl(listener, _ANSWER, struct.pack("QqiI", identity, 0, 0, 1))
        finally:
            os.close(listener)  # whoever still asks gets an error instead of waiting for ever

    def _note(self, call: _Call) -> None:
        name, a = self._names[call.number], call.arguments
        writing = False
        if name == "open":
            folder, pointer, flags = _HERE, a[0], a[1]
        elif name == "openat":
            folder, pointer, flags = a[0], a[1], a[2]
        elif name == "openat2":
            folder, pointer, flags = a[0], a[1], struct.unpack("Q", self._memory(call.process, a[2], 8))[0]
        elif name == "execve":
            folder, pointer, flags = _HERE, a[0], 0
        elif name == "execveat":
            folder, pointer, flags = a[0], a[1], 0
        elif name == "creat":
            folder, pointer, flags, writing = _HERE, a[0], 0, True
        else:  # the name that a file gets
            folder, pointer, flags, writing = (_HERE, a[1], 0, True) if name == "rename" else (a[2], a[3], 0, True)
        path = self._path(call.process, folder, pointer)
        if path.startswith(self._ignored):
            return
        if writing or flags & (os.O_WRONLY | os.O_RDWR):
            # A file that is read and written (a database, say) is an input too when it was there before.
            updated = not writing and not flags & (os.O_WRONLY | os.O_TRUNC) and path not in self.written
            if updated and path not in self.read and (state := state_of(path)) is not None:
                self.read[path] = state
            self.written.add(path)
        elif flags & os.O_DIRECTORY:
            self.listed.add(path)
        elif path not in self.read and path not in self.written and (state := state_of(path)) is not None:
            self.read[path] = state

    def _path(self, process: int, folder: int, pointer: int) -> str:
        text = os.fsdecode(self._text(process, pointer))
        if text.startswith("/"):
            return os.path.normpath(text)
        number = folder & 0xFFFFFFFF
        base = "cwd" if number == _HERE & 0xFFFFFFFF else f"fd/{number}"
        return os.path.normpath(os.path.join(os.readlink(f"/proc/{process}/{base}"), text))

    def _text(self, process: int, pointer: int) -> bytes:
        found = b""
        while len(found) < _LONGEST:
            piece = self._memory(process, pointer + len(found), 256 - (pointer + len(found)) % 256)
            head, end, _ = piece.partition(b"\0")
            found += head
            if end:
                break
        return found

    @staticmethod
    def _memory(process: int, address: int, size: int) -> bytes:
        descriptor = os.open(f"/proc/{process}/mem", os.O_RDONLY)
        try:
            return os.pread(descriptor, size, address)
        finally:
            os.close(descriptor)


def ignored_places(own: Iterable[str]) -> tuple[str, ...]:
    """Beginnings of paths that hold the system, Python and its packages, and the job's own folders."""
    home = os.path.expanduser("~")
    caches = ("matplotlib", "fontconfig", "mesa_shader_cache", "pip", "black", "ruff")
    places = {
        *(
            "/proc",
            "/sys",
            "/dev",
            "/usr",
            "/lib",
            "/lib32",
            "/lib64",
            "/bin",
            "/sbin",
            "/etc",
            "/run",
            "/nix",
            "/snap",
        ),
        *("/var/lib", "/var/cache", "/System", "/Library"),
        *(
            os.path.join(home, name)
            for name in (".config", ".ipython", ".jupyter", ".local", ".matplotlib", ".triton", ".nv")
        ),
        *(os.path.join(home, ".cache", name) for name in caches),
        *(os.environ[name] for name in ("MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR") if os.environ.get(name)),
        *(getattr(sys, name) for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix")),
        *own,
    }
    return tuple(os.path.join(os.path.abspath(place), "") for place in places if os.path.abspath(place) != "/")
