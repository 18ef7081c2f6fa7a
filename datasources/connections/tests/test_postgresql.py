"""PostgreSQL, against a real server and fake ones."""

import os
import ssl
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from unittest import mock

import psycopg
import sqlalchemy
from django.test import SimpleTestCase

from datasources.connections.attempt import attempt, connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.failures import ConnectionFailure
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.fake_postgresql import (
    GSSAPI,
    MD5,
    FakePostgreSQL,
    md5_answer,
)
from datasources.connections.testing.listeners import (
    Listener,
    close_at_once,
    reset_at_once,
    say_first,
    say_garbage,
)
from datasources.connections.testing.postgresql import (
    DATABASE,
    HOST,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
    TLSFront,
)


class PostgreSQLTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())
        folder = Path(cls.enterClassContext(TemporaryDirectory()))
        cls.front = cls.enterClassContext(TLSFront(cls.server, folder))

    def configuration(self, **changes):
        return Configuration(
            **{
                "type": "postgresql",
                "host": "127.0.0.1",
                "port": self.server.port,
                "database_name": DATABASE,
                "username": USERNAME,
                "secrets": {"password": PASSWORD},
                "connection_timeout": 10,
                **changes,
            }
        )

    def attempt(self, **changes):
        return attempt(self.configuration(**changes), LOOPBACK_POLICY, Stages())

    def stages(self, outcome):
        return {stage["stage"]: stage["ok"] for stage in outcome["stages"]}

    def test_postgresql_attempt_passes_all_stages(self):
        outcome = self.attempt()
        self.assertEqual(outcome["code"], "OK")
        self.assertRegex(outcome["server_version"], r"^PostgreSQL \d+")
        names = ["policy", "dns", "tcp", "login", "query"]
        self.assertEqual(self.stages(outcome), dict.fromkeys(names, True))

    def test_postgresql_login_failures_map_to_failure_codes(self):
        for code, changes in {
            "LOGIN_FAILED": {"secrets": {"password": "wrong"}},
            "CREDENTIALS_UNSET": {"secrets": {}},
            "DATABASE_MISSING": {"database_name": "nowhere"},
            "TLS_FAILED": {"options": {"sslmode": "require"}},
            "OPTION_INVALID": {"options": {"sslmode": "nonsense"}},
            "FIELDS_MISSING": {"database_name": None},
        }.items():
            with self.subTest(code=code):
                outcome = self.attempt(**changes)
                self.assertEqual(outcome["code"], code)
                self.assertIsNone(outcome["server_version"])
                if code != "TLS_FAILED":  # the server has no TLS
                    self.assertNotIn("tls", self.stages(outcome))

    def test_postgresql_refuses_invalid_options(self):
        for options in (
            {"channel_binding": "nonsense"},
            {"connect_timeout": "soon"},
            {"keepalives": "x"},
            {"target_session_attrs": "nonsense"},
            {"target_session_attrs": "standby"},  # the server is a primary
        ):
            with self.subTest(options):
                self.assertEqual(self.attempt(options=options)["code"], "OPTION_INVALID")
        self.assertEqual(self.attempt(options={"channel_binding": "require"})["code"], "TLS_FAILED")

    def test_server_that_answers_tls_request_wrongly_is_protocol_failed(self):
        for mode in ("prefer", "require"):
            for answer in (
                close_at_once,
                reset_at_once,
                say_garbage,
                say_first(b"SSH-2.0-OpenSSH_9.2\r\n"),
                say_first(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            ):
                with self.subTest(mode=mode, answer=answer), Listener(answer) as server:
                    outcome = self.attempt(port=server.port, options={"sslmode": mode})
                    self.assertEqual(outcome["code"], "PROTOCOL_FAILED")

    def test_postgresql_prints_nothing_about_a_password_file(self):
        with TemporaryFile() as written:
            errors = os.dup(2)
            self.addCleanup(os.close, errors)
            os.dup2(written.fileno(), 2)
            try:
                self.assertEqual(self.attempt(secrets={})["code"], "CREDENTIALS_UNSET")
            finally:
                os.dup2(errors, 2)
            written.seek(0)
            self.assertEqual(written.read(), b"")

    def test_postgresql_tls_handshake_is_a_stage(self):
        outcome = self.attempt(port=self.front.port, options={"sslmode": "require"})
        self.assertEqual(outcome["code"], "OK")
        names = ["policy", "dns", "tcp", "tls", "login", "query"]
        self.assertEqual(list(self.stages(outcome)), names)

    def test_postgresql_verifies_certificates_as_sslmode_says(self):
        # The lookup is replaced: the driver gets the pinned address.
        paths = ssl.get_default_verify_paths()
        authority = paths._replace(cafile=str(self.front.certificates.authority))
        for mode, known, host, code in (
            ("verify-full", True, HOST, "OK"),
            ("verify-full", True, "other.example.test", "TLS_FAILED"),
            ("verify-ca", True, "other.example.test", "OK"),
            ("verify-full", False, HOST, "TLS_FAILED"),
        ):
            with self.subTest(mode=mode, known=known, host=host), ExitStack() as stack:
                stack.enter_context(
                    mock.patch("datasources.connections.route.look_up", return_value=["127.0.0.1"])
                )
                if known:
                    stack.enter_context(
                        mock.patch("ssl.get_default_verify_paths", return_value=authority)
                    )
                options = {"sslmode": mode}
                outcome = self.attempt(host=host, port=self.front.port, options=options)
                self.assertEqual(outcome["code"], code)
                if code != "OK":
                    self.assertFalse(self.stages(outcome)["tls"])

    def test_postgresql_password_is_never_sent_in_clear_without_tls(self):
        for options in ({}, *({"sslmode": mode} for mode in ("disable", "allow", "prefer"))):
            with self.subTest(options), FakePostgreSQL() as server:
                outcome = self.attempt(port=server.port, options=options)
                self.assertEqual(outcome["code"], "CLEAR_PASSWORD_REFUSED")
                self.assertEqual(server.answers, [])
                self.assertIn(USERNAME.encode(), server.bytes_received)
                self.assertNotIn(PASSWORD.encode(), server.bytes_received)
                self.assertNotIn("tls", self.stages(outcome))

    def test_redshift_and_cockroachdb_passwords_are_never_sent_in_clear_without_tls(self):
        for name in ("redshift", "cockroachdb"):
            with self.subTest(name), FakePostgreSQL() as server:
                outcome = self.attempt(type=name, port=server.port)
                self.assertEqual(outcome["code"], "CLEAR_PASSWORD_REFUSED")
                self.assertNotIn(PASSWORD.encode(), server.bytes_received)

    def test_postgresql_password_may_be_sent_in_clear_over_tls(self):
        for options in ({}, {"sslmode": "prefer"}, {"sslmode": "require"}):
            with (
                self.subTest(options),
                TemporaryDirectory() as folder,
                FakePostgreSQL() as server,
                TLSFront(server, Path(folder)) as front,
            ):
                outcome = self.attempt(port=front.port, options=options)
                self.assertEqual(outcome["code"], "PROTOCOL_FAILED")  # the fake hangs up
                self.assertEqual(server.answers, [PASSWORD.encode() + b"\0"])
                self.assertTrue(self.stages(outcome)["tls"])

    def test_postgresql_answers_md5_but_no_kerberos(self):
        with FakePostgreSQL(MD5) as server:
            self.attempt(port=server.port)
        self.assertEqual(server.answers, [md5_answer(USERNAME, PASSWORD)])
        for mode in ("disable", "require"):
            with (
                self.subTest(mode),
                TemporaryDirectory() as folder,
                FakePostgreSQL(GSSAPI) as server,
                TLSFront(server, Path(folder)) as front,
            ):
                port = server.port if mode == "disable" else front.port
                outcome = self.attempt(port=port, options={"sslmode": mode})
                self.assertEqual(outcome["code"], "LOGIN_FAILED")
                self.assertEqual(server.answers, [])

    def test_postgresql_fields_cannot_contain_a_connection_string(self):
        # libpq accepts whole connection strings in some parameters.
        elsewhere = "host=192.0.2.1 port=1 hostaddr=192.0.2.1"
        for changes in (
            {"database_name": elsewhere},
            {"database_name": f"postgresql://192.0.2.1/{DATABASE}"},
            {"username": f"{USERNAME} {elsewhere}"},
            {"secrets": {"password": f"x' {elsewhere}"}},
            {"options": {"application_name": f"x {elsewhere}"}, "secrets": {"password": "x"}},
        ):
            with self.subTest(changes):
                outcome = self.attempt(**changes)
                self.assertIn(outcome["code"], ("LOGIN_FAILED", "DATABASE_MISSING"))

    def test_postgresql_ignores_environment_and_password_file(self):
        with TemporaryDirectory() as home:
            password_file = Path(home) / ".pgpass"
            password_file.write_text(f"*:*:*:*:{PASSWORD}\n".replace("\\", "\\\\"))
            password_file.chmod(0o600)
            environment = {"HOME": home, "PGHOSTADDR": "192.0.2.1", "PGPORT": "1"}
            with mock.patch.dict("os.environ", environment):
                self.assertEqual(self.attempt()["code"], "OK")
                self.assertEqual(self.attempt(secrets={})["code"], "CREDENTIALS_UNSET")

    def test_postgresql_pool_has_its_size_and_query_timeout(self):
        configuration = self.configuration(query_timeout=1, connection_pool_size=2)
        with (
            connector_for(configuration, LOOPBACK_POLICY, Stages()) as connector,
            connector.session() as connection,
        ):
            self.assertEqual(connection.execute(sqlalchemy.text("SELECT 1")).scalar(), 1)
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(sqlalchemy.text("SELECT 2")).scalar(), 2)
                self.assertEqual(connection.engine.pool.size(), 2)
            with self.assertRaises(sqlalchemy.exc.OperationalError) as caught:
                connection.execute(sqlalchemy.text("SELECT pg_sleep(60)"))
            self.assertIsInstance(caught.exception.orig, psycopg.errors.QueryCanceled)

    def test_postgresql_failure_does_not_quote_the_server(self):
        with self.assertRaises(ConnectionFailure) as caught:
            configuration = self.configuration(secrets={"password": "wrong"})
            with connector_for(configuration, LOOPBACK_POLICY, Stages()) as connector:
                connector.connect()
        self.assertNotIn(USERNAME, str(caught.exception))
        self.assertTrue(caught.exception.__suppress_context__)
