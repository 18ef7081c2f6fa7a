"""Ending a process together with its parent, even if the parent is killed."""

import os
import signal
import sys

from rivergen.libc import PR_SET_PDEATHSIG, prctl


def end_with_parent(parent: int) -> None:
    """Ask the kernel to send SIGTERM to this process when its parent, `parent`, ends.

    The signal is sent when the parent's thread that forked ends, so that thread must last as long
    as the parent. The setting survives exec(). Only Linux has it; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent has already ended
        os.kill(os.getpid(), signal.SIGTERM)
