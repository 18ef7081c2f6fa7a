"""Restrict this process to some files and TCP ports, by Landlock (landlock(7), Linux 5.13).

The restriction holds for the calling thread and the threads that it starts. Of processes outside
it, such a thread can also read no memory and no file below /proc, and send them no signal.
"""

import os
import stat
import struct
import sys
from collections.abc import Collection, Iterable

from rivergen.libc import LIBC, system_call

# The numbers of these system calls are the same on all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2

WRITE_FILE, READ_FILE, READ_DIRECTORY = 1 << 1, 1 << 2, 1 << 3
BIND_TCP, CONNECT_TCP = 1, 2
# What each version of Landlock can forbid. Whatever is named here is forbidden, except by a rule.
FILE_ACCESS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
SCOPES = {6: 0b11}  # abstract Unix sockets, and signals
TCP_VERSION, SCOPE_VERSION = 4, 6


def version() -> int:
    """Return the version of Landlock that the kernel supports; 0 if it does not."""
    if sys.platform != "linux":
        return 0
    return max(LIBC.syscall(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION), 0)


def restrict(
    readable: Iterable[str | int], writable: Iterable[str], ports: Collection[int] | None
) -> None:
    """Forbid all files but these, and TCP connections to other ports, as the kernel supports it.

    `readable` holds paths, and descriptors, which this closes; a folder stands for all that is
    below it. Paths that do not exist are skipped. `ports` None allows all. Binding TCP sockets is
    forbidden. Needs PR_SET_NO_NEW_PRIVS. Raises OSError.
    """
    supported = version()
    if not supported:
        return
    files = sum(access for since, access in FILE_ACCESS.items() if since <= supported)
    scopes = sum(scope for since, scope in SCOPES.items() if since <= supported)
    network = BIND_TCP if ports is None else BIND_TCP | CONNECT_TCP
    if supported < TCP_VERSION:
        network, ports = 0, None
    attributes = struct.pack("QQQ", files, network, scopes)
    ruleset = system_call(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow_path(ruleset, path, READ_FILE)
        for path in writable:
            _allow_path(ruleset, path, READ_FILE | WRITE_FILE)
        for port in ports or ():
            system_call(ADD_RULE, ruleset, RULE_NET_PORT, struct.pack("QQ", CONNECT_TCP, port), 0)
        system_call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: str | int, access: int) -> None:
    """Allow access to a file, or to all that is in a folder, if it exists."""
    try:
        found = path if isinstance(path, int) else os.open(path, os.O_PATH)
    except OSError:
        return
    try:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            access |= READ_DIRECTORY
        system_call(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", access, found), 0)
    finally:
        os.close(found)
