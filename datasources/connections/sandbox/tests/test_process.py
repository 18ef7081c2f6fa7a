"""The sandbox process of an attempt: timeouts, crashes, and that nothing of it remains."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from unittest import mock

import psutil
from django.conf import settings
from django.test import SimpleTestCase

from datasources.connections.failures import Code
from datasources.connections.outcome import no_outcome
from datasources.connections.sandbox.attempt import Progress, attempt_in_child
from datasources.connections.sandbox.lockdown import MEMORY_MAX_BYTES
from datasources.connections.sandbox.messages import MESSAGE_MAX_BYTES, Messages
from datasources.connections.sandbox.process import CONTEXT, STARTER, start_forkserver
from datasources.connections.testing.connectors import LOOPBACK_POLICY, configuration_to
from rivergen.testing.services import free_port

PATIENCE_SECONDS = 30

# A small worker, to be killed while its child waits for the server.
WORKER = """
import asyncio, sys
from datasources.connections.sandbox.attempt import attempt_in_child
from datasources.connections.testing.connectors import LOOPBACK_POLICY, configuration_to

if __name__ == "__main__":
    configuration = configuration_to("oracle", int(sys.argv[1]), connection_timeout=10)
    asyncio.run(attempt_in_child(configuration, LOOPBACK_POLICY))
"""


def attempt(type_name, port, connection_timeout=1):
    """Test a connection to a port of this machine in a child process."""
    configuration = configuration_to(type_name, port, connection_timeout=connection_timeout)
    return attempt_in_child(configuration, LOOPBACK_POLICY)


class SilentServer:
    """A server that sends nothing. `accept` waits until a child has connected."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._clients = []
        return self

    def __exit__(self, *error):
        for opened in [self._listener, *self._clients]:
            opened.close()

    async def accept(self):
        async with asyncio.timeout(PATIENCE_SECONDS):
            client, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        self._clients.append(client)


