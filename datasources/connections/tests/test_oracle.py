"""Oracle Database, against a fake listener."""

from types import SimpleNamespace

from django.test import SimpleTestCase
from oracledb import DatabaseError

from datasources.connections.failures import Code
from datasources.connections.testing.connectors import connector_to, failure_of
from datasources.connections.testing.fake_oracle import refuse
from datasources.connections.testing.listeners import Listener, keep_silent


class OracleTests(SimpleTestCase):
    def test_oracle_service_is_the_option_or_sid_or_database_name(self):
        for options, asked in (
            ({}, b"(SERVICE_NAME=sales)"),
            ({"service_name": "orders.example"}, b"(SERVICE_NAME=orders.example)"),
            ({"sid": "ORCL"}, b"(SID=ORCL)"),
        ):
            with self.subTest(asked), Listener(refuse(12514)) as server:
                failure_of(connector_to("oracle", server.port, options=options))
                self.assertIn(asked, b"".join(server.received))

    def test_oracle_service_name_cannot_contain_an_address(self):
        for name in (
            "(DESCRIPTION=(ADDRESS=(HOST=127.0.0.2)(PORT=1)))",
            "127.0.0.2/sales",
            "127.0.0.2:1521/sales",
            "tcps://127.0.0.2/sales",
            "config-file:///etc/passwd",
            "sales)(SERVER=pooled",
            "user/password@other",
        ):
            with self.subTest(name), Listener(refuse(12514)) as server:
                for options in ({}, {"service_name": name}, {"sid": name}):
                    connector = connector_to(
                        "oracle", server.port, database_name=name, options=options
                    )
                    self.assertEqual(failure_of(connector).code, Code.DATABASE_MISSING)
                self.assertEqual(server.received, [])

    def test_oracle_alias_is_a_service_name_of_the_configured_host(self):
        with Listener(refuse(12514)) as server:
            failure_of(connector_to("oracle", server.port, database_name="alias"))
            self.assertIn(b"(SERVICE_NAME=alias)", b"".join(server.received))

    def test_oracle_server_learns_nothing_about_this_machine(self):
        with Listener(refuse(12514)) as server:
            failure_of(connector_to("oracle", server.port))
            client_information = b"(CID=(PROGRAM=rivergen)(HOST=rivergen)(USER=rivergen))"
            self.assertIn(client_information, b"".join(server.received))

    def test_oracle_listener_errors_map_to_failure_codes(self):
        for number, code in (
            (12514, Code.DATABASE_MISSING),
            (12505, Code.DATABASE_MISSING),
            (12528, Code.SERVER_BUSY),
            (12516, Code.SERVER_BUSY),
            (12521, Code.DATABASE_MISSING),
            (12506, Code.ADDRESS_REFUSED),
            (12526, Code.DATABASE_CLOSED),
            (600, Code.QUERY_FAILED),
        ):
            with self.subTest(number), Listener(refuse(number)) as server:
                self.assertEqual(failure_of(connector_to("oracle", server.port)).code, code)

    def test_oracle_database_errors_map_to_failure_codes(self):
        for code, meaning in (
            ("ORA-01017", Code.LOGIN_FAILED),
            ("ORA-28000", Code.ACCOUNT_LOCKED),
            ("ORA-28001", Code.ACCOUNT_LOCKED),
            ("ORA-01045", Code.DATABASE_FORBIDDEN),
            ("ORA-01035", Code.DATABASE_CLOSED),
            ("ORA-01033", Code.SERVER_BUSY),
            ("ORA-02391", Code.SERVER_BUSY),
            ("ORA-00600", Code.QUERY_FAILED),
        ):
            with self.subTest(code):
                error = DatabaseError(SimpleNamespace(full_code=code))
                self.assertEqual(connector_to("oracle", 1).explain(error), meaning)

    def test_oracle_errors_of_statements_map_to_failure_codes(self):
        for code, meaning in (
            ("ORA-00942", Code.PERMISSION_DENIED),
            ("ORA-01031", Code.PERMISSION_DENIED),
            ("DPY-4024", Code.QUERY_TIMEOUT),
            ("ORA-03113", Code.CONNECTION_LOST),
            ("DPY-4011", Code.CONNECTION_LOST),
            ("ORA-00600", None),
        ):
            with self.subTest(code):
                error = DatabaseError(SimpleNamespace(full_code=code))
                self.assertEqual(connector_to("oracle", 1).explain_statement(error), meaning)

    def test_oracle_without_password_sends_nothing(self):
        with Listener(keep_silent) as server:
            failure = failure_of(connector_to("oracle", server.port, secrets={}))
            self.assertEqual(failure.code, Code.CREDENTIALS_UNSET)
            self.assertEqual(server.received, [])
