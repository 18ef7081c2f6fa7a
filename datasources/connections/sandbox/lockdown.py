"""Restrict a child to what its source needs, before it runs any driver.

Each restriction is enforced by the kernel, so it holds for drivers written in C as well. Where a
kernel does not support one, the others hold; `missing_restrictions` names it.
"""

import contextlib
import ctypes
import os
import resource
import ssl
import struct
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from django.conf import settings

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.files.storage import find_file, store_files
from datasources.connections.route import reserve_ports
from datasources.connections.sandbox import landlock
from datasources.connections.sandbox.system_calls import is_supported, system_call_filter
from rivergen.libc import LIBC, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, call, prctl

CAPABILITY_VERSION = 0x20080522
CAP_DAC_READ_SEARCH = 2

# A server can send more than the machine can hold. DuckDB alone takes half of this for a file.
MEMORY_MAX_BYTES = 1024**3
DESCRIPTORS_MAX = 256
# RLIMIT_NPROC counts all threads of the user on the machine, so it is set relative to those.
THREADS_MAX = 1024

ROOT = Path(__file__).parents[3]
PACKAGES = ("datasources", "rivergen")
READABLE = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    # The resolver
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols"),
    # Certificates; not all of /etc/ssl, which also has private keys
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/usr/share/ca-certificates"),
    *("/usr/local/share/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"),
    # Time zones, locales, types of files, and libraries
    *("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/usr/share/locale"),
    *("/etc/mime.types", "/etc/ld.so.cache"),
    # What libraries ask about processors and memory
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"),
    *("/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
    *("/dev/random", "/dev/urandom"),
)


def lock_down(configuration: Configuration, kept: int) -> None:
    """Restrict this process, which has one thread, to what the type of its source needs.

    `kept` is the only descriptor that stays open. Raises OSError if the kernel refuses a
    restriction that it supports.
    """
    if sys.platform != "linux":  # for development only; `doctor` says what is missing
        return
    close_descriptors(kept)
    limit_resources()
    drop_capabilities()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    os.chdir("/proc/self")  # otherwise the kernel could drop the entry that the rule is about
    ports = reserve_ports(CONNECTORS[configuration.type], configuration)
    landlock.restrict(readable(configuration), [os.devnull], ports)
    if (rules := system_call_filter()) is not None:
        rules.load()


def prepare() -> None:
    """Prepare the process that children are forked from: it has nothing worth reading, either."""
    if sys.platform == "linux":
        prctl(PR_SET_DUMPABLE, 0)
        system_call_filter()


def missing_restrictions() -> list[str]:
    """Return the restrictions that this machine does not support, in words."""
    version = landlock.version()
    return [
        words
        for words, is_missing in (
            ("system calls (install libseccomp2)", not is_supported()),
            ("files (Landlock, Linux 5.13)", version < 1),
            ("TCP ports (Linux 6.7)", version < landlock.TCP_VERSION),
            ("signals and abstract sockets (Linux 6.12)", version < landlock.SCOPE_VERSION),
        )
        if is_missing
    ]


def close_descriptors(kept: int) -> None:
    """Point every descriptor but one to /dev/null, so that no inherited number gets a new use."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number != kept:
            with contextlib.suppress(OSError):  # that of the listing itself is closed
                os.fstat(number)
                os.dup2(null, number, inheritable=False)


def limit_resources() -> None:
    """Limit memory, threads and descriptors; let the kernel kill this process first."""
    # A process that is not dumpable may not write to its files below /proc.
    prctl(PR_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The fourth field of loadavg is "running/existing" threads of the machine.
    threads = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2]) + THREADS_MAX
    for kind, most in (
        (resource.RLIMIT_DATA, MEMORY_MAX_BYTES),
        (resource.RLIMIT_CORE, 0),  # a core dump would contain the secrets
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (resource.RLIMIT_NPROC, threads),
    ):
        hard = resource.getrlimit(kind)[1]
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (lowered, lowered))


def drop_capabilities() -> None:
    """Drop all capabilities of this process, except the one to read files of other users."""
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable: 32 bits each, twice
    call(LIBC.capget, header, sets)
    permitted = struct.unpack_from("=I", sets, 4)[0] & 1 << CAP_DAC_READ_SEARCH
    call(LIBC.capset, header, struct.pack("=6I", permitted, permitted, 0, 0, 0, 0))


def readable(configuration: Configuration) -> Iterator[str | int]:
    """Yield what the child may read: code, the system's data, and the file of the source."""
    yield from READABLE
    yield from code_folders(sys.path)
    certificates = ssl.get_default_verify_paths()
    yield from filter(None, (certificates.cafile, certificates.capath))
    yield "/proc/self"
    if not CONNECTORS[configuration.type].reads_storage:
        return
    if settings.STORAGE_URL:
        yield from store_files()
    elif configuration.file_path:
        with contextlib.suppress(OSError, ValueError):  # the work will report it
            yield find_file(configuration.file_path)


def code_folders(search_path: Collection[str]) -> Iterator[str]:
    """Yield the folders of Python's libraries and of our own code.

    Not a folder that contains our checkout: it may also have keys, a database, and files.
    """
    yield from (str(ROOT / package) for package in PACKAGES)
    yield os.path.join(sys.base_prefix, "lib")
    for folder in map(os.path.realpath, search_path):
        if not ROOT.is_relative_to(folder):
            yield folder
