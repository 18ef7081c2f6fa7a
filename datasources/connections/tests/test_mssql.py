"""SQL Server, against a fake server (MS-TDS)."""

import os
from unittest import mock

from django.test import SimpleTestCase
from pymssql import OperationalError

from datasources.connections.failures import Code
from datasources.connections.testing.connectors import PASSWORD, connector_to, failure_of
from datasources.connections.testing.fake_mssql import serve_tds
from datasources.connections.testing.listeners import Listener, keep_silent
from rivergen.testing.services import free_port

WITHOUT_TLS = {"encryption": "off"}  # as the fake server


class MSSQLTests(SimpleTestCase):
    def test_sql_server_version_is_its_first_line(self):
        with Listener(serve_tds()) as server:
            connector = connector_to("mssql", server.port, options=WITHOUT_TLS)
            connection = connector.connect()
            self.assertEqual(connector.query_version(connection), "Microsoft SQL Server 2022 (RTM)")
            connection.close()
        self.assertEqual(
            [stage["stage"] for stage in connector.stages.to_list()], ["login", "query"]
        )

    def test_sql_server_cannot_route_the_login_to_another_address(self):
        with Listener(serve_tds()) as target:
            with Listener(serve_tds(routed_to=("127.0.0.1", target.port))) as server:
                failure = failure_of(connector_to("mssql", server.port, options=WITHOUT_TLS))
            self.assertEqual(failure.code, Code.EGRESS_DENIED)
            self.assertEqual(target.received, [])

    def test_sql_server_without_tls_gets_no_password_unless_the_options_allow_that(self):
        for options, code in (
            ({}, Code.PROTOCOL_FAILED),
            ({"encryption": "require"}, Code.TLS_FAILED),
            ({"encryption": "request"}, None),
            (WITHOUT_TLS, None),
        ):
            with self.subTest(options), Listener(serve_tds()) as server:
                connector = connector_to("mssql", server.port, options=options)
                if code is None:
                    connector.connect().close()
                else:
                    self.assertEqual(failure_of(connector).code, code)
                self.assertEqual(obscured(PASSWORD) in b"".join(server.received), code is None)

    def test_sql_server_refuses_invalid_options(self):
        for option, value in (
            ("encryption", "nonsense"),
            ("charset", "nonsense"),
            ("charset", "utf_8_sig"),  # Python knows it, FreeTDS does not
        ):
            with self.subTest(value), Listener(serve_tds()) as server:
                failure = failure_of(connector_to("mssql", server.port, options={option: value}))
                self.assertEqual(failure.code, Code.OPTION_INVALID)
                self.assertEqual(server.received, [])

    def test_sql_server_database_name_in_brackets_is_refused(self):
        with Listener(serve_tds()) as server:
            name = "[sales]; DROP TABLE orders; --]"
            failure = failure_of(connector_to("mssql", server.port, database_name=name))
            self.assertEqual(failure.code, Code.DATABASE_MISSING)
            self.assertEqual(server.received, [])

    def test_sql_server_user_and_database_names_cannot_name_a_host(self):
        for name in ("127.0.0.2,1433", "127.0.0.2:1433", "other\\instance", "(local)", "//other"):
            with self.subTest(name), Listener(serve_tds()) as server:
                connector_to(
                    "mssql",
                    server.port,
                    username=name,
                    database_name=name,
                    options=WITHOUT_TLS,
                ).connect()
                self.assertTrue(server.received)

    def test_sql_server_address_is_not_taken_from_the_environment(self):
        elsewhere = {"TDSHOST": "127.0.0.2", "TDSPORT": str(free_port())}
        with Listener(serve_tds()) as server, mock.patch.dict(os.environ, elsewhere):
            connector_to("mssql", server.port, options=WITHOUT_TLS).connect().close()
            self.assertTrue(server.received)

    def test_sql_server_without_username_sends_nothing(self):
        with Listener(keep_silent) as server:
            failure = failure_of(connector_to("mssql", server.port, username=None))
            self.assertEqual(failure.code, Code.CREDENTIALS_UNSET)
            self.assertEqual(server.received, [])

    def test_sql_server_error_numbers_map_to_failure_codes(self):
        words = b"words of the server"
        freetds = b"DB-Lib error message %d, severity 9:\n"
        for number, text, code in (
            (18456, words + freetds % 20018 + freetds % 20002, Code.LOGIN_FAILED),
            (4060, words + freetds % 20018 + freetds % 20002, Code.DATABASE_MISSING),
            (4060, freetds % 20003 + freetds % 20002, Code.DEADLINE),
            (20009, freetds % 20009 + b"Connection refused (111)", Code.TCP_REFUSED),
            (17809, words + freetds % 20018 + freetds % 20002, Code.SERVER_BUSY),
            (916, words + freetds % 20018 + freetds % 20002, Code.DATABASE_FORBIDDEN),
            (942, words + freetds % 20018 + freetds % 20002, Code.DATABASE_CLOSED),
            (18486, words + freetds % 20018 + freetds % 20002, Code.ACCOUNT_LOCKED),
            (18488, words + freetds % 20018 + freetds % 20002, Code.ACCOUNT_LOCKED),
            (40615, words + freetds % 20018 + freetds % 20002, Code.ADDRESS_REFUSED),
            (50000, words + freetds % 20018 + freetds % 20002, Code.QUERY_FAILED),
            (20009, freetds % 20002, Code.PROTOCOL_FAILED),
        ):
            with self.subTest(text):
                error = OperationalError((number, text))
                self.assertEqual(connector_to("mssql", 1).explain(error), code)

    def test_sql_server_errors_of_statements_map_to_failure_codes(self):
        freetds = b"DB-Lib error message %d, severity 9:\n"
        for number, text, code in (
            (229, b"words" + freetds % 20018, Code.PERMISSION_DENIED),
            (1222, b"words", Code.QUERY_TIMEOUT),
            (18456, freetds % 20003, Code.QUERY_TIMEOUT),
            (20047, freetds % 20047, Code.CONNECTION_LOST),
            (208, b"words" + freetds % 20018, None),
        ):
            with self.subTest(number):
                error = OperationalError((number, text))
                self.assertEqual(connector_to("mssql", 1).explain_statement(error), code)


def obscured(password: str) -> bytes:
    """Obfuscate a password as LOGIN7 does: the halves of each byte swapped, then XOR 0xA5."""
    letters = password.encode("utf-16-le")
    return bytes(((byte << 4 | byte >> 4) & 0xFF) ^ 0xA5 for byte in letters)
