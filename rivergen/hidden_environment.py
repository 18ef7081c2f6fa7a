"""The environment variables of this process, hidden from other processes.

Linux shows the variables that a program was started with in /proc/PID/environ, even after the
program has deleted them. So each process starts its own program again, without variables, and
passes them on in a file in memory. `os.environ` then has all of them except the secrets of the
service, which no child process may inherit.

Standard library only: this runs before everything else, twice.
"""

import fcntl
import json
import os
import re
import resource
import sys
from pathlib import Path

from rivergen.libc import PR_SET_DUMPABLE, prctl

# Each can also be in a file, whose path is in the variable NAME_FILE.
SECRETS = (
    "DATABASE_REPLICA_URL",
    "DATABASE_URL",
    "ENCRYPTION_KEYS",
    "METRICS_TOKEN",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
)
# These are read before any code of this project runs: by the loader, Python and gunicorn.
KEPT = re.compile(
    r"(LC|LD|MALLOC)_\w+|PYTHON[A-Z0-9]+|GLIBC_TUNABLES|GUNICORN_CMD_ARGS|HOME|LANG|PATH|TZ"
)
# The descriptor of the file in memory. Set only if the variables were passed on.
DESCRIPTOR = "RIVERGEN_VARIABLES_FD"
# 0 to 2 are the standard streams, even if the process was started without them.
DESCRIPTOR_MIN = 3

_secrets: dict[str, str] = {}


def hide_environment() -> None:
    """Start this program again with hidden variables; the second time, read them and return.

    The process keeps its id, its parent, its signals and its open files.
    """
    if sys.platform != "linux":
        return
    if DESCRIPTOR not in os.environ:
        environment, _ = hand_over()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    with open(int(os.environ.pop(DESCRIPTOR)), encoding="ascii") as file:
        os.environ.update(json.load(file))
    for name in SECRETS:
        if name in os.environ:
            _secrets[name] = os.environ.pop(name)
    hide_memory()


def hand_over() -> tuple[dict[str, str], int]:
    """Return what a new process gets in place of the variables of this one.

    That is its environment, without secrets, and a descriptor that it must inherit.
    """
    memory = os.memfd_create("variables")
    descriptor = fcntl.fcntl(memory, fcntl.F_DUPFD, DESCRIPTOR_MIN)
    os.close(memory)
    with open(descriptor, "w", encoding="ascii", closefd=False) as file:
        json.dump({**os.environ, **_secrets}, file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    kept = {name: text for name, text in os.environ.items() if KEPT.fullmatch(name)}
    return {**kept, DESCRIPTOR: str(descriptor)}, descriptor


def hide_memory() -> None:
    """Forbid other processes of the same user to read this process or to attach to it.

    Also forbids core dumps. Lasts in forked processes, until they start another program.
    """
    prctl(PR_SET_DUMPABLE, 0)
    # For the programs that this process starts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def secret_variable(name: str) -> str:
    """Return a secret that was given as a variable, or an empty string."""
    return _secrets.get(name) or os.environ.get(name, "")


def secret_file(name: str) -> Path | None:
    """Return the path of the file in which a secret is, if it was given as a file."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path) if path else None


def is_secret_set(name: str) -> bool:
    """Return whether a secret was given, as a variable or as a file."""
    return bool(secret_variable(name) or secret_file(name))
