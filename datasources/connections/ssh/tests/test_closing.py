"""The end of an SSH tunnel: it leaves nothing open."""

import asyncio
import select
import threading
import time
from contextlib import ExitStack, suppress
from unittest import mock

import psutil

from datasources.connections.ssh import login as ssh_login
from datasources.connections.ssh.login import log_in
from datasources.connections.ssh.tunnel import forward_connections, listen
from datasources.connections.testing.openssh import PATIENCE_SECONDS, OpenSSH
from datasources.connections.testing.tunnels import (
    TunnelTestCase,
    connected,
    left_over,
    opened,
    receive,
)


class ClosingTests(TunnelTestCase):
    def test_tunnel_closes_everything_at_the_end(self):
        before = traces()
        with (
            opened(self.by_key(port=self.server.port)) as port,
            connected(port) as idle,
            connected(port) as client,
        ):
            self.assertEqual(receive(client, 4), b"SSH-")
            self.assertEqual(receive(idle, 4), b"SSH-")
        self.assertEqual(traces(), before)

    def test_tunnel_closes_everything_if_the_block_raises(self):
        before = traces()
        with self.assertRaises(ZeroDivisionError), opened(self.by_key(port=self.server.port)):
            raise ZeroDivisionError
        self.assertEqual(traces(), before)

    def test_tunnel_closes_connections_whose_client_does_not_read(self):
        with ExitStack() as stack:
            with opened(self.by_key()) as port:
                client = stack.enter_context(connected(port))
                client.setblocking(False)
                while select.select([], [client], [], 0.2)[1]:
                    client.send(bytes(100_000))
            self.assertEqual(left_over(self.server.port, port), [])

    def test_tunnel_closes_connections_accepted_while_it_ends(self):
        for steps in range(8):
            with self.subTest(steps), ExitStack() as stack:
                port = asyncio.run(self.forward_until_connected(stack, steps))
                self.assertEqual(left_over(self.server.port, port), [])

    async def forward_until_connected(self, stack, steps):
        """Connect, and end the tunnel after `steps` of its loop. Return the local port."""
        configuration = self.by_key()
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        bastion = connected(self.server.port)
        with listen(None) as listener:
            port = listener.getsockname()[1]
            async with (
                await log_in(configuration, self.username, bastion, deadline) as connection,
                forward_connections(listener, connection, "127.0.0.1", self.echo_port),
            ):
                for _ in range(50):
                    stack.enter_context(connected(port))
                for _ in range(steps):
                    await asyncio.sleep(0)
        return port

    def test_tunnel_closes_if_the_ssh_server_disconnects(self):
        with OpenSSH() as server:
            with opened(self.by_key(server)) as port, connected(port) as client:
                server.kill_sessions()
                self.assert_is_closed(client, port)
            self.assertEqual(left_over(server.port, port), [])

    @mock.patch.object(ssh_login, "KEEPALIVE_SECONDS", 0.05)
    def test_tunnel_closes_if_the_ssh_server_stops_answering(self):
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


def traces():
    """Return the threads, sockets and number of open files of this process."""
    process = psutil.Process()
    connections = {(c.laddr, c.raddr, c.status) for c in process.net_connections("inet")}
    return set(threading.enumerate()), connections, process.num_fds()
