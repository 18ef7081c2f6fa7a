"""A hostile driver: what code that runs in a sandbox may try, past Python where that helps.

Each attack returns what it has got hold of, or raises an exception.
"""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasources.connections.configuration import Configuration
from rivergen.egress.policy import EgressPolicy
from rivergen.libc import LIBC, call, system_call

MPTCP, SCTP, UDPLITE = 262, 132, 136
MSG_FASTOPEN = 0x20000000
F_SETSIG, F_SETOWN = 10, 8
TIOCSTI = 0x5412
PR_GET_DUMPABLE = 3
CAP_DAC_READ_SEARCH = 1 << 2
PTRACE_SEIZE = 0x4206
SYSTEM_CALLS = {
    "x86_64": {"ptrace": 101, "execveat": 322, "memfd_create": 319, "clone3": 435},
    "aarch64": {"ptrace": 117, "execveat": 281, "memfd_create": 279, "clone3": 435},
}[platform.machine()]
PIDFD_OPEN, PIDFD_GETFD, PIDFD_SEND_SIGNAL, IO_URING_SETUP = 434, 438, 424, 425


def attack_and_send(
    attack: Callable[..., object],
    arguments: tuple[Any, ...],
    configuration: Configuration,
    policy: EgressPolicy,
    send: Callable[..., None],
) -> None:
    """Attack as the work of a child. Send what the attack has got, or why it got nothing."""
    try:
        loot = attack(*arguments)
    except Exception as error:
        send(refused=repr(error))
    else:
        send(loot=repr(loot)[:1000])


def read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(4096)


