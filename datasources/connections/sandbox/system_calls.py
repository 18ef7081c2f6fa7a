"""The system calls that a sandbox may make, as a seccomp filter: all others fail with EPERM.

Nothing here concerns another process, except by the connections that Landlock allows: no program,
no new process, no signal, no tracing, no shared memory, no change of a file. The values of
arguments are compared as the kernel reads them, in 32 bits.
"""

import errno
import fcntl
import functools
import mmap
import socket
from collections.abc import Iterator
from itertools import product
from typing import Any

ALLOWED = """
access arch_prctl brk capget clock_getres clock_gettime clock_nanosleep close close_range dup dup2
dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
exit exit_group faccessat faccessat2 fadvise64 fstat fstatfs futex futex_waitv getcpu getcwd
getdents getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority
getrandom getresgid getresuid getrlimit getrusage getsid gettid gettimeofday getuid lseek lstat
madvise membarrier mincore mlock mlock2 mprotect mremap msync munlock munmap nanosleep
newfstatat open openat openat2 pause pipe pipe2 poll ppoll prctl pread64 preadv preadv2 pselect6
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler
sched_yield seccomp select sendfile set_robust_list set_tid_address setrlimit sigaltstack splice
stat statfs statx sysinfo tee time timerfd_create timerfd_gettime timerfd_settime times umask
uname write writev accept accept4 bind connect getpeername getsockname getsockopt recvfrom
recvmmsg recvmsg shutdown
"""

CLONE_THREAD = 0x10000
MSG_FASTOPEN = 0x20000000
UNKNOWN = -1  # __NR_SCMP_ERROR
INT = 0xFFFFFFFF
TYPE = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
# The commands that no terminal and no other process notices: F_SETOWN would send signals.
FCNTL = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
    *(fcntl.F_SETFL, fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
    *(fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW),
)
IOCTL = (
    *(0x5401, 0x5413, 0x541B, 0x5421),  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO
    *(0x5450, 0x5451),  # FIONCLEX, FIOCLEX
    *(0x8910, 0x8933),  # SIOCGIFNAME, SIOCGIFINDEX
    *(0xC0502100, 0xC0182101),  # SECCOMP_IOCTL_NOTIF_RECV and _SEND, for `confined`
)
# TCP_NODELAY to TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT. Not TCP_ULP, which changes the
# protocol of a socket, and not TCP_REPAIR, which connects without a handshake.
TCP_OPTIONS = (*range(1, 14), 18, 25)
OPTION_LEVELS = (socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.IPPROTO_UDP)

Compared = dict[int, tuple[int, int]]
"""The mask and the value of some arguments, by their position."""


def is_supported() -> bool:
    """Return whether libseccomp and its Python module are installed."""
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


@functools.cache
def system_call_filter() -> Any:
    """Return the filter, to be loaded by a process with one thread; None if not supported.

    Building takes longer than loading, so the process that children are forked from does it.
    """
    if not is_supported():
        return None
    from pyseccomp import ALLOW, ERRNO, MASKED_EQ, Arch, Arg, Attr, SyscallFilter, resolve_syscall

    rules = SyscallFilter(ERRNO(errno.EPERM))
    rules.set_attr(Attr.CTL_OPTIMIZE, 2)  # a binary search
    rules.add_rule(ERRNO(errno.ENOSYS), "clone3")  # its flags are in memory; libc then uses clone
    for name, compared in (*((name, {}) for name in ALLOWED.split()), *allowed_with_arguments()):
        # Older versions of libseccomp do not know the newest system calls.
        if resolve_syscall(Arch.NATIVE, name) != UNKNOWN:
            arguments = (Arg(number, MASKED_EQ, *given) for number, given in compared.items())
            rules.add_rule(ALLOW, name, *arguments)
    return rules


def allowed_with_arguments() -> Iterator[tuple[str, Compared]]:
    """Yield the system calls that are allowed if their arguments compare equal."""
    kinds = ((socket.SOCK_STREAM, socket.IPPROTO_TCP), (socket.SOCK_DGRAM, socket.IPPROTO_UDP))
    for family, (kind, protocol) in product((socket.AF_INET, socket.AF_INET6), kinds):
        for given in (0, protocol):
            yield "socket", {0: (INT, family), 1: (TYPE, kind), 2: (INT, given)}
    # asyncio wakes its loop by one. A pair of another kind could send to any socket by its path.
    yield "socketpair", {0: (INT, socket.AF_UNIX), 1: (TYPE, socket.SOCK_STREAM)}
    for flag in (mmap.MAP_SHARED, mmap.MAP_ANONYMOUS):  # not both: RLIMIT_DATA counts no shared one
        yield "mmap", {3: (flag, 0)}
    yield "clone", {0: (CLONE_THREAD, CLONE_THREAD)}
    yield "prlimit64", {0: (INT, 0)}  # the process itself
    for name, position in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield name, {position: (MSG_FASTOPEN, 0)}  # it would connect without connect(2)
    for name, commands in (("fcntl", FCNTL), ("ioctl", IOCTL), ("setsockopt", OPTION_LEVELS)):
        yield from ((name, {1: (INT, command)}) for command in commands)
    for option in TCP_OPTIONS:
        yield "setsockopt", {1: (INT, socket.IPPROTO_TCP), 2: (INT, option)}
