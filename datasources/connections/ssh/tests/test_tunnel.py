import asyncio
import logging
import os
import pickle
import re
import select
import socket
import subprocess
import threading
import time
import traceback
from base64 import b64encode
from contextlib import ExitStack, contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from unittest import mock

import asyncssh
import psutil
from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.endpoint import Endpoint
from datasources.connections.failures import Code, ConnectionFailure, SSHHostKeyRefused
from datasources.connections.ssh import login as ssh_login
from datasources.connections.ssh.host_keys import fingerprint
from datasources.connections.ssh.login import log_in
from datasources.connections.ssh.tunnel import forwarded, listen, tunnel
from datasources.connections.stages import Stages
from datasources.connections.testing.openssh import (
    PATIENCE_SECONDS,
    OpenSSH,
    account,
    generate_key,
    require_password,
)
from rivergen.testing.services import free_port


class TunnelTestCase(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.username, cls.password = cls.enterClassContext(account())
        cls.server = cls.enterClassContext(OpenSSH())
        cls.echo_port = cls.enterClassContext(serving(Echo))

    def by_key(self, server=None, **fields):
        """Give a configuration to log in with a key, to a server whose key was confirmed."""
        server = server or self.server
        return Configuration(
            **{
                "type": "postgresql",
                "host": "127.0.0.1",
                "port": self.echo_port,
                "use_ssh_tunnel": True,
                "ssh_host": "127.0.0.1",
                "ssh_port": server.port,
                "ssh_username": self.username,
                "ssh_host_key": next(iter(server.host_keys.values())),
                "connection_timeout": PATIENCE_SECONDS,
                "secrets": {"ssh_private_key": server.read("key")},
                **fields,
            }
        )

    def by_password(self, server=None, password=None, **fields):
        require_password(self.password)
        secrets = {"ssh_password": password or self.password}
        return self.by_key(server, secrets=secrets, **fields)

    def assert_echoes(self, configuration):
        with opened(configuration) as port, connected(port) as client:
            client.sendall(b"there and back")
            self.assertEqual(receive(client, 14), b"there and back")

    def assert_fails(self, configuration, code):
        stages = Stages()
        with self.assertRaises(ConnectionFailure) as raised, opened(configuration, stages):
            self.fail("it is open")
        self.assertEqual(raised.exception.code, code)
        self.assertEqual([(s["stage"], s["ok"]) for s in stages.shown()], [("ssh", False)])
        self.assertEqual(left_over(configuration.ssh_port), [])
        return raised.exception


class LoginTests(TunnelTestCase):
    def test_logs_in_with_a_key(self):
        self.assert_echoes(self.by_key())

    def test_logs_in_with_a_key_that_has_a_passphrase(self):
        secrets = {
            "ssh_private_key": self.server.read("encrypted_key"),
            "ssh_private_key_passphrase": self.server.passphrase,
        }
        self.assert_echoes(self.by_key(secrets=secrets))

    def test_logs_in_with_a_password(self):
        self.assert_echoes(self.by_password())

    def test_tries_the_password_after_the_key(self):
        require_password(self.password)
        key = self.other_key()
        secrets = {"ssh_private_key": key, "ssh_password": self.password}
        self.assert_echoes(self.by_key(secrets=secrets))

    def test_answers_the_one_hidden_question_by_the_password(self):
        require_password(self.password)
        with OpenSSH(
            "UsePAM yes", "PasswordAuthentication no", "KbdInteractiveAuthentication yes"
        ) as server:
            self.assert_echoes(self.by_password(server))
            self.assertIn("Accepted keyboard-interactive", server.log)

    def test_gives_both_where_both_are_asked_for(self):
        require_password(self.password)
        with OpenSSH("AuthenticationMethods publickey,password") as server:
            secrets = {"ssh_private_key": server.read("key"), "ssh_password": self.password}
            self.assert_echoes(self.by_key(server, secrets=secrets))

    def test_says_that_a_wrong_login_is_refused(self):
        cases = {
            "key": self.by_key(secrets={"ssh_private_key": self.other_key()}),
            "username": self.by_key(ssh_username="nobody-of-this-name"),
        }
        if self.password:
            cases["password"] = self.by_password(password="not the password")
        for name, configuration in cases.items():
            with self.subTest(wrong=name):
                self.assert_fails(configuration, Code.SSH_AUTH_FAILED)

    def test_says_so_when_the_server_hangs_up_after_a_wrong_login(self):
        with OpenSSH("MaxAuthTries 1") as server:
            secrets = {"ssh_private_key": self.other_key()}
            self.assert_fails(self.by_key(server, secrets=secrets), Code.SSH_AUTH_FAILED)
            server.wait_for_log("Too many authentication failures")

    def test_says_that_a_key_cannot_be_read(self):
        encrypted_key = self.server.read("encrypted_key")
        for secrets in (
            {"ssh_private_key": encrypted_key},
            {"ssh_private_key": encrypted_key, "ssh_private_key_passphrase": "other words"},
            {"ssh_private_key": encrypted_key[:200]},
            {"ssh_private_key": "no key, but in ünicode"},
        ):
            with self.subTest(secrets=secrets):
                self.assert_fails(self.by_key(secrets=secrets), Code.SSH_AUTH_FAILED)

    def test_says_that_credentials_are_not_set(self):
        for secrets in ({}, {"ssh_private_key": "", "ssh_password": ""}, {"password": "other"}):
            with self.subTest(secrets=secrets):
                self.assert_fails(self.by_key(secrets=secrets), Code.CREDENTIALS_UNSET)

    def test_says_that_fields_are_not_set(self):
        for name in ("host", "port", "ssh_username"):
            with self.subTest(name=name):
                self.assert_fails(self.by_key(**{name: None}), Code.FIELDS_MISSING)

    def test_takes_nothing_from_the_home_folder_and_no_agent(self):
        with HomeFolder(self.server) as environment, mock.patch.dict(os.environ, environment):
            self.assert_fails(self.by_key(secrets={}), Code.CREDENTIALS_UNSET)
            code = Code.SSH_HOST_KEY_UNCONFIRMED
            self.assert_fails(self.by_key(secrets={}, ssh_host_key=None), code)

    def test_needs_no_name_of_the_user_it_runs_as(self):
        unnamed = {"HOME": str(self.server.folder), "PATH": os.environ["PATH"]}
        with (
            mock.patch.dict(os.environ, unnamed, clear=True),
            mock.patch("pwd.getpwuid", side_effect=KeyError),
        ):
            self.assert_echoes(self.by_key())

    def test_neither_shows_nor_logs_a_secret(self):
        with self.assertNoLogs(level=logging.INFO):
            self.assert_echoes(self.by_key())
            secrets = {"ssh_password": "not the password"}
            error = self.assert_fails(self.by_key(secrets=secrets), Code.SSH_AUTH_FAILED)
        told = "".join(traceback.format_exception(error))
        for private in (*secrets.values(), self.username, str(self.server.port)):
            self.assertNotIn(private, told.replace("test_tunnel.py", ""))

    def other_key(self):
        """Give a key that the server does not know."""
        name = f"other_{time.monotonic_ns()}"
        generate_key(self.server.folder / name)
        return self.server.read(name)


class HostKeyTests(TunnelTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.versatile_server = cls.enterClassContext(OpenSSH(key_types=("rsa", "ecdsa", "ed25519")))

    def test_sends_nothing_to_a_server_whose_key_is_not_confirmed(self):
        with OpenSSH() as server:
            secrets = {"ssh_private_key": server.read("key"), "ssh_password": "a password"}
            configuration = self.by_key(server, secrets=secrets, ssh_host_key=None)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
            self.assertEqual(error.presented, server.host_keys["ed25519"])
            self.assert_saw_no_login(server)

    def test_sends_nothing_to_a_server_whose_key_has_changed(self):
        with OpenSSH() as server:
            confirmed = self.server.host_keys["ed25519"]
            configuration = self.by_key(server, ssh_host_key=confirmed)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_CHANGED)
            self.assertEqual(error.presented, server.host_keys["ed25519"])
            self.assert_saw_no_login(server)

    def test_sends_nothing_to_a_server_that_has_a_key_of_another_kind_instead(self):
        with OpenSSH(key_types=("ecdsa",)) as server:
            confirmed = self.server.host_keys["ed25519"]
            configuration = self.by_key(server, ssh_host_key=confirmed)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_CHANGED)
            self.assertEqual(error.presented, server.host_keys["ecdsa"])
            self.assert_saw_no_login(server)

    def test_takes_no_key_that_is_longer_than_one_has_to_be(self):
        bits = 49_000
        parts = (b"ssh-rsa", b"\1\0\1", (1 << bits | 1).to_bytes(bits // 8 + 1))
        blob = b"".join(len(part).to_bytes(4) + part for part in parts)
        key = asyncssh.import_public_key(b"ssh-rsa " + b64encode(blob))
        login = ssh_login.Login(self.by_key(ssh_host_key=None))
        self.assertFalse(login.validate_host_public_key("bastion.test", "", 22, key))
        self.assertEqual(login.explain(asyncssh.HostKeyNotVerifiable("")).code, Code.SSH_FAILED)

    def test_asks_a_server_with_several_keys_for_the_confirmed_one(self):
        for key_type, key in self.versatile_server.host_keys.items():
            with self.subTest(key_type=key_type):
                self.assert_echoes(self.by_key(self.versatile_server, ssh_host_key=key))

    def test_shows_the_key_that_the_client_of_openssh_would_show(self):
        configuration = self.by_key(self.versatile_server, ssh_host_key=None)
        error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
        self.assertEqual(error.presented, self.versatile_server.host_keys["ed25519"])

    def test_asks_for_a_key_where_there_is_a_certificate_too(self):
        host_key = self.server.folder / "host_ed25519"
        authority = self.server.folder / "authority"
        generate_key(authority)
        signing = ["ssh-keygen", "-q", "-h", "-I", "server", "-n", "127.0.0.1", "-s", authority]
        subprocess.run([*signing, f"{host_key}.pub"], check=True)
        with OpenSSH(f"HostKey {host_key}", f"HostCertificate {host_key}-cert.pub") as certified:
            configuration = self.by_key(certified, ssh_host_key=None)
            error = self.assert_fails(configuration, Code.SSH_HOST_KEY_UNCONFIRMED)
            self.assertEqual(error.presented.split()[0], "ssh-ed25519")

    def test_gives_the_fingerprint_that_openssh_shows(self):
        for key_type, key in self.versatile_server.host_keys.items():
            with self.subTest(key_type=key_type):
                path = self.versatile_server.folder / f"host_{key_type}.pub"
                shown = subprocess.check_output(["ssh-keygen", "-l", "-f", path], text=True)
                self.assertEqual(fingerprint(key), shown.split()[1])

    def test_carries_the_key_from_one_process_to_another(self):
        error = SSHHostKeyRefused(Code.SSH_HOST_KEY_CHANGED, "ssh-ed25519 AAAA")
        copied = pickle.loads(pickle.dumps(error))
        self.assertEqual((copied.code, copied.presented), (error.code, error.presented))

    def assert_saw_no_login(self, server):
        server.wait_for_log(r"(Connection closed|Disconnected|disconnect) .*\[preauth\]")
        for trace in ("userauth-request", "Failed ", "Accepted ", "service ssh-userauth"):
            self.assertNotIn(trace, server.log)


class ForwardingTests(TunnelTestCase):
    def test_passes_many_bytes_both_ways(self):
        sent = os.urandom(4_000_000)
        with opened(self.by_key()) as port, connected(port) as client:
            sender = threading.Thread(target=client.sendall, args=(sent,))
            sender.start()
            self.assertEqual(receive(client, len(sent)), sent)
            sender.join()
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")

    def test_keeps_twenty_connections_apart(self):
        with opened(self.by_key()) as port, ExitStack() as stack:
            clients = [stack.enter_context(connected(port)) for _ in range(20)]
            for number, client in enumerate(clients):
                client.sendall(b"%02d" % number)
            received = [receive(client, 2) for client in reversed(clients)]
        self.assertEqual(received, [b"%02d" % number for number in reversed(range(20))])

    def test_listens_on_loopback_only(self):
        before = listening()
        with opened(self.by_key()) as port:
            self.assertEqual(listening() - before, {("127.0.0.1", port)})
        self.assertEqual(listening(), before)

    def test_takes_the_given_local_port(self):
        wanted = free_port()
        for _ in range(2):  # it is free again at once
            with opened(self.by_key(ssh_local_port=wanted)) as port, connected(port):
                self.assertEqual(port, wanted)

    def test_says_that_the_local_port_is_taken(self):
        configuration = self.by_key(ssh_local_port=self.echo_port)
        self.assert_fails(configuration, Code.SSH_LOCAL_PORT_TAKEN)

    def test_times_one_stage(self):
        stages = Stages()
        with opened(self.by_key(), stages):
            self.assertEqual([(s["stage"], s["ok"]) for s in stages.shown()], [("ssh", True)])

    def test_says_that_nothing_listens_at_the_far_end(self):
        for fields in ({"port": free_port()}, {"host": "no-such-host.invalid"}):
            with self.subTest(**fields):
                self.assert_fails(self.by_key(**fields), Code.TCP_REFUSED)

    def test_says_that_the_far_end_stays_silent(self):
        with silent_port() as port:
            configuration = self.by_key(port=port, connection_timeout=1)
            self.assert_fails(configuration, Code.TCP_TIMEOUT)

    def test_says_that_the_server_does_not_forward(self):
        for option in ("AllowTcpForwarding no", "PermitOpen 127.0.0.1:1"):
            with self.subTest(option=option), OpenSSH(option) as server:
                self.assert_fails(self.by_key(server), Code.SSH_FAILED)

    def test_says_that_what_answers_is_no_ssh_server(self):
        for answer in (Echo, HangUp, WebServer):
            with self.subTest(answer=answer.__name__), serving(answer) as port:
                self.assert_fails(self.by_key(ssh_port=port), Code.SSH_FAILED)

    def test_gives_up_on_a_server_that_stays_silent(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            configuration = self.by_key(ssh_port=port, connection_timeout=1)
            self.assert_fails(configuration, Code.DEADLINE)

    def test_says_that_no_ssh_server_is_there(self):
        self.assert_fails(self.by_key(ssh_port=free_port()), Code.TCP_REFUSED)

    def test_uses_the_connection_that_is_open_already(self):
        already = connected(self.server.port)
        with tunnel(self.by_key(), self.dialed(already), Stages()) as port, connected(port):
            pass
        self.assertEqual(already.fileno(), -1)

    def test_asks_no_resolver(self):
        bastion = self.dialed(connected(self.server.port))
        with (
            mock.patch("socket.getaddrinfo", side_effect=AssertionError),
            tunnel(self.by_key(), bastion, Stages()) as port,
            socket.socket() as client,
        ):
            client.connect(("127.0.0.1", port))
            client.sendall(b"there and back")
            self.assertEqual(receive(client, 14), b"there and back")

    def test_closes_it_when_the_login_cannot_even_be_tried(self):
        already = connected(self.server.port)
        configuration = self.by_key(secrets={"ssh_private_key": "no key"})
        with (
            self.assertRaises(ConnectionFailure),
            tunnel(configuration, self.dialed(already), Stages()),
        ):
            self.fail("it is open")
        self.assertEqual(already.fileno(), -1)

    def dialed(self, already):
        """Give an endpoint that cannot be connected to a second time."""
        return Endpoint("bastion.invalid", "192.0.2.1", 22, PATIENCE_SECONDS, already)


class ClosingTests(TunnelTestCase):
    def test_leaves_nothing_open(self):
        before = traces()
        with (
            opened(self.by_key(port=self.server.port)) as port,
            connected(port) as idle,
            connected(port) as client,
        ):
            self.assertEqual(receive(client, 4), b"SSH-")
            self.assertEqual(receive(idle, 4), b"SSH-")
        self.assertEqual(traces(), before)

    def test_leaves_nothing_open_when_the_block_raises(self):
        before = traces()
        with self.assertRaises(ZeroDivisionError), opened(self.by_key(port=self.server.port)):
            raise ZeroDivisionError
        self.assertEqual(traces(), before)

    def test_closes_connections_whose_client_does_not_read(self):
        with ExitStack() as stack:
            with opened(self.by_key()) as port:
                client = stack.enter_context(connected(port))
                client.setblocking(False)
                while select.select([], [client], [], 0.2)[1]:
                    client.send(bytes(100_000))
            self.assertEqual(left_over(self.server.port, port), [])

    def test_closes_connections_that_came_in_the_last_moment(self):
        for steps in range(8):
            with self.subTest(steps), ExitStack() as stack:
                port = asyncio.run(self.forward_until_connected(stack, steps))
                self.assertEqual(left_over(self.server.port, port), [])

    async def forward_until_connected(self, stack, steps):
        """Connect, and have the tunnel end so many steps of its loop later; give the port."""
        configuration = self.by_key()
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        bastion = connected(self.server.port)
        with listen(None) as listener:
            port = listener.getsockname()[1]
            async with (
                await log_in(configuration, self.username, bastion, deadline) as connection,
                forwarded(listener, connection, "127.0.0.1", self.echo_port),
            ):
                for _ in range(50):
                    stack.enter_context(connected(port))
                for _ in range(steps):
                    await asyncio.sleep(0)
        return port

    def test_closes_when_the_server_goes_away(self):
        with OpenSSH() as server:
            with opened(self.by_key(server)) as port, connected(port) as client:
                server.kill_sessions()
                self.assert_is_closed(client, port)
            self.assertEqual(left_over(server.port, port), [])

    @mock.patch.object(ssh_login, "KEEPALIVE_SECONDS", 0.05)
    def test_closes_when_the_server_falls_silent(self):
        with OpenSSH() as server:
            with opened(self.by_key(server)) as port, connected(port) as client:
                for session in server.sessions():
                    session.suspend()
                self.assert_is_closed(client, port)
            self.assertEqual(left_over(server.port, port), [])

    def assert_is_closed(self, client, port):
        self.assertEqual(client.recv(1), b"")
        end = time.monotonic() + PATIENCE_SECONDS
        with self.assertRaises(ConnectionRefusedError):
            while time.monotonic() < end:
                with suppress(ConnectionResetError):
                    connected(port).close()


class Echo(BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        self.request.settimeout(PATIENCE_SECONDS)
        with self.request as client:
            while received := client.recv(100_000):
                client.sendall(received)


class HangUp(BaseRequestHandler):
    """Closes at once."""


class WebServer(BaseRequestHandler):
    """Does not understand SSH."""

    def handle(self):
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Listener(ThreadingTCPServer):
    request_queue_size = 50

    def handle_error(self, request, client_address):
        """Say nothing: clients of these tests hang up in the middle."""


class HomeFolder:
    """A home folder whose files would let in, and let trust, whoever read them."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        home = self._server.folder / "home"
        (home / ".ssh").mkdir(parents=True)
        for name in ("id_ed25519", "id_ed25519.pub"):
            text = self._server.read(name.replace("id_ed25519", "key"))
            (home / ".ssh" / name).write_text(text)
        key = self._server.host_keys["ed25519"]
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{self._server.port} {key}\n")
        started = subprocess.check_output(["ssh-agent", "-s", "-a", home / "agent"], text=True)
        self._agent = int(re.search(r"SSH_AGENT_PID=(\d+)", started)[1])
        environment = {"HOME": str(home), "SSH_AUTH_SOCK": str(home / "agent")}
        subprocess.run(
            ["ssh-add", "-q", self._server.folder / "key"],
            env=os.environ | environment,
            check=True,
        )
        return environment

    def __exit__(self, *raised):
        os.kill(self._agent, 15)


def opened(configuration, stages=None):
    bastion = Endpoint("bastion.test", "127.0.0.1", configuration.ssh_port, PATIENCE_SECONDS)
    return tunnel(configuration, bastion, stages or Stages())


@contextmanager
def serving(handler):
    """Answer on a port, for as long as the block lasts."""
    with Listener(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent_port():
    """Give a port that does not even accept, as behind a firewall that drops."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def connected(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def receive(client, size):
    received = bytearray()
    while len(received) < size and (part := client.recv(size - len(received))):
        received += part
    return bytes(received)


def listening():
    """Give where this process listens."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def left_over(ssh_port, local_port=None):
    """Give the threads of a tunnel, and the connections at both of its ends."""
    threads = [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("ssh-tunnel", "asyncio"))
    ]
    return threads + [
        connection
        for connection in psutil.Process().net_connections("inet")
        if (connection.raddr and connection.raddr.port == ssh_port)
        or connection.laddr.port == local_port
    ]


def traces():
    """Give all threads, sockets and the number of open files."""
    process = psutil.Process()
    connections = {(c.laddr, c.raddr, c.status) for c in process.net_connections("inet")}
    return set(threading.enumerate()), connections, process.num_fds()