def read_memory(pid: int, address: int) -> bytes:
    """Read memory of another process through /proc."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(16)


def vm_transfer(function: str, pid: int, address: int) -> int:
    """Read or write memory of another process by process_vm_readv(2) or process_vm_writev(2)."""
    buffer = ctypes.create_string_buffer(16)
    local = struct.pack("PN", ctypes.addressof(buffer), 16)
    remote = struct.pack("PN", address, 16)
    return call(getattr(LIBC, function), pid, local, 1, remote, 1, 0)


def attach(pid: int) -> int:
    """Attach to another process without stopping it."""
    return system_call(SYSTEM_CALLS["ptrace"], PTRACE_SEIZE, pid, 0, 0)


def steal_descriptor(pid: int) -> int:
    return system_call(PIDFD_GETFD, system_call(PIDFD_OPEN, pid, 0), 0, 0)


def signal_by_pidfd(pid: int) -> int:
    return system_call(PIDFD_SEND_SIGNAL, system_call(PIDFD_OPEN, pid, 0), 0, None, 0)


def signal_by_descriptor(pid: int) -> bytes:
    """Ask the kernel to signal another process when a socket of this one becomes readable."""
    import fcntl

    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, F_SETOWN, pid)
    fcntl.fcntl(ours, F_SETSIG, signal.SIGWINCH)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
    theirs.send(b"x")
    return ours.recv(1)


def limit(pid: int) -> object:
    """Limit the resources of another process; here, to what it has."""
    current = resource.prlimit(pid, resource.RLIMIT_CORE)
    return resource.prlimit(pid, resource.RLIMIT_CORE, current)


def slow_down(pid: int) -> int:
    return call(LIBC.setpriority, os.PRIO_PROCESS, pid, 19)


def pin(pid: int) -> None:
    os.sched_setaffinity(pid, os.sched_getaffinity(0))


def run_by_subprocess() -> bytes:
    return subprocess.run(["/bin/true"], check=True, capture_output=True).args


def run_by_system() -> str:
    if LIBC.system(b"/bin/true"):
        raise OSError(errno.EPERM, "The shell was not run.")
    return "run"


def run_by_posix_spawn() -> int:
    return os.posix_spawn("/bin/true", ["true"], {})


def run_in_place() -> None:
    os.execv("/bin/true", ["true"])


def run_from_memory() -> None:
    """Write a program to memory and run it by execveat(2)."""
    descriptor = system_call(SYSTEM_CALLS["memfd_create"], b"x", 0)
    os.write(descriptor, b"#!/bin/true\n")
    arguments = (ctypes.c_char_p * 2)(b"x", None)
    system_call(SYSTEM_CALLS["execveat"], descriptor, b"", arguments, None, 0x1000)


def fork() -> int:
    if (pid := os.fork()) == 0:
        os._exit(0)
    return pid


def fork_by_clone3() -> int:
    arguments = struct.pack("QQQQQQQQ", 0, 0, 0, 0, 0, 0, 0, 0)
    if (pid := system_call(SYSTEM_CALLS["clone3"], arguments, len(arguments))) == 0:
        os._exit(0)
    return pid


def unshare() -> int:
    return call(LIBC.unshare, 0x10000000)  # CLONE_NEWUSER


def open_socket(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "opened"


def connect(port: int, protocol: int = 0) -> str:
    """Connect to a port of this machine by the C library, which no guard of Python sees."""
    descriptor = call(LIBC.socket, socket.AF_INET, socket.SOCK_STREAM, protocol)
    call(LIBC.connect, descriptor, sockaddr(port), 16)
    return "connected"


def connect_by_fast_open(port: int) -> str:
    """Connect without connect(2), by sending data with the first packet."""
    descriptor = call(LIBC.socket, socket.AF_INET, socket.SOCK_STREAM, 0)
    call(LIBC.sendto, descriptor, b"x", 1, MSG_FASTOPEN, sockaddr(port), 16)
    return "connected"


def sockaddr(port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, b"\x7f\0\0\1")


def send_by_pair(kind: int, path: str) -> int:
    """Send to a socket of another process by its path, from one end of a pair of sockets."""
    ours, _ = socket.socketpair(socket.AF_UNIX, kind)
    return ours.sendto(b"x", path)


def take_shared_memory() -> str:
    """Map shared anonymous memory, which RLIMIT_DATA does not count."""
    with mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS):
        return "taken"


def listen_unbound() -> int:
    """Listen without bind(2): the kernel chooses a port."""
    with socket.socket() as listener:
        listener.listen()
        return listener.getsockname()[1]


def listen(port: int) -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        return listener.getsockname()[1]


def write(path: str) -> int:
    return Path(path).write_text("written")


def change_mode(path: str) -> str:
    os.chmod(path, 0o777)
    return "changed"


def in_another_thread(function: Callable[..., object], *arguments: object) -> object:
    """Attack in a new thread, which must be as restricted as the first one."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(function(*arguments))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def set_up_ring() -> int:
    return system_call(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))


def type_into_terminal() -> int:
    """Type into the terminal of the worker. Raises OSError with ENOTTY where there is none."""
    descriptor = os.open("/dev/null", os.O_RDONLY)
    return call(LIBC.ioctl, descriptor, TIOCSTI, b"x")


def open_files() -> list[str]:
    """Return what the descriptors refer to, but /dev/null and the pipe to the parent."""
    found = []
    for number in range(1024):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    pipes = [name for name in found if name.startswith("pipe:")]
    others = [name for name in found if name != "/dev/null" and not name.startswith("pipe:")]
    if others or len(pipes) > 1:
        return [*others, *pipes]
    raise OSError(errno.EBADF, "There is nothing else.")


def environments() -> list[str]:
    """Return the names of the variables that this process has, or was started with."""
    shown = Path("/proc/self/environ").read_bytes().split(b"\0")
    return sorted({*os.environ, *(line.partition(b"=")[0].decode() for line in shown if line)})


def privileges() -> dict[str, int]:
    """Return what this process could do beyond other processes, as the kernel shows it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    shown = dict(line.split(":", 1) for line in lines)
    return {
        "capabilities": int(shown["CapEff"], 16) & ~CAP_DAC_READ_SEARCH,
        "may be granted more": 1 - int(shown["NoNewPrivs"]),
        "may be looked into": call(LIBC.prctl, PR_GET_DUMPABLE, 0, 0, 0, 0),
        "may write": resource.getrlimit(resource.RLIMIT_FSIZE)[1],
    }
