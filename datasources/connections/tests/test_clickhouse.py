"""ClickHouse, against a fake server."""

import logging
import os
import socket
import ssl
import tempfile
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import parse_qs

from clickhouse_connect.driver.exceptions import DatabaseError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from django.test import SimpleTestCase

from datasources.connections.failures import Code
from datasources.connections.testing.connectors import PASSWORD, connector_to, failure_of
from datasources.connections.testing.fake_http import answer_as_clickhouse, serve_http
from datasources.connections.testing.listeners import (
    Listener,
    close_at_once,
    keep_silent,
    say_garbage,
)
from rivergen.testing.services import free_port

BASIC = b64encode(f"reader:{PASSWORD}".encode())


class ClickHouseTests(SimpleTestCase):
    def test_clickhouse_login_sets_the_query_timeout_and_returns_the_version(self):
        with Listener(serve_http(answer_as_clickhouse)) as server:
            connector = connector_to("clickhouse", server.port)
            connection = connector.connect()
            self.assertEqual(connector.query_version(connection), "ClickHouse 24.3.1.2672")
            connection.close()
        asked = [sent for sent in server.received if sent.startswith(b"POST")][-1]
        parameters = parse_qs(asked.split()[1].decode().partition("?")[2])
        self.assertEqual(parameters["max_execution_time"], ["7"])
        self.assertEqual(parameters["database"], ["sales"])
        self.assertNotIn("session_id", parameters)
        # A profile of the user could cut off results with these.
        self.assertEqual((parameters["limit"], parameters["offset"]), (["0"], ["0"]))
        self.assertEqual(parameters["result_overflow_mode"], ["throw"])

    def test_clickhouse_follows_no_redirect(self):
        for status in (301, 302, 303, 307, 308):
            with self.subTest(status), Listener(serve_http(answer_as_clickhouse)) as target:
                location = f"Location: http://127.0.0.1:{target.port}/"
                with Listener(
                    serve_http(lambda body, s=status, to=location: (s, to, ""))
                ) as server:
                    failure = failure_of(connector_to("clickhouse", server.port))
                self.assertEqual(failure.code, Code.PROTOCOL_FAILED)
                self.assertEqual(target.received, [])

    def test_clickhouse_uses_no_proxy(self):
        proxy = f"http://127.0.0.1:{free_port()}"
        proxies = {"HTTP_PROXY": proxy, "http_proxy": proxy, "ALL_PROXY": proxy}
        with (
            Listener(serve_http(answer_as_clickhouse)) as server,
            mock.patch.dict(os.environ, proxies),
        ):
            connector_to("clickhouse", server.port).connect().close()

    def test_clickhouse_password_is_not_sent_in_clear_if_tls_is_configured(self):
        for asked in ({"url_scheme": "clickhouses"}, {"options": {"secure": "true"}}):
            with self.subTest(asked), Listener(say_garbage) as server:
                failure = failure_of(connector_to("clickhouse", server.port, **asked))
                self.assertEqual(failure.code, Code.TLS_FAILED)
                self.assertNotIn(BASIC, b"".join(server.received))

    def test_clickhouse_password_is_not_sent_to_a_self_signed_server(self):
        with Listener(serve_tls) as server:
            failure = failure_of(connector_to("clickhouse", server.port, url_scheme="clickhouses"))
        self.assertEqual(failure.code, Code.TLS_FAILED)
        self.assertEqual(server.received, [])

    def test_clickhouse_does_not_retry_a_silent_server(self):
        with Listener(keep_silent) as server:
            failure_of(connector_to("clickhouse", server.port))
        requests = b"".join(server.received).count(b"POST /")
        self.assertEqual(requests, 1)

    def test_clickhouse_error_numbers_map_to_failure_codes(self):
        for number, code in (
            (81, Code.DATABASE_MISSING),
            (159, Code.DEADLINE),
            (202, Code.SERVER_BUSY),
            (195, Code.ADDRESS_REFUSED),
            (497, Code.DATABASE_FORBIDDEN),
            (516, Code.LOGIN_FAILED),
            (999, Code.QUERY_FAILED),
        ):
            header = f"X-ClickHouse-Exception-Code: {number}"
            text = f"Code: {number}. DB::Exception: words. (version 24.3)"
            with (
                self.subTest(number),
                Listener(serve_http(lambda body, h=header, t=text: (500, h, t))) as server,
            ):
                self.assertEqual(failure_of(connector_to("clickhouse", server.port)).code, code)

    def test_clickhouse_user_without_password_is_asked_for_one_only_by_some_numbers(self):
        for number, code in ((194, Code.CREDENTIALS_UNSET), (497, Code.DATABASE_FORBIDDEN)):
            answer = (500, f"X-ClickHouse-Exception-Code: {number}", "Worte")
            with (
                self.subTest(number),
                Listener(serve_http(lambda body, a=answer: a)) as server,
            ):
                connector = connector_to("clickhouse", server.port, secrets={})
                self.assertEqual(failure_of(connector).code, code)

    def test_clickhouse_errors_of_statements_map_to_failure_codes(self):
        for number, code in (
            (159, Code.QUERY_TIMEOUT),
            (497, Code.PERMISSION_DENIED),
            (202, Code.SERVER_BUSY),
            (236, Code.CONNECTION_LOST),
            (62, None),
        ):
            with self.subTest(number):
                error = DatabaseError("Code: 81. words", code=number)
                connector = connector_to("clickhouse", 1)
                self.assertEqual(connector.explain_statement(error), code)

    def test_http_statuses_without_clickhouse_error_map_to_failure_codes(self):
        for status, code in (
            (401, Code.LOGIN_FAILED),
            (403, Code.LOGIN_FAILED),
            (404, Code.PROTOCOL_FAILED),
            (503, Code.SERVER_BUSY),
        ):
            with (
                self.subTest(status),
                Listener(serve_http(lambda body, s=status: (s, "X: y", "words"))) as server,
            ):
                self.assertEqual(failure_of(connector_to("clickhouse", server.port)).code, code)

    def test_clickhouse_refuses_invalid_options(self):
        for options in ({"compress": "nonsense"}, {"secure": "maybe"}):
            with self.subTest(options), Listener(serve_http(answer_as_clickhouse)) as server:
                failure = failure_of(connector_to("clickhouse", server.port, options=options))
                self.assertEqual(failure.code, Code.OPTION_INVALID)
                self.assertEqual(server.received, [])

    def test_clickhouse_driver_logs_nothing_if_the_server_disconnects(self):
        with Listener(close_at_once) as server, self.assertNoLogs(level=logging.WARNING):
            failure_of(connector_to("clickhouse", server.port))


def serve_tls(listener: Listener, client: socket.socket) -> None:
    """Present a self-signed certificate for localhost, and store what the client sends."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.public_bytes(Encoding.PEM))
        file.write(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        file.flush()
        context.load_cert_chain(file.name)
    with context.wrap_socket(client, server_side=True) as encrypted:
        listener.receive(encrypted)
