"""Why a PostgreSQL server refuses a login, in whatever language it says so."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

import psycopg
from django.test import SimpleTestCase

from datasources.connections import libpq
from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.fake_postgresql import refuse
from datasources.connections.testing.german_postgresql import CONNECTIONS_MAX, GermanPostgreSQL
from datasources.connections.testing.listeners import Listener
from datasources.connections.testing.postgresql import PostgreSQLServer

PASSWORD = "correct-horse"
OBJECTS = (
    *("CREATE ROLE app LOGIN PASSWORD '{}'", "CREATE ROLE guest LOGIN"),
    "CREATE ROLE limited LOGIN PASSWORD '{}' CONNECTION LIMIT 0",
    *("CREATE ROLE no_login PASSWORD '{}'", "CREATE ROLE refused LOGIN PASSWORD '{}'"),
    *("CREATE DATABASE sales", "CREATE DATABASE busy CONNECTION LIMIT 0"),
    *("CREATE DATABASE private", "REVOKE CONNECT ON DATABASE private FROM public"),
    "CREATE DATABASE closed ALLOW_CONNECTIONS false",
)
WITHOUT_PASSWORD: dict[str, Any] = {"secrets": {}}
CASES: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "OK"),
    ({"username": "guest", **WITHOUT_PASSWORD}, "OK"),
    ({"secrets": {"password": "wrong"}}, "LOGIN_FAILED"),
    (WITHOUT_PASSWORD, "CREDENTIALS_UNSET"),
    ({"username": "nobody"}, "LOGIN_FAILED"),
    ({"username": "nobody", **WITHOUT_PASSWORD}, "CREDENTIALS_UNSET"),
    # Nobody asks these for a password.
    ({"username": "ghost"}, "LOGIN_FAILED"),
    ({"username": "ghost", **WITHOUT_PASSWORD}, "LOGIN_FAILED"),
    ({"username": "no_login"}, "LOGIN_FAILED"),
    ({"username": "refused"}, "ADDRESS_REFUSED"),
    ({"username": "refused", **WITHOUT_PASSWORD}, "ADDRESS_REFUSED"),
    ({"username": "limited"}, "SERVER_BUSY"),
    ({"database_name": "busy"}, "SERVER_BUSY"),
    ({"database_name": "nowhere"}, "DATABASE_MISSING"),
    ({"database_name": "closed"}, "DATABASE_CLOSED"),
    ({"database_name": "template0"}, "DATABASE_CLOSED"),
    ({"database_name": "private"}, "DATABASE_FORBIDDEN"),
    ({"database_name": "private", "username": "guest", **WITHOUT_PASSWORD}, "DATABASE_FORBIDDEN"),
    ({"database_name": "nowhere", "username": "guest", **WITHOUT_PASSWORD}, "DATABASE_MISSING"),
)
# Unknown, without a value, not for this user, or not while the server runs.
REFUSED_OPTIONS = (
    *("-cnothing=1", "-cDateStyle=x", "--statement-timeout", "-c", "-x y z"),
    *("-clog_statement=all", "-csession_preload_libraries=x", "-crole=pg_read_all_data"),
    *("-cmax_connections=9", "-cserver_version=9"),
)
TRIGGER = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'not on Sundays'; END $$;
CREATE EVENT TRIGGER refuse ON login EXECUTE FUNCTION refuse();
"""


def code_at(port, **changes):
    """Return the code of a login as `app` to the database `sales`, with changes."""
    fields = {
        "host": "127.0.0.1",
        "port": port,
        "database_name": "sales",
        "username": "app",
        "secrets": {"password": PASSWORD},
        "connection_timeout": 10,
        **changes,
    }
    return attempt(Configuration("postgresql", **fields), LOOPBACK_POLICY, Stages())["code"]


def create_objects(server):
    for statement in OBJECTS:
        server.execute(statement.format(PASSWORD))


class EnglishLoginTests(SimpleTestCase):
    def test_refusals_of_the_embedded_server_have_codes_by_sqlstate(self):
        with PostgreSQLServer() as server:
            create_objects(server)
            for changes, code in CASES:
                with self.subTest(changes):
                    self.assertEqual(code_at(server.port, **changes), code)

    def test_options_that_the_server_refuses_are_invalid_whatever_the_sqlstate(self):
        with PostgreSQLServer() as server:
            create_objects(server)
            for options in REFUSED_OPTIONS:
                with self.subTest(options):
                    code = code_at(server.port, options={"options": options})
                    self.assertEqual(code, "OPTION_INVALID")

    def test_trigger_of_the_database_that_raises_refuses_the_login(self):
        with PostgreSQLServer() as server:
            create_objects(server)
            server.execute(TRIGGER, "sales")
            self.assertEqual(code_at(server.port), "LOGIN_FAILED")


class GermanLoginTests(SimpleTestCase):
    def setUp(self):
        self.server = self.enterContext(GermanPostgreSQL())
        create_objects(self.server)

    def test_refusals_in_german_have_codes_by_sqlstate(self):
        with self.assertRaisesRegex(psycopg.OperationalError, "existiert nicht"):
            self.server.connect("nowhere")
        for changes, code in CASES:
            with self.subTest(changes):
                self.assertEqual(code_at(self.server.port, **changes), code)

    def test_server_with_too_many_connections_is_busy(self):
        with ExitStack() as stack:
            for _ in range(CONNECTIONS_MAX - 2):
                stack.enter_context(self.server.connect())
            self.assertEqual(code_at(self.server.port), "SERVER_BUSY")

    def test_server_that_shuts_down_or_starts_is_busy(self):
        with self.server.connect():
            self.server.control("stop", "--mode=smart", "--no-wait")
            while (code := code_at(self.server.port)) == "OK":
                pass  # the signal has not arrived yet
            self.assertEqual(code, "SERVER_BUSY")
        self.server.stop()
        self.server.start_as_standby()
        while (code := code_at(self.server.port)) == "TCP_REFUSED":
            pass
        self.assertEqual(code, "SERVER_BUSY")


