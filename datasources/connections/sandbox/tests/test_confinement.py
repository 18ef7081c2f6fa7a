import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from unittest import mock

import psutil
from django.test import SimpleTestCase

from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.sandbox.confinement import confined
from datasources.connections.testing.openssh import PATIENCE_SECONDS


class ConfinementTests(SimpleTestCase):
    def setUp(self):
        stack = self.enterContext(ExitStack())
        self.allowed, self.other = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()
            for _ in range(2)
        )

    def confine(self, function):
        return confined(function, *self.allowed)

    def assert_refused(self, function):
        with self.assertRaises(ConnectionFailure) as raised:
            self.confine(function)
        self.assertEqual(raised.exception.code, Code.EGRESS_DENIED)

    def test_confined_function_connects_to_the_allowed_address(self):
        with self.confine(lambda: socket.create_connection(self.allowed)) as connection:
            self.assertEqual(connection.getpeername(), self.allowed)

    def test_confined_function_connects_to_the_allowed_ipv6_address_only(self):
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            address, port, *_ = server.getsockname()
            confined(lambda: socket.create_connection((address, port)), address, port).close()
            with self.assertRaises(ConnectionFailure):
                confined(lambda: socket.create_connection(("::2", port)), address, port)

    def test_confined_function_connects_to_no_other_address_or_port(self):
        allowed_address, allowed_port = self.allowed
        for target in (self.other, ("127.0.0.2", allowed_port), (allowed_address, 1)):
            with self.subTest(target):
                self.assert_refused(lambda target=target: socket.create_connection(target))

    def test_confined_function_connects_nowhere_else_after_the_allowed_address(self):
        def go_on():
            with socket.create_connection(self.allowed):
                return socket.create_connection(self.other)

        self.assert_refused(go_on)

    def test_confined_function_cannot_connect_to_a_name_server(self):
        def send():
            with socket.socket(type=socket.SOCK_DGRAM) as resolver:
                resolver.connect(("127.0.0.53", 53))

        self.assert_refused(send)

    def test_confined_function_may_continue_after_a_refused_connect(self):
        def try_both():
            with self.assertRaises(PermissionError):
                socket.create_connection(self.other)
            return socket.create_connection(self.allowed)

        self.confine(try_both).close()

    def test_refused_unix_socket_is_not_egress_denied(self):
        def ask_name_service():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("/nowhere")

        with self.assertRaises(PermissionError):
            self.confine(ask_name_service)

    def test_error_of_the_confined_function_is_raised(self):
        with self.assertRaises(ZeroDivisionError):
            self.confine(lambda: 1 / 0)

    def test_thread_of_the_confined_function_is_confined_too(self):
        def have_a_thread_connect():
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(socket.create_connection, self.other).result()

        self.assert_refused(have_a_thread_connect)

    def test_other_threads_are_not_confined(self):
        def connect_meanwhile():
            ask.set()
            self.assertTrue(done.wait(PATIENCE_SECONDS))

        ask, done = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            confining = pool.submit(self.confine, connect_meanwhile)
            self.assertTrue(ask.wait(PATIENCE_SECONDS))
            socket.create_connection(self.other).close()
            done.set()
            confining.result()

    def test_confinement_leaves_no_thread_or_descriptor(self):
        before = self.traces()
        self.confine(lambda: None)
        self.assert_refused(lambda: socket.create_connection(self.other))
        self.assertEqual(self.traces(), before)

    def traces(self):
        return threading.enumerate(), psutil.Process().num_fds()

    @mock.patch("platform.machine", return_value="of another kind")
    def test_function_is_not_called_if_the_kernel_cannot_confine_it(self, machine):
        function = mock.Mock()
        with self.assertRaises(ConnectionFailure) as raised:
            self.confine(function)
        self.assertEqual(raised.exception.code, Code.DRIVER_MISSING)
        function.assert_not_called()
