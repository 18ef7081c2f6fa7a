"""Holds a driver written in C to one address, since the guard sees Python's own sockets only.

By seccomp's user notifications (seccomp_unotify(2), Linux 5.5): the kernel has each connect(2) of
one thread wait until another thread, which reads the address, lets it go on or fail.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from datasources.connections.failures import Code, ConnectionFailure

Result = TypeVar("Result")


class SystemCalls(NamedTuple):
    """The numbers of the two that are needed."""

    seccomp: int
    connect: int


class Target(NamedTuple):
    """An IP address, packed, and a port."""

    address: bytes
    port: int


SYSTEM_CALLS = {"x86_64": SystemCalls(317, 42), "aarch64": SystemCalls(277, 203)}

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1

INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NOTIFICATION = struct.Struct("Q8x8x8xQQQ24x")  # struct seccomp_notif: its id, three arguments
RESPONSE = struct.Struct("QqiI")  # struct seccomp_notif_resp: id, value, error, flags
SOCKADDR: dict[int, struct.Struct] = {  # struct sockaddr_in, sockaddr_in6: port and address
    socket.AF_INET: struct.Struct("!2xH4s"),
    socket.AF_INET6: struct.Struct("!2xH4x16s"),
}

LIBC = ctypes.CDLL(None, use_errno=True)


def confined(function: Callable[[], Result], address: str, port: int) -> Result:
    """Call a function that can connect to this IP address and port, and to nothing else.

    It runs in a thread of its own; what it gives can be used in any. Raises what it raises;
    ConnectionFailure if it fails after it tried to get elsewhere, or, without calling it, where the
    kernel cannot do this.
    """
    listener: Future[int] = Future()
    result: Future[Result] = Future()
    alive, ended = socket.socketpair()

    def run() -> None:
        with alive:
            try:
                listener.set_result(_have_connects_wait())
            except OSError:
                listener.set_exception(ConnectionFailure(Code.DRIVER_MISSING))
                return
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

    thread = Thread(target=run, name="confined", daemon=True)
    thread.start()
    allowed = Target(ip_address(address.partition("%")[0]).packed, port)
    # Once the listener is closed, whoever waits or comes later is refused.
    with ended, open(listener.result(), "rb+", buffering=0) as notifications:
        is_refused = _judge(notifications.fileno(), ended.fileno(), allowed)
    thread.join()
    if is_refused and result.exception():
        raise ConnectionFailure(Code.EGRESS_DENIED)
    return result.result()


def _have_connects_wait() -> int:
    """Let each connect(2) of this thread wait from now on; give where to hear of them.

    Raises OSError.
    """
    if platform.machine() not in SYSTEM_CALLS:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    calls = SYSTEM_CALLS[platform.machine()]
    instructions = (
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, 0, 1, calls.connect),
        (RETURN, 0, 0, SECCOMP_RET_USER_NOTIF),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*i) for i in instructions))
    header = struct.pack("HP", len(instructions), ctypes.addressof(program))
    _call(LIBC.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # what an ordinary user has to do before
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER
    return _call(LIBC.syscall, calls.seccomp, SECCOMP_SET_MODE_FILTER, flags, header)


def _call(function: Any, *arguments: int | bytes) -> int:
    """Call a function of C. Raises OSError."""
    result: int = function(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _judge(listener: int, ended: int, allowed: Target) -> bool:
    """Let connects to one target go on until the thread has ended; say if others were refused."""
    is_refused = False
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while [number for number, _ in poll.poll()] == [listener]:
        notification = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notification)
            call, _, sockaddr, length = NOTIFICATION.unpack(notification)
            target = _read_target(ctypes.string_at(sockaddr, length))
            if target == allowed:
                answer = RESPONSE.pack(call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            else:
                answer = RESPONSE.pack(call, 0, -errno.EACCES, 0)
                # A socket of this machine, as of a name service, is no attempt to get elsewhere.
                is_refused |= target is not None
            fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer)
        except FileNotFoundError:  # a signal has ended the call, which will be made again
            continue
    return is_refused


def _read_target(sockaddr: bytes) -> Target | None:
    """Give where a connect(2) goes to, if it is an IP address."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    if family not in SOCKADDR:
        return None
    port, address = SOCKADDR[family].unpack_from(sockaddr)
    return Target(address, port)
