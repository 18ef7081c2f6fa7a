"""What the result of a connection test says about passwords, encryption and verification."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.connectors import CONNECTORS
from datasources.connections.stages import Stages
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.connectors import LOOPBACK_POLICY, configuration_to
from datasources.connections.testing.fake_http import answer_as_clickhouse, serve_http
from datasources.connections.testing.fake_mssql import serve_tds
from datasources.connections.testing.listeners import Listener

PASSWORD_IN_CLEAR = "PASSWORD_IN_CLEAR"
NOT_VERIFIED = ["SERVER_NOT_VERIFIED"]
OPEN = ["NOT_ENCRYPTED", *NOT_VERIFIED]


def outcome_of(type_name, port, **changes):
    fields = {"connection_timeout": 10, **changes}
    return attempt(configuration_to(type_name, port, **fields), LOOPBACK_POLICY, Stages())


class GuaranteeTests(SimpleTestCase):
    """What the settings of each type guarantee, without a connection."""

    def warnings_of(self, type_name, **changes):
        fields = {"host": "db.example.com", "port": 1, **changes}
        configuration = configuration_to(type_name, fields.pop("port"), **fields)
        return CONNECTORS[type_name].warnings_of(configuration)

    def test_warnings_of_each_type_follow_its_options(self):
        for type_name, changes, expected in (
            ("postgresql", {}, OPEN),
            ("postgresql", {"options": {"sslmode": "disable"}}, OPEN),
            ("postgresql", {"options": {"sslmode": "allow"}}, OPEN),
            ("postgresql", {"options": {"sslmode": "require"}}, NOT_VERIFIED),
            ("postgresql", {"options": {"sslmode": "verify-ca"}}, NOT_VERIFIED),
            ("redshift", {"options": {"sslmode": "verify-full"}}, []),
            ("cockroachdb", {}, OPEN),
            ("mysql", {}, OPEN),
            ("mariadb", {"options": {"ssl_mode": "required"}}, NOT_VERIFIED),
            ("mysql", {"options": {"ssl_mode": "VERIFY_CA"}}, NOT_VERIFIED),
            ("mysql", {"options": {"ssl_mode": "VERIFY_IDENTITY"}}, []),
            ("clickhouse", {}, [PASSWORD_IN_CLEAR, *OPEN]),
            ("clickhouse", {"secrets": {}}, OPEN),
            ("clickhouse", {"url_scheme": "clickhouses"}, []),
            ("clickhouse", {"options": {"secure": "true"}}, []),
            ("mssql", {}, NOT_VERIFIED),
            ("mssql", {"options": {"encryption": "request"}}, [PASSWORD_IN_CLEAR, *OPEN]),
            ("mssql", {"options": {"encryption": "off"}}, [PASSWORD_IN_CLEAR, *OPEN]),
            ("oracle", {}, OPEN),
            ("mongodb", {}, OPEN),
            ("mongodb", {"options": {"tls": "true"}}, []),
            ("mongodb", {"url_scheme": "mongodb+srv"}, []),
            ("mongodb", {"url_scheme": "mongodb+srv", "options": {"tls": "false"}}, OPEN),
            ("trino", {}, []),
            ("trino", {"secrets": {}}, OPEN),
            ("trino", {"secrets": {}, "port": 443}, []),
            ("snowflake", {}, []),
            ("databricks", {}, []),
            ("bigquery", {}, []),
            ("csv", {"host": None}, []),
        ):
            with self.subTest(type_name, **changes):
                self.assertEqual(self.warnings_of(type_name, **changes), expected)

    def test_tunnel_protects_a_source_on_the_machine_of_the_ssh_server_only(self):
        for host, expected in (
            ("localhost", []),
            ("127.0.0.1", []),
            ("::1", []),
            ("10.0.0.5", OPEN),
            ("db.example.com", OPEN),
        ):
            with self.subTest(host):
                tunnel = {"host": host, "use_ssh_tunnel": True}
                self.assertEqual(self.warnings_of("postgresql", **tunnel), expected)
        self.assertEqual(self.warnings_of("postgresql", host="127.0.0.1"), OPEN)


class PostgreSQLProtectionTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(postgresql.PostgreSQLServer())
        folder = Path(cls.enterClassContext(TemporaryDirectory()))
        cls.front = cls.enterClassContext(postgresql.TLSFront(cls.server, folder))

    def outcome(self, port, mode=None, **changes):
        fields = {
            "database_name": postgresql.DATABASE,
            "username": postgresql.USERNAME,
            "secrets": {"password": postgresql.PASSWORD},
            "options": {"sslmode": mode} if mode else {},
            **changes,
        }
        return outcome_of("postgresql", port, **fields)

    def test_warnings_of_postgresql_are_about_the_connection_that_was_made(self):
        for port, mode, expected in (
            (self.server.port, None, OPEN),
            (self.server.port, "disable", OPEN),
            (self.front.port, "prefer", NOT_VERIFIED),
            (self.front.port, None, NOT_VERIFIED),
            (self.front.port, "require", NOT_VERIFIED),
        ):
            with self.subTest(mode=mode, port=port):
                outcome = self.outcome(port, mode)
                self.assertEqual((outcome["code"], outcome["warnings"]), ("OK", expected))

    def test_verified_postgresql_server_has_no_warnings(self):
        with ExitStack() as stack:
            route = "datasources.connections.route.look_up"
            stack.enter_context(mock.patch(route, return_value=["127.0.0.1"]))
            authority = mock.Mock(cafile=str(self.front.certificates.authority))
            paths = mock.patch("ssl.get_default_verify_paths", return_value=authority)
            stack.enter_context(paths)
            outcome = self.outcome(self.front.port, "verify-full", host=postgresql.HOST)
        self.assertEqual((outcome["code"], outcome["warnings"]), ("OK", []))

    def test_failed_login_that_sent_no_password_has_no_warnings(self):
        outcome = self.outcome(self.server.port, secrets={"password": "wrong"})
        self.assertEqual((outcome["code"], outcome["warnings"]), ("LOGIN_FAILED", []))


class MariaDBProtectionTests(SimpleTestCase):
    def test_warnings_of_mariadb_are_about_the_connection_that_was_made(self):
        with mariadb.MariaDBServer() as server:
            for mode, expected in (
                ("DISABLED", OPEN),
                ("PREFERRED", NOT_VERIFIED),
                ("REQUIRED", NOT_VERIFIED),
            ):
                with self.subTest(mode):
                    outcome = outcome_of(
                        "mariadb",
                        server.port,
                        database_name=mariadb.DATABASE,
                        username=mariadb.USERNAME,
                        secrets={"password": mariadb.PASSWORD},
                        options={"ssl_mode": mode},
                    )
                    self.assertEqual((outcome["code"], outcome["warnings"]), ("OK", expected))


class ClearPasswordTests(SimpleTestCase):
    def test_clickhouse_password_over_http_is_a_warning_even_if_the_login_fails(self):
        refuse = serve_http(lambda body: (403, "X-ClickHouse-Exception-Code: 516", "Code: 516."))
        for answer, code, expected in (
            (serve_http(answer_as_clickhouse), "OK", [PASSWORD_IN_CLEAR, *OPEN]),
            (refuse, "LOGIN_FAILED", [PASSWORD_IN_CLEAR]),
        ):
            with self.subTest(code), Listener(answer) as server:
                outcome = outcome_of("clickhouse", server.port)
                self.assertEqual((outcome["code"], outcome["warnings"]), (code, expected))

    def test_sql_server_password_without_tls_is_a_warning(self):
        with Listener(serve_tds()) as server:
            outcome = outcome_of("mssql", server.port, options={"encryption": "off"})
        self.assertEqual(outcome["code"], "OK")
        self.assertEqual(outcome["warnings"], [PASSWORD_IN_CLEAR, *OPEN])

    def test_attempt_that_does_not_reach_the_server_has_no_warnings(self):
        outcome = outcome_of("clickhouse", 1, host="169.254.169.254")
        self.assertEqual((outcome["code"], outcome["warnings"]), ("EGRESS_DENIED", []))
