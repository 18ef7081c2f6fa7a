"""Every connector: its entry in the catalogue, and servers of another protocol."""

import subprocess
import sys
from base64 import b64encode
from collections import Counter

from django.conf import settings
from django.test import SimpleTestCase
from sqlalchemy import create_engine

from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import (
    CREDENTIAL_FIELDS,
    Connector,
    ServerConnector,
    one_line,
)
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.testing.connectors import PASSWORD, connector_to, failure_of
from datasources.connections.testing.listeners import (
    Listener,
    close_at_once,
    keep_silent,
    reset_at_once,
    say_first,
    say_garbage,
)
from rivergen.testing.services import free_port

# oracledb waits for a silent server for ever; only the deadline of the child process ends that.
HANGING = ("oracle",)

# The first HTTP request has the password, in clear without TLS.
SENDING_IN_CLEAR = ("clickhouse",)

# Clients that begin with the TLS handshake cannot tell whether the server knows TLS.
STARTING_WITH_TLS = ("databricks", "snowflake", "trino")

GREETINGS = (b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


class CatalogueTests(SimpleTestCase):
    def test_type_names_are_lower_case_and_labels_are_unique(self):
        connectors = CONNECTORS.values()
        self.assertEqual(max(Counter(one.label for one in connectors).values()), 1)
        for name, connector in CONNECTORS.items():
            with self.subTest(name):
                self.assertEqual(name, connector.name)
                self.assertEqual(name, name.lower())

    def test_only_types_with_connection_strings_have_url_schemes(self):
        for name, connector in CONNECTORS.items():
            with self.subTest(name):
                takes_strings = "connection_string" in connector.optional_fields
                self.assertEqual(bool(connector.url_schemes), takes_strings)
                if takes_strings:
                    self.assertTrue(next(iter(connector.url_schemes)).startswith(name))
                else:
                    self.assertEqual(connector.url_options, {})

    def test_only_servers_have_a_default_port_and_all_have_known_credentials(self):
        for name, connector in CONNECTORS.items():
            with self.subTest(name):
                self.assertLessEqual({*connector.credential_fields}, {*CREDENTIAL_FIELDS})
                is_server = issubclass(connector, ServerConnector)
                self.assertEqual(connector.default_port is not None, is_server)

    def test_engine_of_each_dialect_connects_by_the_connector_only(self):
        for name, connector in CONNECTORS.items():
            if connector.dialect and connector.is_driver_installed():
                with self.subTest(name):
                    asked = []

                    def connect(asked=asked):
                        asked.append(True)
                        raise ConnectionFailure(Code.LOGIN_FAILED)

                    engine = create_engine(f"{connector.dialect}://", creator=connect)
                    self.assertEqual(asked, [])
                    with self.assertRaises(ConnectionFailure):
                        engine.raw_connection()

    def test_importing_the_catalogue_imports_no_driver(self):
        drivers = {one.driver for one in CONNECTORS.values()} - {"sqlite3"}
        script = f"""if True:
            import sys
            from django.conf import settings
            settings.configure()
            before = set(sys.modules)
            import datasources.connections.connectors
            print(*({{*sys.modules}} - before) & {drivers | {"sqlalchemy"}!r})
        """
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=settings.BASE_DIR,
        )
        self.assertEqual(done.stdout.split(), [])

    def test_untrusted_text_becomes_one_short_printable_line(self):
        for text, line in (
            ("MongoDB 7.0", "MongoDB 7.0"),
            ("a\r\n\tb\x00\x1b[31mc\u202e\u2028d", "a b [31mc d"),
            ("x" * 5000, "x" * 100),
            (None, "None"),
            (b"\xff", "b'\\xff'"),
        ):
            with self.subTest(text):
                self.assertEqual(one_line(text), line)


class WrongServerTests(SimpleTestCase):
    def test_closed_port_is_tcp_refused_for_every_type(self):
        for name in installed_servers():
            with self.subTest(name):
                self.assert_fails(name, free_port(), {Code.TCP_REFUSED})

    def test_server_that_disconnects_is_protocol_failed_for_every_type(self):
        for answer in (close_at_once, reset_at_once):
            for name in installed_servers():
                with self.subTest(name, answer=answer), Listener(answer) as server:
                    # The server's reset may arrive before connect(2) returns.
                    codes = codes_of_wrong_servers(name) | {Code.TCP_REFUSED}
                    self.assert_fails(name, server.port, codes)

    def test_server_with_another_greeting_is_protocol_failed_for_every_type(self):
        for greeting in GREETINGS:
            for name in installed_servers():
                with self.subTest(name, greeting=greeting), Listener(say_first(greeting)) as server:
                    self.assert_fails(name, server.port, codes_of_wrong_servers(name))

    def test_server_of_another_protocol_is_protocol_failed_for_every_type(self):
        for name in installed_servers():
            with self.subTest(name), Listener(say_garbage) as server:
                # Some drivers take the bytes for a part of a long message, and wait for the rest.
                codes = codes_of_wrong_servers(name) | {Code.DEADLINE}
                self.assert_fails(name, server.port, codes)

    def test_disconnect_without_credentials_is_not_credentials_unset(self):
        for name in {*installed_servers()} - {"databricks", "mssql", "oracle", "snowflake"}:
            with self.subTest(name), Listener(close_at_once) as server:
                failure = failure_of(connector_to(name, server.port, username=None, secrets={}))
                self.assertEqual(failure.code, Code.PROTOCOL_FAILED)

    def test_silent_server_times_out_for_every_type(self):
        for name in installed_servers():
            if name not in HANGING:
                with self.subTest(name), Listener(keep_silent) as server:
                    self.assert_fails(name, server.port, {Code.DEADLINE, Code.TCP_TIMEOUT})

    def test_server_of_another_protocol_never_gets_the_password(self):
        for name in {*installed_servers()} - {*SENDING_IN_CLEAR}:
            with self.subTest(name), Listener(say_garbage) as server:
                failure_of(connector_to(name, server.port))
                self.assertFalse(contains_password(b"".join(server.received)))

    def assert_fails(self, name: str, port: int, codes: set[Code]) -> None:
        options = {"http_path": "/sql/1"} if name == "databricks" else {}
        failure = failure_of(connector_to(name, port, options=options))
        self.assertIn(failure.code, codes)
        self.assertEqual(str(failure), failure.code.label)
        self.assertEqual(repr(failure), f"ConnectionFailure({failure.code.label!r})")
        self.assertTrue(failure.__suppress_context__)


def codes_of_wrong_servers(name: str) -> set[Code]:
    """Return the codes that are right for a server of another protocol."""
    tls = {Code.TLS_FAILED} if name in STARTING_WITH_TLS else set()
    return {Code.PROTOCOL_FAILED, *tls}


def contains_password(sent: bytes) -> bool:
    """Return whether the bytes sent contain the password, in one of its encodings."""
    spellings = (
        PASSWORD.encode(),
        PASSWORD.encode("utf-16-le"),
        b64encode(f"reader:{PASSWORD}".encode()),
    )
    return any(spelling in sent for spelling in spellings)


def installed_servers() -> list[str]:
    return [
        name
        for name, connector in CONNECTORS.items()
        if issubclass(connector, ServerConnector)
        and connector.is_driver_installed()
        and connector.log_in is not Connector.log_in
    ]
