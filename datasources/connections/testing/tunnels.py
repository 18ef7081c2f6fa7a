"""SSH tunnels through a real SSH server to an echo server."""

import socket
import threading
from contextlib import ExitStack, contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer

import psutil
from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.endpoint import Endpoint
from datasources.connections.failures import ConnectionFailure
from datasources.connections.ssh.tunnel import tunnel
from datasources.connections.stages import Stages
from datasources.connections.testing.openssh import (
    PATIENCE_SECONDS,
    OpenSSH,
    account,
    require_password,
)


class TunnelTestCase(SimpleTestCase):
    """A test case with an SSH server, an account for it, and an echo server to forward to."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.username, cls.password = cls.enterClassContext(account())
        cls.server = cls.enterClassContext(OpenSSH())
        cls.echo_port = cls.enterClassContext(serving(Echo))

    def by_key(self, server=None, **fields):
        """Return a configuration that logs in with a key; the host key is confirmed."""
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
        """Return a configuration that logs in with a password; the host key is confirmed."""
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
        self.assertEqual([(s["stage"], s["ok"]) for s in stages.to_list()], [("ssh", False)])
        self.assertEqual(left_over(configuration.ssh_port), [])
        return raised.exception


class Echo(BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self):
        self.request.settimeout(PATIENCE_SECONDS)
        with self.request as client:
            while received := client.recv(100_000):
                client.sendall(received)


class HangUp(BaseRequestHandler):
    """Closes the connection immediately."""


class WebServer(BaseRequestHandler):
    """Answers as a web server."""

    def handle(self):
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class QuietServer(ThreadingTCPServer):
    """A server that logs no errors: the clients of these tests may hang up at any time."""

    request_queue_size = 50

    def handle_error(self, request, client_address):
        pass


def opened(configuration, stages=None):
    """Open the tunnel of a configuration; a context manager that returns the local port."""
    bastion = Endpoint("bastion.test", "127.0.0.1", configuration.ssh_port, PATIENCE_SECONDS)
    return tunnel(configuration, bastion, stages or Stages())


@contextmanager
def serving(handler):
    """Serve with `handler` on a free port until the block ends; yield the port."""
    with QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent_port():
    """Yield a port that ignores connections, as behind a firewall that drops packets."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def connected(port):
    """Return a connection to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def receive(client, size):
    """Return the next `size` bytes; fewer if the connection ends."""
    received = bytearray()
    while len(received) < size and (part := client.recv(size - len(received))):
        received += part
    return bytes(received)


def left_over(ssh_port, local_port=None):
    """Return the threads of tunnels, and the connections to the SSH server and the local port."""
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