def open_descriptors():
    """Return what the descriptors of this process refer to."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


def children():
    """Return the processes of attempts, which are children of the fork server."""
    descendants = psutil.Process().children(recursive=True)
    return [process for process in descendants if process.parent().ppid() == os.getpid()]


class SandboxTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        start_forkserver()
        STARTER.submit(bool).result()  # the executor's thread stays until the process ends

    def setUp(self):
        self.server = self.enterContext(SilentServer())

    def test_silent_server_times_out_in_the_stage_that_waits_for_it(self):
        waiting = {
            "clickhouse": "login",
            "mongodb": "login",
            "mssql": "login",
            "mysql": "login",
            "oracle": "login",
            "postgresql": "tls",
        }
        for type_name, stage in waiting.items():
            with self.subTest(type_name):
                outcome = asyncio.run(attempt(type_name, self.server.port))
                self.assertEqual(outcome["code"], "DEADLINE")
                passed = [(stage["stage"], stage["ok"]) for stage in outcome["stages"]]
                self.assertEqual(
                    passed, [("policy", True), ("dns", True), ("tcp", True), (stage, False)]
                )

    def test_driver_that_ignores_its_timeout_is_killed(self):
        outcome = asyncio.run(attempt("oracle", self.server.port))
        self.assertEqual(outcome["code"], "DEADLINE")
        self.assertGreater(outcome["stages"][-1]["milliseconds"], 1200)

    def test_child_has_limits_of_memory_and_core_dumps(self):
        async def look():
            running = asyncio.create_task(attempt("oracle", self.server.port, 30))
            await self.server.accept()
            [child] = children()
            limits = [child.rlimit(kind) for kind in (psutil.RLIMIT_DATA, psutil.RLIMIT_CORE)]
            running.cancel()
            await asyncio.wait([running])
            return limits

        self.assertEqual(asyncio.run(look()), [(MEMORY_MAX_BYTES, MEMORY_MAX_BYTES), (0, 0)])

    def test_attempt_leaves_no_process_thread_or_descriptor(self):
        async def attempt_twice():
            before = open_descriptors()
            await asyncio.gather(
                attempt("oracle", self.server.port),
                attempt("postgresql", free_port()),
            )
            self.assertEqual(children(), [])
            self.assertEqual(open_descriptors(), before)

        threads = {*threading.enumerate()}
        asyncio.run(attempt_twice())
        self.assertEqual({*threading.enumerate()} - threads, set())

    def test_child_that_is_killed_counts_as_driver_crash(self):
        async def kill_it():
            running = asyncio.create_task(attempt("mysql", self.server.port, 30))
            await self.server.accept()
            [child] = children()
            child.send_signal(signal.SIGKILL)
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await running

        outcome = asyncio.run(kill_it())
        self.assertEqual(outcome["code"], "DRIVER_CRASHED")
        self.assertFalse(outcome["stages"][-1]["ok"])

    def test_incomplete_message_of_a_child_does_not_block_the_parent(self):
        is_over, outcome = self.send(b'{"running": "tcp", "passed": []}\n{"outc')
        self.assertFalse(is_over)
        self.assertEqual(outcome["stages"][0]["stage"], "tcp")

    def test_malformed_message_of_a_child_ends_the_attempt(self):
        outcome = no_outcome("SSH_HOST_KEY_UNCONFIRMED")
        malformed = (b"words\n", b"{}\n", b"[]\n", b'{"outcome": 1}\n', b"[" * 9999 + b"\n")
        host_key = json.dumps({"outcome": outcome | {"ssh_host_key": f"ssh-rsa {'A' * 9999}"}})
        malformed += (bytes(MESSAGE_MAX_BYTES), host_key.encode() + b"\n")
        for message in malformed:
            with self.subTest(message[:20]):
                self.assertEqual(self.send(message), (True, no_outcome("DEADLINE")))

    def test_warnings_of_a_child_are_known_and_bounded(self):
        sent = ["NOT_ENCRYPTED", "words of the server"] + ["PASSWORD_IN_CLEAR"] * 999
        message = json.dumps({"outcome": no_outcome("OK") | {"warnings": sent}})
        _, outcome = self.send(message.encode() + b"\n")
        self.assertEqual(outcome["warnings"], ["PASSWORD_IN_CLEAR", "NOT_ENCRYPTED"])

    def send(self, message):
        """Send a message as a sandbox child; return whether the attempt ended, and the outcome."""

        async def listen():
            receiver, sender = CONTEXT.Pipe(duplex=False)
            with receiver, sender:
                progress = Progress(1)
                messages = Messages(receiver, progress)
                os.write(sender.fileno(), message)
                await asyncio.wait_for(messages.wait(), PATIENCE_SECONDS)
                messages.close()
                return messages.is_over, progress.outcome(Code.DEADLINE)

        return asyncio.run(listen())

    def test_cancelling_an_attempt_kills_its_child(self):
        async def cancel_it():
            running = asyncio.create_task(attempt("oracle", self.server.port, 30))
            await self.server.accept()
            found = children()
            running.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await running
            return found

        [child] = asyncio.run(cancel_it())
        self.assertFalse(child.is_running())
        self.assertEqual(children(), [])

    def test_child_ends_after_its_parent_was_killed(self):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self.server.port)],
            cwd=settings.BASE_DIR,
            stderr=subprocess.DEVNULL,
        )
        asyncio.run(self.server.accept())
        left = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        worker.wait()
        self.assertGreaterEqual(len(left), 2)
        _, alive = psutil.wait_procs(left, timeout=PATIENCE_SECONDS)
        self.assertEqual(alive, [])

    def test_environment_of_a_child_has_only_harmless_variables(self):
        harmful = ("DATABASE_URL", "SECRET_KEY", "ENCRYPTION_KEYS", "PGHOST", "PGPASSWORD")
        harmful += ("HTTP_PROXY", "https_proxy", "HOME", "TNS_ADMIN", "SSH_AUTH_SOCK")
        harmless = {"PATH": "/bin", "TZ": "UTC", "AWS_REGION": "eu-1"}
        environment = dict.fromkeys(harmful, "x") | harmless
        with mock.patch.dict(os.environ, environment, clear=True):
            keep_harmless_variables()
            self.assertEqual(dict(os.environ), harmless)
            # C libraries bypass os.environ, so look at the environment that a new process inherits.
            shown = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True)
        names = {line.partition("=")[0] for line in shown.stdout.splitlines()}
        self.assertLessEqual(harmless.keys(), names)
        self.assertTrue(names.isdisjoint(harmful), names)
