"""A hostile driver in a child that was started as for a connection test: it gets nothing."""

import ast
import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from datasources.connections.configuration import Configuration
from datasources.connections.sandbox.process import run_in_child, start_forkserver
from datasources.connections.testing import hostile
from datasources.connections.testing.connectors import LOOPBACK_POLICY, configuration_to
from datasources.connections.testing.files import SECRET, write_files

SECONDS = 20
KEYS = ("SECRET_KEY", "DATABASE_URL", "ENCRYPTION_KEYS", "AWS_SECRET_ACCESS_KEY", "HOME")


FIRST_CHILD = """
from datasources.connections.sandbox.tests.test_hostile_child import let_attack
from datasources.connections.testing import hostile
from datasources.connections.testing.connectors import configuration_to

if __name__ == "__main__":
    print(let_attack(configuration_to("postgresql", 1), hostile.environments))
"""


class Loot:
    """A listener that keeps the only message of a hostile child."""

    seconds = seconds_max = SECONDS
    is_over = False

    def __init__(self):
        self.message = {}

    def take(self, message):
        self.message = message
        self.is_over = True


def let_attack(configuration, attack, *arguments):
    """Run an attack in a child of the sandbox. Return its message: `loot` or `refused`."""
    work = partial(hostile.attack_and_send, attack, arguments)
    loot = Loot()
    asyncio.run(run_in_child(work, configuration, LOOPBACK_POLICY, loot))
    return loot.message


class HostileChildTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        start_forkserver()
        cls.server, cls.other = (
            cls.enterClassContext(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        cls.port, cls.other_port = (one.getsockname()[1] for one in (cls.server, cls.other))

    def setUp(self):
        self.root = Path(self.enterContext(TemporaryDirectory())).resolve()
        for organization in ("1", "2"):
            write_files(self.root / organization)
        self.enterContext(override_settings(STORAGE_ROOT=self.root, STORAGE_URL=None))
        self.of_server = configuration_to("postgresql", self.port)
        self.of_file = Configuration("csv", file_path="1/csv")

    def assert_refused(self, attack, *arguments, configuration=None):
        for given in [configuration] if configuration else [self.of_server, self.of_file]:
            with self.subTest(attack.__name__, arguments=arguments, type=given.type):
                message = let_attack(given, attack, *arguments)
                self.assertEqual([*message], ["refused"], message)
                self.assertIn("Error", message["refused"])

    def assert_gets(self, loot, configuration, attack, *arguments):
        message = let_attack(configuration, attack, *arguments)
        self.assertEqual(message, {"loot": repr(loot)})

    def test_child_has_no_key_in_its_environment(self):
        given = dict.fromkeys(KEYS, "secret")
        with mock.patch.dict(os.environ, given):
            for configuration in (self.of_server, self.of_file):
                message = let_attack(configuration, hostile.environments)
                self.assertIn("'PATH'", message["loot"])
                for name in KEYS:
                    self.assertNotIn(f"'{name}'", message["loot"])

    def test_only_files_in_an_object_store_get_cloud_keys(self):
        given = {"AWS_SECRET_ACCESS_KEY": "secret", "SECRET_KEY": "secret"}
        with mock.patch.dict(os.environ, given), override_settings(STORAGE_URL=("bucket", "")):
            names = let_attack(self.of_file, hostile.environments)["loot"]
            self.assertIn("'AWS_SECRET_ACCESS_KEY'", names)
            self.assertNotIn("'SECRET_KEY'", names)
            names = let_attack(self.of_server, hostile.environments)["loot"]
            self.assertNotIn("AWS_", names)

    def test_fork_server_starts_without_the_keys_of_its_parent(self):
        # Without `start_forkserver`, as the first child starts it; its variables stay in /proc.
        shown = subprocess.run(
            [sys.executable, "-c", FIRST_CHILD],
            cwd=settings.BASE_DIR,
            env={**os.environ, **dict.fromkeys(KEYS[3:], "x"), "PGPASSWORD": "x"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.assertIn("'PATH'", shown)
        for name in (*KEYS, "PGPASSWORD", "DJANGO_SETTINGS_MODULE"):
            self.assertNotIn(f"'{name}'", shown)

    def test_child_reads_its_own_file_only(self):
        self.assert_gets(
            (self.root / "1/csv").read_bytes(), self.of_file, hostile.read, f"{self.root}/1/csv"
        )
        for path in ("1/json", "2/csv"):
            self.assert_refused(hostile.read, f"{self.root}/{path}")
        self.assert_refused(hostile.read, f"{self.root}/1/csv", configuration=self.of_server)

    def test_child_reads_no_file_through_a_link_that_leaves_the_folder(self):
        (self.root / "1/link").symlink_to("../2/csv")
        configuration = Configuration("csv", file_path="1/link")
        for path in ("1/link", "2/csv"):
            self.assert_refused(hostile.read, f"{self.root}/{path}", configuration=configuration)

    def test_child_reads_no_private_file(self):
        with TemporaryDirectory(dir=settings.BASE_DIR) as folder:
            (Path(folder) / "secret_key").write_text(SECRET)
            self.assert_refused(hostile.read, f"{folder}/secret_key")
        for path in ("/etc/passwd", "/etc/shadow", "/proc/1/environ", settings.BASE_DIR / ".git"):
            self.assert_refused(hostile.read, str(path))
        self.assert_refused(os.listdir, str(settings.BASE_DIR))

    def test_child_reads_nothing_of_other_processes(self):
        buffer = ctypes.create_string_buffer(SECRET.encode(), 64)
        address = ctypes.addressof(buffer)
        pid = os.getpid()
        for name in ("environ", "maps", "cmdline", "status", "fd/0", "root/etc/hostname"):
            self.assert_refused(hostile.read, f"/proc/{pid}/{name}")
            self.assert_refused(hostile.read, f"/proc/{pid}/task/{pid}/{name}")
        self.assert_refused(os.listdir, f"/proc/{pid}/fd")
        self.assert_refused(os.listdir, "/proc")
        self.assert_refused(hostile.read_memory, pid, address)
        for function in ("process_vm_readv", "process_vm_writev"):
            self.assert_refused(hostile.vm_transfer, function, pid, address)
        self.assert_refused(hostile.attach, pid)
        self.assert_refused(hostile.steal_descriptor, pid)

    def test_child_reaches_no_other_process_by_signals_or_limits(self):
        pid = os.getpid()
        for number in (0, signal.SIGWINCH):
            self.assert_refused(os.kill, pid, number)
        self.assert_refused(os.killpg, os.getpgid(0), 0)
        self.assert_refused(os.kill, -1, 0)
        self.assert_refused(hostile.signal_by_pidfd, pid)
        self.assert_refused(hostile.signal_by_descriptor, pid)
        self.assert_refused(hostile.limit, pid)
        self.assert_refused(hostile.slow_down, pid)
        self.assert_refused(hostile.pin, pid)

    def test_child_runs_no_other_program(self):
        self.assert_refused(hostile.run_by_subprocess)
        self.assert_refused(hostile.run_by_system)
        self.assert_refused(hostile.run_by_posix_spawn)
        self.assert_refused(hostile.run_in_place)
        self.assert_refused(hostile.run_from_memory)
        self.assert_refused(hostile.fork)
        self.assert_refused(hostile.fork_by_clone3)

    def test_child_opens_only_sockets_of_tcp_and_udp(self):
        inet, stream, datagram = socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
        for arguments in (
            (socket.AF_UNIX, stream),
            (socket.AF_UNIX, datagram),
            (socket.AF_NETLINK, socket.SOCK_RAW),
            (socket.AF_PACKET, socket.SOCK_RAW),
            (socket.AF_VSOCK, stream),
            (socket.AF_ALG, socket.SOCK_SEQPACKET),
            (inet, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            (inet, datagram, socket.IPPROTO_ICMP),
            (inet, stream, hostile.MPTCP),
            (inet, stream, hostile.SCTP),
            (inet, datagram, hostile.UDPLITE),
        ):
            self.assert_refused(hostile.open_socket, *arguments)

    def test_child_sends_nothing_to_sockets_of_other_processes(self):
        path = f"{self.root}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(path)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
                self.assert_refused(hostile.send_by_pair, kind, path)
        self.assert_refused(hostile.send_by_pair, socket.SOCK_SEQPACKET, path)

    def test_child_takes_no_memory_beyond_its_limit(self):
        self.assert_refused(hostile.take_shared_memory)

    def test_child_connects_to_the_port_of_its_source_only(self):
        self.assert_gets("connected", self.of_server, hostile.connect, self.port)
        self.assert_refused(hostile.connect, self.port, configuration=self.of_file)
        self.assert_refused(hostile.connect, self.other_port)
        self.assert_refused(hostile.connect, self.other_port, hostile.MPTCP)
        self.assert_refused(hostile.connect_by_fast_open, self.other_port)

    def test_child_listens_on_no_port(self):
        self.assert_refused(hostile.listen_unbound)
        self.assert_refused(hostile.listen, 0)
        self.assert_refused(hostile.listen, self.port)

    def test_child_writes_and_changes_no_file(self):
        for path in (self.root / "1/csv", self.root / "1/new", Path("/tmp/new")):
            self.assert_refused(hostile.write, str(path))
        self.assert_refused(hostile.change_mode, f"{self.root}/1/csv")
        self.assert_refused(os.unlink, f"{self.root}/1/csv")
        self.assert_refused(os.rename, f"{self.root}/1/csv", f"{self.root}/1/gone")
        self.assert_refused(os.truncate, f"{self.root}/1/csv", 0)
        self.assert_refused(os.mkdir, f"{self.root}/1/new")
        self.assert_refused(os.symlink, "csv", f"{self.root}/1/new")
        self.assert_refused(os.utime, f"{self.root}/1/csv")

    def test_child_has_no_descriptor_but_its_pipe(self):
        self.assert_refused(hostile.open_files)

    def test_child_uses_no_dangerous_interface_of_the_kernel(self):
        self.assert_refused(hostile.unshare)
        self.assert_refused(hostile.set_up_ring)
        self.assert_refused(hostile.type_into_terminal)

    def test_child_has_no_privileges(self):
        message = let_attack(self.of_server, hostile.privileges)
        self.assertEqual({*ast.literal_eval(message["loot"]).values()}, {0}, message)

    def test_another_thread_of_a_child_is_restricted_too(self):
        thread = hostile.in_another_thread
        self.assert_refused(thread, hostile.read, f"{self.root}/2/csv")
        self.assert_refused(thread, hostile.run_by_posix_spawn)
        self.assert_refused(thread, hostile.connect, self.other_port)
        self.assert_refused(thread, os.kill, os.getpid(), 0)
