"""Functions of the C library that Python does not offer. Linux only; standard library only."""

import ctypes
import os
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
# Options of prctl(2), from linux/prctl.h.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38


def call(function: Any, *arguments: object) -> int:
    """Call a C function whose integers are long. Return its result; raise OSError if it failed."""
    result: int = function(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def system_call(number: int, *arguments: object) -> int:
    """Make a system call by its number. Return its result; raise OSError if it failed."""
    return call(LIBC.syscall, number, *arguments)


def prctl(option: int, value: int) -> None:
    """Set an option of this process or thread (prctl(2)). Raises OSError."""
    call(LIBC.prctl, option, value, 0, 0, 0)
