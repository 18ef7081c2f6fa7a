"""Connections through an SSH tunnel."""

import os
import socket
import threading
from contextlib import ExitStack
from unittest import mock

import psutil

from datasources.connections.endpoint import Endpoint
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.ssh.tunnel import tunnel
from datasources.connections.stages import Stages
from datasources.connections.testing.openssh import PATIENCE_SECONDS, OpenSSH
from datasources.connections.testing.tunnels import (
    Echo,
    HangUp,
    TunnelTestCase,
    WebServer,
    connected,
    opened,
    receive,
    serving,
    silent_port,
)
from rivergen.testing.services import free_port


class ForwardingTests(TunnelTestCase):
    def test_tunnel_transfers_megabytes_in_both_directions(self):
        sent = os.urandom(4_000_000)
        with opened(self.by_key()) as port, connected(port) as client:
            sender = threading.Thread(target=client.sendall, args=(sent,))
            sender.start()
            self.assertEqual(receive(client, len(sent)), sent)
            sender.join()
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")

    def test_tunnel_keeps_twenty_connections_apart(self):
        with opened(self.by_key()) as port, ExitStack() as stack:
            clients = [stack.enter_context(connected(port)) for _ in range(20)]
            for number, client in enumerate(clients):
                client.sendall(b"%02d" % number)
            received = [receive(client, 2) for client in reversed(clients)]
        self.assertEqual(received, [b"%02d" % number for number in reversed(range(20))])

    def test_tunnel_listens_on_loopback_only(self):
        before = listening()
        with opened(self.by_key()) as port:
            self.assertEqual(listening() - before, {("127.0.0.1", port)})
        self.assertEqual(listening(), before)

    def test_tunnel_uses_the_given_local_port(self):
        wanted = free_port()
        for _ in range(2):  # the port is free again immediately
            with opened(self.by_key(ssh_local_port=wanted)) as port, connected(port):
                self.assertEqual(port, wanted)

    def test_local_port_in_use_is_ssh_local_port_taken(self):
        configuration = self.by_key(ssh_local_port=self.echo_port)
        self.assert_fails(configuration, Code.SSH_LOCAL_PORT_TAKEN)

    def test_tunnel_is_timed_as_the_stage_ssh(self):
        stages = Stages()
        with opened(self.by_key(), stages):
            self.assertEqual([(s["stage"], s["ok"]) for s in stages.to_list()], [("ssh", True)])

    def test_closed_port_behind_the_tunnel_is_tcp_refused(self):
        for fields in ({"port": free_port()}, {"host": "no-such-host.invalid"}):
            with self.subTest(**fields):
                self.assert_fails(self.by_key(**fields), Code.TCP_REFUSED)

    def test_silent_port_behind_the_tunnel_is_tcp_timeout(self):
        with silent_port() as port:
            configuration = self.by_key(port=port, connection_timeout=1)
            self.assert_fails(configuration, Code.TCP_TIMEOUT)

    def test_ssh_server_that_forbids_forwarding_is_ssh_failed(self):
        for option in ("AllowTcpForwarding no", "PermitOpen 127.0.0.1:1"):
            with self.subTest(option=option), OpenSSH(option) as server:
                self.assert_fails(self.by_key(server), Code.SSH_FAILED)

    def test_server_that_does_not_speak_ssh_is_ssh_failed(self):
        for answer in (Echo, HangUp, WebServer):
            with self.subTest(answer=answer.__name__), serving(answer) as port:
                self.assert_fails(self.by_key(ssh_port=port), Code.SSH_FAILED)

    def test_silent_ssh_server_is_deadline(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            configuration = self.by_key(ssh_port=port, connection_timeout=1)
            self.assert_fails(configuration, Code.DEADLINE)

    def test_closed_ssh_port_is_tcp_refused(self):
        self.assert_fails(self.by_key(ssh_port=free_port()), Code.TCP_REFUSED)

    def test_tunnel_uses_the_connection_that_is_already_open(self):
        already = connected(self.server.port)
        with tunnel(self.by_key(), self.dialed(already), Stages()) as port, connected(port):
            pass
        self.assertEqual(already.fileno(), -1)

    def test_tunnel_resolves_no_name(self):
        bastion = self.dialed(connected(self.server.port))
        with (
            mock.patch("socket.getaddrinfo", side_effect=AssertionError),
            tunnel(self.by_key(), bastion, Stages()) as port,
            socket.socket() as client,
        ):
            client.connect(("127.0.0.1", port))
            client.sendall(b"there and back")
            self.assertEqual(receive(client, 14), b"there and back")

    def test_unreadable_private_key_closes_the_open_connection(self):
        already = connected(self.server.port)
        configuration = self.by_key(secrets={"ssh_private_key": "no key"})
        with (
            self.assertRaises(ConnectionFailure),
            tunnel(configuration, self.dialed(already), Stages()),
        ):
            self.fail("it is open")
        self.assertEqual(already.fileno(), -1)

    def dialed(self, already):
        """Return an endpoint of which only the open connection works."""
        return Endpoint("bastion.invalid", "192.0.2.1", 22, PATIENCE_SECONDS, already)


def listening():
    """Return the addresses and ports that this process listens on."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
