"""The egress policy on Python's sockets, through every way that drivers connect."""

import asyncio
import multiprocessing
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import dns.resolver
import pymysql
from django.test import SimpleTestCase

from rivergen.egress import python_sockets
from rivergen.egress.exceptions import EgressDenied, HostNotFound
from rivergen.egress.python_sockets import guarded
from rivergen.testing.resolving import (
    ALLOW_LOOPBACK,
    LOOPBACK,
    METADATA,
    PUBLIC,
    Listener,
    policy,
    resolving,
)

REFUSALS = (OSError, UnicodeError, pymysql.MySQLError)


def create_connection(host, port):
    socket.create_connection((host, port), timeout=5).close()


def connect(host, port):
    """Connect a socket to a host name, so that the socket looks it up."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect((host, port))


def connect_ex(host, port):
    with socket.socket() as sock:
        sock.settimeout(5)
        if status := sock.connect_ex((host, port)):
            raise OSError(status, "")


def gethostbyname(host, port):
    connect(socket.gethostbyname(host), port)


def open_connection(host, port):
    async def open_and_close():
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    asyncio.run(open_and_close())


def connect_mysql(host, port):
    pymysql.connect(host=host, port=port, connect_timeout=5, read_timeout=5).close()


WAYS = (create_connection, connect, connect_ex, gethostbyname, open_connection, connect_mysql)


class GuardTests(SimpleTestCase):
    def setUp(self):
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.resolver = resolving(self.stack)
        self.listener = Listener(self.stack)
        self.port = self.listener.port

    def enter_guard(self, *args, **kwargs):
        self.stack.enter_context(guarded(*args, **kwargs))

    def assert_refused(self, way, host, port=None):
        with self.subTest(way.__name__, host=host), self.assertRaises(REFUSALS) as refusal:
            way(host, self.port if port is None else port)
        return refusal.exception

    def assert_untouched(self):
        with guarded(policy(allow="127.0.0.0/8,::1")):
            self.assertTrue(self.listener.was_untouched())

    def test_every_spelling_of_loopback_is_refused(self):
        for way in WAYS:
            with guarded(policy()):
                for host in LOOPBACK:
                    self.assert_refused(way, host)
        self.assertTrue(self.listener.was_untouched())

    def test_every_spelling_of_the_own_database_is_refused_even_if_allowed(self):
        rules = policy(allow=ALLOW_LOOPBACK, own=[("127.0.0.1", self.port)])
        allowed = {(host, self.port) for host in ("127.0.0.1", "::1", "0.0.0.0")}
        with guarded(rules, {"db.example.com": "127.0.0.1"}, allowed):
            for way in WAYS:
                for host in (*LOOPBACK, "db.example.com"):
                    self.assert_refused(way, host)
        self.assertTrue(self.listener.was_untouched())

    def test_metadata_link_local_and_multicast_addresses_are_refused_in_every_spelling(self):
        self.enter_guard(policy())
        for host in METADATA:
            for way in (create_connection, connect, open_connection):
                error = self.assert_refused(way, host, 80)
                self.assertIsInstance(error, (socket.gaierror, PermissionError))

    def test_denied_connections_raise_socket_errors_without_addresses(self):
        self.enter_guard(policy())
        with self.assertRaises(socket.gaierror) as refusal:
            socket.getaddrinfo("loopback.example.com", 80)
        self.assertEqual(refusal.exception.args, (socket.EAI_FAIL, EgressDenied.message))
        with self.assertRaises(socket.gaierror) as refusal:
            socket.getaddrinfo("nobody.example.com", 80)
        self.assertEqual(refusal.exception.args, (socket.EAI_NONAME, HostNotFound.message))
        with self.assertRaises(PermissionError) as refusal:
            connect("127.0.0.1", self.port)
        self.assertEqual(refusal.exception.strerror, EgressDenied.message)

    def test_allowed_addresses_can_be_connected_to_in_every_way(self):
        for way in WAYS[:-1]:
            with self.subTest(way.__name__), guarded(policy(allow="127.0.0.0/8")):
                way("127.0.0.1", self.port)

    def test_allowed_name_can_be_connected_to(self):
        self.enter_guard(policy(allow="loopback.example.com"))
        for way in (create_connection, open_connection, gethostbyname):
            with self.subTest(way.__name__):
                way("loopback.example.com", self.port)

    def test_allowed_name_opens_the_resolved_port_only(self):
        self.enter_guard(policy(allow="loopback.example.com"))
        with ExitStack() as stack:
            other = Listener(stack)
            create_connection("loopback.example.com", self.port)
            self.assert_refused(connect, "127.0.0.1", other.port)

    def test_rebound_name_connects_to_the_checked_address_only(self):
        self.enter_guard(policy())
        with mock.patch.object(python_sockets, "lookup", wraps=python_sockets.lookup) as expanded:
            answers = socket.getaddrinfo("rebind.example.com", self.port)
        self.assertEqual({answer[4][0] for answer in answers}, {PUBLIC})
        self.assertEqual([call.args[0] for call in expanded.call_args_list], [PUBLIC])
        self.assertEqual(self.resolver.asked, ["rebind.example.com"])
        self.assert_refused(create_connection, "rebind.example.com")
        self.assert_untouched()

    def test_pinned_name_is_not_looked_up(self):
        pins = {"Rebind.Example.com.": PUBLIC, "10.0.0.5": "127.0.0.1", "bücher.example": "::1"}
        self.enter_guard(policy(), pins)
        for host, address in (
            ("rebind.example.com", PUBLIC),
            (b"REBIND.example.com.", PUBLIC),
            ("10.0.0.5", "127.0.0.1"),
            ("xn--bcher-kva.example", "::1"),
        ):
            with self.subTest(host=host):
                answers = socket.getaddrinfo(host, 5432, type=socket.SOCK_STREAM)
                self.assertEqual([answer[4][:2] for answer in answers], [(address, 5432)])
        self.assertEqual(socket.gethostbyname("rebind.example.com"), PUBLIC)
        self.assertEqual(
            socket.gethostbyname_ex("rebind.example.com"), ("rebind.example.com", [], [PUBLIC])
        )
        self.assertEqual(self.resolver.asked, [])

    def test_pinned_name_with_a_denied_address_is_refused(self):
        self.enter_guard(policy(), {"db.example.com": "127.0.0.1"})
        for way in WAYS:
            self.assert_refused(way, "db.example.com")
        self.assert_untouched()

    def test_tunnel_end_can_be_connected_to_at_its_port_only(self):
        self.enter_guard(policy(), {"db.example.com": "127.0.0.1"}, {("127.0.0.1", self.port)})
        for way in (create_connection, open_connection, gethostbyname):
            with self.subTest(way.__name__):
                way("db.example.com", self.port)
        with ExitStack() as stack:
            other = Listener(stack)
            for host in ("db.example.com", "127.0.0.1"):
                self.assert_refused(create_connection, host, other.port)
            self.assert_refused(connect, "127.0.0.2", self.port)
            self.assert_refused(connect, "::1", self.port)

    def test_getaddrinfo_answers_for_the_requested_family_and_type(self):
        self.enter_guard(policy())
        both = socket.getaddrinfo("private.example.com", "5432", type=socket.SOCK_STREAM)
        self.assertEqual(
            [answer[4][:2] for answer in both], [("10.0.0.5", 5432), ("fd12::5", 5432)]
        )
        [ipv6] = socket.getaddrinfo("private.example.com", 1, socket.AF_INET6, socket.SOCK_DGRAM)
        self.assertEqual((ipv6[1], ipv6[4]), (socket.SOCK_DGRAM, ("fd12::5", 1, 0, 0)))
        with self.assertRaises(socket.gaierror):
            socket.getaddrinfo("public.example.com", 1, socket.AF_INET6)

    def test_getaddrinfo_with_numeric_host_flag_finds_no_name(self):
        self.enter_guard(policy(), {"db.example.com": PUBLIC})
        with self.assertRaises(socket.gaierror):
            socket.getaddrinfo("db.example.com", 1, flags=socket.AI_NUMERICHOST)

    def test_datagrams_to_denied_addresses_are_refused(self):
        self.enter_guard(policy())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for send in (
                lambda: sock.sendto(b"x", ("127.0.0.1", self.port)),
                lambda: sock.sendto(b"x", 0, ("127.0.0.1", self.port)),
                lambda: sock.sendmsg([b"x"], [], 0, ("127.0.0.1", self.port)),
                lambda: sock.connect(("127.0.0.1", self.port)),
            ):
                with self.assertRaises(PermissionError):
                    send()

    def test_dnspython_reaches_the_configured_resolver(self):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            port = server.getsockname()[1]
            path = Path(folder, "resolv.conf")
            path.write_text("# nameserver 127.0.0.9\nnameserver 127.0.0.1\noptions ndots:1\n")
            stack.enter_context(mock.patch.object(python_sockets, "RESOLV_CONF", path))
            stack.enter_context(mock.patch.object(python_sockets, "DNS_PORT", port))
            resolver = dns.resolver.Resolver(str(path))
            resolver.port = port

            def answer():
                query, client = server.recvfrom(512)
                server.sendto(query[:2] + b"\x81\x83" + query[4:], client)

            # Answer in another process: the guard of this process would refuse to send.
            process = multiprocessing.get_context("fork").Process(target=answer)
            process.start()
            stack.callback(process.join)
            with guarded(policy()), self.assertRaises(dns.resolver.NXDOMAIN):
                resolver.resolve("example.com", "SRV", search=False, lifetime=10)

    def test_unix_sockets_are_refused(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            path = f"{folder}/socket"
            server.bind(path)
            server.listen()
            with guarded(policy()), socket.socket(socket.AF_UNIX) as client:
                self.assertRaises(PermissionError, client.connect, path)
                self.assertRaises(PermissionError, client.connect, path.encode())

    def test_malformed_socket_addresses_are_refused(self):
        self.enter_guard(policy())
        for address in (
            ("", self.port),
            ("localhost", self.port),
            (b"127.0.0.1", self.port),
            (b"0x7f", self.port),  # four bytes, which as a packed address are public
            (bytearray(b"127.0.0.1"), self.port),
            ("<broadcast>", self.port),
        ):
            with self.subTest(address=address), socket.socket() as sock:
                self.assertRaises(PermissionError, sock.connect, address)

    def test_sockets_connected_before_the_guard_can_still_send(self):
        with socket.create_connection(("127.0.0.1", self.port)) as sock, guarded(policy()):
            self.assertEqual(sock.sendmsg([b"x"]), 1)
            self.assertEqual(sock.send(b"x"), 1)
        ours, theirs = socket.socketpair()
        with ours, theirs, guarded(policy()):
            self.assertEqual(ours.sendmsg([b"x"]), 1)
            self.assertEqual(theirs.recv(1), b"x")

    def test_guarded_child_can_send_its_result_through_a_pipe(self):
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=True)

        def run():
            with guarded(policy()):
                try:
                    connect("127.0.0.1", self.port)
                except PermissionError as error:
                    sender.send(error.strerror)

        child = context.Process(target=run)
        child.start()
        self.assertTrue(receiver.poll(30))
        self.assertEqual(receiver.recv(), EgressDenied.message)
        child.join()
        self.assert_untouched()

    def test_guarded_process_can_listen_and_connect_where_allowed(self):
        async def talk():
            server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost")
            port = server.sockets[0].getsockname()[1]
            with guarded(policy(), allowed={("127.0.0.1", port)}):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                self.assertEqual(await reader.read(), b"")
                writer.close()
            server.close()

        with guarded(policy()):
            asyncio.run(talk())

    def test_socket_functions_are_restored_after_the_block(self):
        before = [getattr(socket, name) for name in python_sockets.PATCHED]
        with self.assertRaises(ZeroDivisionError), guarded(policy()):
            raise ZeroDivisionError
        self.assertEqual([getattr(socket, name) for name in python_sockets.PATCHED], before)
        create_connection("127.0.0.1", self.port)

    def test_socket_guard_holds_for_all_threads(self):
        refusals = []

        def attempt():
            try:
                create_connection("127.0.0.1", self.port)
            except OSError as error:
                refusals.append(error)

        with guarded(policy()):
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
        self.assertEqual(len(refusals), 1)
        self.assertTrue(self.listener.was_untouched())

    def test_innermost_socket_guard_decides_until_it_ends(self):
        with guarded(policy()):
            with guarded(policy(allow="127.0.0.0/8")):
                create_connection("127.0.0.1", self.port)
            self.assert_refused(create_connection, "127.0.0.1")

    def test_outer_socket_guard_that_ends_first_leaves_the_inner_in_force(self):
        first = guarded(policy(allow="127.0.0.0/8"))
        first.__enter__()
        with guarded(policy()):
            first.__exit__(None, None, None)
            for way in (create_connection, connect):
                self.assert_refused(way, "127.0.0.1")
        create_connection("127.0.0.1", self.port)
