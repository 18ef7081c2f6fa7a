import os
import secrets
import socket
import ssl
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from unittest import mock

from django.test import SimpleTestCase
from pymysql import MySQLError
from sqlalchemy import QueuePool, create_engine, text
from sqlalchemy.exc import OperationalError

from datasources.connections.connectors import mysql
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.testing import fake_mysql, mariadb
from datasources.connections.testing.certificates import make_certificates
from datasources.connections.testing.mariadb import make_connector
from rivergen.testing.services import free_port

CANARY = secrets.token_hex(16)


class ConnectorTestCase(SimpleTestCase):
    def assert_fails(self, code: Code, connector: mysql.MySQL) -> None:
        with self.assertRaises(ConnectionFailure) as raised:
            connector.connect()
        self.assertEqual(raised.exception.code, code)

    def stages_of(self, connector: mysql.MySQL) -> list[tuple[str, bool]]:
        return [(stage["stage"], stage["ok"]) for stage in connector.stages.to_list()]


class MariaDBTests(ConnectorTestCase):
    server: ClassVar[mariadb.MariaDBServer]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(mariadb.MariaDBServer())

    def connector(self, *args: Any, **settings: Any) -> mysql.MySQL:
        return make_connector(self.server, *args, **settings)

    def read(self, connector: mysql.MySQL, query: str) -> Any:
        with closing(connector.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def test_mariadb_login_passes_all_stages_and_returns_the_version(self):
        for connector in (mysql.MariaDB, mysql.MySQL):
            with self.subTest(connector=connector.name):
                connector = self.connector(connector)
                with closing(connector.connect()) as connection:
                    self.assertRegex(connector.query_version(connection), r"\AMariaDB [0-9.]+\Z")
                stages = [("tls", True), ("login", True), ("query", True)]
                self.assertEqual(self.stages_of(connector), stages)

    def test_mariadb_login_uses_the_connection_that_is_already_open(self):
        connector = self.connector()
        connector.endpoint.opened = socket.create_connection((mariadb.ADDRESS, self.server.port))
        with socket.create_server((mariadb.ADDRESS, 0)) as elsewhere:
            connector.endpoint.port = elsewhere.getsockname()[1]
            connector.connect().close()

    def test_mariadb_login_works_without_database(self):
        connector = self.connector(database_name=None)
        self.assertIsNone(self.read(connector, "SELECT DATABASE()"))

    def test_wrong_user_or_password_is_login_failed(self):
        refused: list[dict[str, Any]] = [
            {"password": "wrong"},
            {"username": "nobody"},
            {"username": None},
        ]
        for settings in refused:
            with self.subTest(**settings):
                self.assert_fails(Code.LOGIN_FAILED, self.connector(**settings))

    def test_mariadb_login_without_password_is_credentials_unset(self):
        self.assert_fails(Code.CREDENTIALS_UNSET, self.connector(password=None))

    def test_unknown_mariadb_database_is_database_missing(self):
        # The server tells only users with sufficient rights that a database is missing.
        connector = self.connector(username="root", password=None, database_name="nowhere")
        self.assert_fails(Code.DATABASE_MISSING, connector)

    def test_closed_mariadb_port_is_tcp_refused(self):
        connector = self.connector()
        connector.endpoint.port = free_port()
        self.assert_fails(Code.TCP_REFUSED, connector)

    def test_mariadb_connection_is_encrypted_unless_disabled(self):
        for mode, is_encrypted in (
            ("DISABLED", False),
            ("PREFERRED", True),
            ("REQUIRED", True),
            ("required", True),
        ):
            with self.subTest(mode=mode):
                connector = self.connector(options={"ssl_mode": mode})
                query = "SELECT variable_value FROM information_schema.session_status"
                cipher = self.read(connector, f"{query} WHERE variable_name = 'ssl_cipher'")
                self.assertEqual(bool(cipher), is_encrypted)
                self.assertEqual(("tls", True) in self.stages_of(connector), is_encrypted)

    def test_unknown_ssl_mode_is_option_invalid(self):
        connector = self.connector(options={"ssl_mode": "VERIFY"})
        self.assert_fails(Code.OPTION_INVALID, connector)

    def test_certificate_of_an_unknown_authority_is_tls_failed(self):
        for mode in ("VERIFY_CA", "VERIFY_IDENTITY"):
            with self.subTest(mode=mode):
                connector = self.connector(options={"ssl_mode": mode})
                self.assert_fails(Code.TLS_FAILED, connector)
                self.assertEqual(self.stages_of(connector), [("tls", False)])

    def test_verify_identity_checks_the_name_in_the_certificate(self):
        authority = str(self.server.certificates.authority)
        with mock.patch.dict(os.environ, SSL_CERT_FILE=authority):
            for mode, host, is_accepted in (
                ("VERIFY_IDENTITY", mariadb.HOST, True),
                ("VERIFY_IDENTITY", "other.example.test", False),
                ("VERIFY_IDENTITY", mariadb.ADDRESS, False),
                ("VERIFY_CA", "other.example.test", True),
            ):
                with self.subTest(mode=mode, host=host):
                    connector = self.connector(host=host, options={"ssl_mode": mode})
                    if is_accepted:
                        connector.connect().close()
                    else:
                        self.assert_fails(Code.TLS_FAILED, connector)

    def test_charset_and_collation_options_are_used(self):
        latin = {"charset": "latin1", "collation": "latin1_bin"}
        for options, expected in (({}, "utf8mb4_general_ci"), (latin, "latin1_bin")):
            with self.subTest(options=options):
                connector = self.connector(options=options)
                self.assertEqual(self.read(connector, "SELECT @@collation_connection"), expected)

    def test_invalid_charset_collation_or_timeout_is_option_invalid(self):
        for options in (
            {"charset": "klingon"},
            {"collation": "klingon"},
            {"charset": "geostd8"},  # PyMySQL knows it, Python does not
            {"charset": "utf16"},
            {"charset": "latin1", "collation": "utf8mb4_bin"},
            {"collation": "utf8mb4_bin, @@max_statement_time = 0"},
            {"connect_timeout": "soon"},
        ):
            with self.subTest(options=options):
                self.assert_fails(Code.OPTION_INVALID, self.connector(options=options))

    def test_mariadb_statement_over_sqlalchemy_times_out(self):
        for connector_class in (mysql.MariaDB, mysql.MySQL):
            with self.subTest(connector=connector_class.name):
                connector = self.connector(connector_class, query_timeout=1)
                engine = create_engine(
                    f"{connector.dialect}://", creator=connector.connect, poolclass=QueuePool
                )
                self.addCleanup(engine.dispose)
                with engine.connect() as connection:
                    self.assertEqual(connection.scalar(text("select 1")), 1)
                    with self.assertRaises(OperationalError) as raised:
                        connection.scalar(text("select sleep(30)"))
                    self.assertIn("max_statement_time exceeded", str(raised.exception))
                    # The server has ended the statement, so the connection is still usable.
                    connection.rollback()
                    self.assertEqual(connection.scalar(text("select 2")), 2)

    def test_failure_after_the_login_closes_the_mariadb_connection(self):
        connector = self.connector()
        with (
            mock.patch("pymysql.connections.Connection.close", autospec=True) as close,
            mock.patch.object(connector, "_limit_statements", side_effect=RuntimeError),
        ):
            self.assert_fails(Code.PROTOCOL_FAILED, connector)
        close.assert_called_once()


class FakeServerTests(ConnectorTestCase):
    def connector(self, server: fake_mysql.FakeMySQL, **settings: Any) -> mysql.MySQL:
        settings.setdefault("connector", mysql.MySQL)
        return make_connector(server, **settings)

    def converse(self, connector: mysql.MySQL) -> str | Code:
        """Log in and query the version. Return the version, or the code of the failure."""
        try:
            with closing(connector.connect()) as connection:
                return connector.query_version(connection)
        except ConnectionFailure as failure:
            return failure.code

    def test_mysql_session_has_a_query_timeout(self):
        with fake_mysql.FakeMySQL() as server:
            answer = self.converse(self.connector(server, query_timeout=7))
        self.assertEqual(answer, "MySQL 8.0.36")
        self.assertIn("SET SESSION max_execution_time = 7000", server.statements)

    def test_old_mysql_without_query_timeout_variable_is_accepted(self):
        with fake_mysql.FakeWithoutVariables(version="5.6.51") as server:
            answer = self.converse(self.connector(server))
        self.assertEqual(answer, "MySQL 5.6.51")

    def test_mysql_version_is_one_short_printable_line(self):
        version = "8.1\r\n\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}" + "9" * 500
        with fake_mysql.FakeMySQL(version) as server:
            answer = self.converse(self.connector(server))
        self.assertEqual(answer, "MySQL 8.1 [2J " + "9" * 86)

    def test_mysql_login_without_username_does_not_use_the_process_user(self):
        with (
            mock.patch("pymysql.connections.DEFAULT_USER", CANARY),
            fake_mysql.FakeMySQL() as server,
        ):
            self.assertEqual(self.converse(self.connector(server, username=None)), "MySQL 8.0.36")
        self.assertNotIn(CANARY.encode(), server.received)

    def test_mysql_server_cannot_request_a_local_file(self):
        with TemporaryDirectory() as folder:
            path = Path(folder, "private")
            path.write_text(CANARY)
            # The answers to login, SET NAMES, SET AUTOCOMMIT, SET SESSION and SELECT.
            for honest_answers in range(5):
                with (
                    self.subTest(honest_answers=honest_answers),
                    fake_mysql.FakeFileThief(str(path), honest_answers) as server,
                ):
                    answer = self.converse(self.connector(server))
                self.assertIn(answer, (Code.PROTOCOL_FAILED, Code.QUERY_FAILED))
                self.assertTrue(server.has_asked)
                self.assertIn(mariadb.USERNAME.encode(), server.received)
                self.assertNotIn(CANARY.encode(), server.received)

    def test_mysql_password_is_never_sent_in_clear_without_tls(self):
        for request in (
            b"mysql_clear_password\0",
            b"dialog\0\4Password: ",
            b"dialog\0\5Password: ",
            b"mysql_old_password\0" + fake_mysql.SALT,  # a hash that can be reversed
        ):
            with (
                self.subTest(request=request),
                fake_mysql.FakePasswordThief(request) as server,
            ):
                answer = self.converse(self.connector(server, password=CANARY))
            self.assertEqual(answer, Code.CLEAR_PASSWORD_REFUSED)
            self.assertIn(mariadb.USERNAME.encode(), server.received)
            self.assertNotIn(CANARY.encode(), server.received)

    def test_mysql_password_is_not_encrypted_for_a_key_that_nobody_verified(self):
        for plugin in (b"caching_sha2_password", b"sha256_password"):
            for mode in ("DISABLED", "PREFERRED"):
                with (
                    self.subTest(plugin=plugin, mode=mode),
                    fake_mysql.FakeKeyThief(plugin, CANARY.encode()) as server,
                ):
                    connector = self.connector(server, password=CANARY, options={"ssl_mode": mode})
                    answer = self.converse(connector)
                self.assertFalse(server.can_decrypt)
                self.assertEqual(answer, Code.CLEAR_PASSWORD_REFUSED)

    def test_mysql_password_may_be_sent_in_clear_over_tls(self):
        with TemporaryDirectory() as folder:
            certificates = make_certificates(Path(folder), mariadb.HOST)
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificates.certificate, certificates.key)
            with fake_mysql.FakePasswordThief(b"mysql_clear_password\0", tls) as server:
                answer = self.converse(self.connector(server, password=CANARY))
        self.assertEqual(answer, "MySQL 8.0.36")
        self.assertIn(CANARY.encode(), server.received)

    def test_mysql_login_without_tls_needs_mode_disabled_or_preferred(self):
        for mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
            with self.subTest(mode=mode), fake_mysql.FakeMySQL() as server:
                connector = self.connector(server, options={"ssl_mode": mode})
                self.assert_fails(Code.TLS_FAILED, connector)
            self.assertEqual(server.received, b"")
        for mode in ("DISABLED", "PREFERRED"):
            with self.subTest(mode=mode), fake_mysql.FakeMySQL() as server:
                connector = self.connector(server, options={"ssl_mode": mode})
                self.assertEqual(self.converse(connector), "MySQL 8.0.36")

    def test_silent_mysql_server_is_deadline(self):
        for fake, settings in (
            (fake_mysql.FakeSilence, {"connection_timeout": 1}),
            (fake_mysql.FakeSilence, {"options": {"connect_timeout": "1"}}),
            (fake_mysql.FakeSilenceAtTLS, {"connection_timeout": 1}),
        ):
            with self.subTest(fake=fake.__name__, **settings), fake() as server:
                # Not PROTOCOL_FAILED: the fake closes the connection only much later.
                self.assert_fails(Code.DEADLINE, self.connector(server, **settings))

    def test_mysql_query_times_out_on_the_client_if_the_server_hangs(self):
        with (
            mock.patch.object(mysql, "ANSWER_MARGIN_SECONDS", 0),
            fake_mysql.FakeHang() as server,
        ):
            connector = self.connector(server, query_timeout=1, connection_timeout=60)
            with (
                closing(connector.connect()) as connection,
                self.assertRaises(MySQLError) as raised,
            ):
                connector.read_version(connection)
        # The client timed out: the fake closes the connection only much later.
        self.assertIsInstance(raised.exception.__context__, TimeoutError)

    def test_mysql_error_numbers_map_to_failure_codes(self):
        for number, code in (
            (1040, Code.SERVER_BUSY),
            (1044, Code.DATABASE_FORBIDDEN),
            (1045, Code.LOGIN_FAILED),
            (1049, Code.DATABASE_MISSING),
            (1053, Code.SERVER_BUSY),
            (1129, Code.ADDRESS_REFUSED),
            (1130, Code.ADDRESS_REFUSED),
            (1203, Code.SERVER_BUSY),
            (1251, Code.LOGIN_FAILED),
            (1820, Code.ACCOUNT_LOCKED),
            (3118, Code.ACCOUNT_LOCKED),
            (3159, Code.TLS_FAILED),
            (4151, Code.ACCOUNT_LOCKED),
            (9000, Code.ADDRESS_REFUSED),
            (1105, Code.QUERY_FAILED),  # unknown error
        ):
            for password in (mariadb.PASSWORD, None):
                if not password and code == Code.LOGIN_FAILED:
                    code = Code.CREDENTIALS_UNSET  # only this one is about the password
                with (
                    self.subTest(number=number, password=password),
                    fake_mysql.FakeRefusal(number) as server,
                ):
                    self.assert_fails(code, self.connector(server, password=password))

    def test_web_server_on_the_mysql_port_is_protocol_failed(self):
        with fake_mysql.FakeWebServer() as server:
            self.assert_fails(Code.PROTOCOL_FAILED, self.connector(server))