class LoginCodeTests(SimpleTestCase):
    def test_sqlstates_map_to_codes_whatever_the_words(self):
        for sqlstate, code in (
            ("08004", "LOGIN_FAILED"),
            ("0A000", "PROTOCOL_FAILED"),
            ("22023", "OPTION_INVALID"),
            ("28000", "LOGIN_FAILED"),
            ("28P01", "LOGIN_FAILED"),
            ("3D000", "DATABASE_MISSING"),
            ("3F000", "SCHEMA_MISSING"),
            ("42501", "DATABASE_FORBIDDEN"),
            *((state, "OPTION_INVALID") for state in ("42601", "42704", "55P02")),
            *((state, "SERVER_BUSY") for state in ("53100", "53200", "53300", "53400")),
            ("55000", "DATABASE_CLOSED"),
            ("57014", "DEADLINE"),
            *((state, "SERVER_BUSY") for state in ("57P01", "57P02", "57P03", "57P05")),
            ("57P04", "DATABASE_MISSING"),
            ("P0001", "LOGIN_FAILED"),
            *((state, "QUERY_FAILED") for state in ("58000", "58P01", "54000")),
        ):
            for words in ("Wörter", "too many connections", 'FATAL:  database "d" does not exist'):
                answer = refuse("SCHWERWIEGEND", words, sqlstate)
                with self.subTest(sqlstate, words=words), Listener(answer) as server:
                    self.assertEqual(code_at(server.port), code)
                    self.assertEqual(code_at(server.port, secrets={}), code)

    def test_refusals_of_poolers_without_a_sqlstate_of_their_own_go_by_their_words(self):
        for sqlstate, words, code in (
            ("08P01", "no such database: sales", "DATABASE_MISSING"),
            ("08P01", "no more connections allowed (max_client_conn)", "SERVER_BUSY"),
            ("08P01", "query_wait_timeout", "SERVER_BUSY"),
            ("08P01", "server login has been failing, try again later", "SERVER_BUSY"),
            ("08P01", "unsupported startup parameter: options", "OPTION_INVALID"),
            ("08P01", "SSL required", "TLS_FAILED"),
            ("08P01", "password authentication failed", "LOGIN_FAILED"),
            ("08P01", "Datenbank »sales« existiert nicht", "LOGIN_FAILED"),
            ("XX000", "Tenant or user not found", "LOGIN_FAILED"),
            ("XX000", "Max client connections reached", "SERVER_BUSY"),
        ):
            with self.subTest(words), Listener(refuse("FATAL", words, sqlstate)) as server:
                self.assertEqual(code_at(server.port), code)

    def test_second_try_of_libpq_does_not_hide_why_the_first_one_failed(self):
        """With `sslmode=prefer`, the access rules may refuse the try without TLS."""
        refused = "FATAL:  28000: w\nLOCATION:  ClientAuthentication, auth.c:476\n"
        for text, code in (
            (f"to h failed: FATAL:  28P01: w\nto h failed: {refused}", "LOGIN_FAILED"),
            (f"to h failed: {refused}to h failed: FATAL:  3D000: w\n", "DATABASE_MISSING"),
            (f"to h failed: {refused}to h failed: {refused}", "ADDRESS_REFUSED"),
        ):
            with self.subTest(text):
                self.assertEqual(libpq.explain_login(text), code)

    def test_without_the_symbol_of_libpq_codes_go_by_english_words(self):
        with (
            PostgreSQLServer() as server,
            mock.patch.object(libpq, "_set_error_verbosity", return_value=None),
        ):
            create_objects(server)
            for changes, code in CASES:
                if code in ("ADDRESS_REFUSED", "DATABASE_CLOSED", "DATABASE_FORBIDDEN"):
                    code = "LOGIN_FAILED"
                with self.subTest(changes):
                    self.assertEqual(code_at(server.port, **changes), code)

    def test_words_of_a_server_are_not_taken_from_names(self):
        for severity, words, code in (
            ("FATAL", 'role "database_reader" does not exist', "LOGIN_FAILED"),
            ("FATAL", 'role "database "x"" does not exist', "LOGIN_FAILED"),
            ("FATAL", "sorry, too many clients already", "SERVER_BUSY"),
            ("FATAL", "the database system is starting up", "SERVER_BUSY"),
            ("FATAL", "certificate authentication failed", "LOGIN_FAILED"),
            ("SCHWERWIEGEND", "Passwort-Authentifizierung fehlgeschlagen", "LOGIN_FAILED"),
            ("ERROR", "no such database: d", "DATABASE_MISSING"),
        ):
            with (
                self.subTest(words),
                Listener(refuse(severity, words)) as server,
                mock.patch.object(libpq, "_set_error_verbosity", return_value=None),
            ):
                self.assertEqual(code_at(server.port), code)

    def test_other_builds_of_psycopg_have_no_symbol_of_libpq(self):
        class PGconn:
            """Defined in a module of Python, which is no library."""

        with mock.patch("psycopg.pq.PGconn", PGconn):
            self.assertIsNone(libpq._set_error_verbosity.__wrapped__())
