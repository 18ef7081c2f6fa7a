"""Restrict a driver written in C to one address: `guarded` sees the sockets of Python only.

Uses seccomp user notifications (seccomp_unotify(2), Linux 5.5): the kernel suspends each connect(2)
of one thread until another thread has read the address, and lets the call continue or fail.
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
from typing import NamedTuple, TypeVar

from datasources.connections.failures import Code, ConnectionFailure
from rivergen.libc import PR_SET_NO_NEW_PRIVS, prctl, system_call

Result = TypeVar("Result")


class SystemCalls(NamedTuple):
    """The numbers of the system calls, by architecture."""

    seccomp: int
    connect: int


class Target(NamedTuple):
    """A packed IP address and a port."""

    address: bytes
    port: int


SYSTEM_CALLS = {"x86_64": SystemCalls(317, 42), "aarch64": SystemCalls(277, 203)}

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1

INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NOTIFICATION = struct.Struct("Q8x8x8xQQQ24x")  # struct seccomp_notif: id and three arguments
RESPONSE = struct.Struct("QqiI")  # struct seccomp_notif_resp: id, value, error, flags
SOCKADDR: dict[int, struct.Struct] = {  # struct sockaddr_in, sockaddr_in6: port and address
    socket.AF_INET: struct.Struct("!2xH4s"),
    socket.AF_INET6: struct.Struct("!2xH4x16s"),
}


def confined(function: Callable[[], Result], address: str, port: int) -> Result:
    """Call a function that may connect to one IP address and port only. Return its result.

    The function runs in a separate thread. Raises what it raises, but ConnectionFailure
    (EGRESS_DENIED) if it fails after it tried to connect elsewhere. Raises ConnectionFailure
    (DRIVER_MISSING) without calling it where the kernel does not support the filter.
    """
    listener: Future[int] = Future()
    result: Future[Result] = Future()
    alive, ended = socket.socketpair()

    def run() -> None:
        with alive:
            try:
                listener.set_result(_suspend_connects())
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
    # Closing the listener makes all suspended and later calls fail.
    with ended, open(listener.result(), "rb+", buffering=0) as notifications:
        is_refused = _answer_connects(notifications.fileno(), ended.fileno(), allowed)
    thread.join()
    if is_refused and result.exception():
        raise ConnectionFailure(Code.EGRESS_DENIED)
    return result.result()


def _suspend_connects() -> int:
    """Suspend each connect(2) of this thread from now on. Return the descriptor for the answers.

    Raises OSError.
    """
    if platform.machine() not in SYSTEM_CALLS:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    calls = SYSTEM_CALLS[platform.machine()]
    instructions = (
        (LOAD, 0, 0, 0),  # the number of the system call
        (JUMP_IF_EQUAL, 0, 1, calls.connect),
        (RETURN, 0, 0, SECCOMP_RET_USER_NOTIF),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*i) for i in instructions))
    header = struct.pack("HP", len(instructions), ctypes.addressof(program))
    prctl(PR_SET_NO_NEW_PRIVS, 1)  # required for unprivileged users
    flags = SECCOMP_FILTER_FLAG_NEW_LISTENER
    return system_call(calls.seccomp, SECCOMP_SET_MODE_FILTER, flags, header)


def _answer_connects(listener: int, ended: int, allowed: Target) -> bool:
    """Allow only connects to `allowed`, until the thread ends. Return whether one failed."""
    is_refused = False
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while [number for number, _ in poll.poll()] == [listener]:
        notification = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notification)
            call, _, sockaddr, length = NOTIFICATION.unpack(notification)
            target = _parse_sockaddr(ctypes.string_at(sockaddr, length))
            if target == allowed:
                answer = RESPONSE.pack(call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            else:
                answer = RESPONSE.pack(call, 0, -errno.EACCES, 0)
                # Not for Unix sockets: a lookup by a local name service may fail quietly.
                is_refused |= target is not None
            fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer)
        except FileNotFoundError:  # a signal interrupted the call; it is repeated
            continue
    return is_refused


def _parse_sockaddr(sockaddr: bytes) -> Target | None:
    """Return the target of a connect(2), or None if it is not an IP address."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    if family not in SOCKADDR:
        return None
    port, address = SOCKADDR[family].unpack_from(sockaddr)
    return Target(address, port)
