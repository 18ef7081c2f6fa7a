"""Why a MariaDB server that speaks German refuses a login or a statement."""

import threading
from contextlib import ExitStack, closing
from typing import Any

import pymysql
from django.test import SimpleTestCase

from datasources.connections.attempt import attempt
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code
from datasources.connections.stages import Stages
from datasources.connections.testing import mariadb
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.mariadb import MariaDBServer, make_connector

CONNECTIONS_MAX = 12
PASSWORD = "correct-horse"
OBJECTS = (
    *("CREATE DATABASE sales", "CREATE USER app IDENTIFIED BY '{}'", "CREATE USER guest"),
    *("GRANT SELECT ON sales.* TO app", "GRANT SELECT ON sales.* TO guest"),
    "CREATE USER locked IDENTIFIED BY '{}' ACCOUNT LOCK",
    "CREATE USER expired IDENTIFIED BY '{}' PASSWORD EXPIRE",
    "CREATE USER limited IDENTIFIED BY '{}' WITH MAX_CONNECTIONS_PER_HOUR 1",
    "CREATE USER socket IDENTIFIED VIA unix_socket",
    *("GRANT SELECT ON sales.* TO expired", "GRANT SELECT ON sales.* TO limited"),
)
WITHOUT_PASSWORD: dict[str, Any] = {"secrets": {}}
ROOT = {"username": "root", **WITHOUT_PASSWORD}
CASES: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "OK"),
    ({"username": "guest", **WITHOUT_PASSWORD}, "OK"),
    ({"secrets": {"password": "wrong"}}, "LOGIN_FAILED"),
    (WITHOUT_PASSWORD, "CREDENTIALS_UNSET"),
    ({"username": "nobody"}, "LOGIN_FAILED"),
    ({"username": "socket"}, "LOGIN_FAILED"),
    ({"username": "locked"}, "ACCOUNT_LOCKED"),
    ({"username": "expired"}, "ACCOUNT_LOCKED"),
    ({"database_name": "mysql"}, "DATABASE_FORBIDDEN"),
    ({"database_name": "mysql", "username": "guest", **WITHOUT_PASSWORD}, "DATABASE_FORBIDDEN"),
    ({"database_name": "nowhere", **ROOT}, "DATABASE_MISSING"),
)


class GermanMariaDBTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        options = ("--lc-messages=de_DE", f"--max-connections={CONNECTIONS_MAX}")
        cls.server = cls.enterClassContext(MariaDBServer(*options))
        for statement in OBJECTS:
            cls.execute(statement.format(PASSWORD))

    @classmethod
    def root(cls):
        """Return a session of an administrator."""
        return pymysql.connect(host=mariadb.ADDRESS, port=cls.server.port, user="root")

    @classmethod
    def execute(cls, statement):
        with closing(cls.root()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def code(self, **changes):
        fields = {
            "host": mariadb.ADDRESS,
            "port": self.server.port,
            "database_name": "sales",
            "username": "app",
            "secrets": {"password": PASSWORD},
            "connection_timeout": 10,
            **changes,
        }
        return attempt(Configuration("mariadb", **fields), LOOPBACK_POLICY, Stages())["code"]

    def test_refusals_in_german_have_codes_by_number(self):
        with self.assertRaisesRegex(pymysql.MySQLError, "Unbekannte Datenbank"):
            pymysql.connect(
                host=mariadb.ADDRESS, port=self.server.port, user="root", database="nowhere"
            )
        for changes, code in CASES:
            with self.subTest(changes):
                self.assertEqual(self.code(**changes), code)

    def test_user_with_too_many_connections_is_busy(self):
        codes = [self.code(username="limited") for _ in range(2)]
        self.assertEqual(codes, ["OK", "SERVER_BUSY"])

    def test_server_with_too_many_connections_is_busy(self):
        with ExitStack() as stack:
            with self.assertRaises(pymysql.OperationalError):
                while True:
                    stack.enter_context(closing(self.root()))
            self.assertEqual(self.code(), "SERVER_BUSY")

    def failure_of_statement(self, statement, **settings):
        """Return the code of an error of a statement that the user `reader` runs."""
        connector = make_connector(self.server, **settings)
        with (
            closing(connector.connect()) as connection,
            connection.cursor() as cursor,
            self.assertRaises(pymysql.MySQLError) as caught,
        ):
            cursor.execute(statement)
        return connector.explain_statement(caught.exception)

    def test_statement_without_the_right_to_read_is_permission_denied(self):
        code = self.failure_of_statement("SELECT * FROM mysql.global_priv")
        self.assertEqual(code, Code.PERMISSION_DENIED)

    def test_statement_that_times_out_is_query_timeout(self):
        code = self.failure_of_statement("SELECT sleep(30)", query_timeout=1)
        self.assertEqual(code, Code.QUERY_TIMEOUT)

    def test_session_that_mysql_ends_is_connection_lost(self):
        """MariaDB has other numbers; these are of MySQL since 5.7 and 8.0.24."""
        connector = make_connector(self.server)
        for number in (3169, 4031):  # killed, idle for too long
            error = pymysql.OperationalError(number, "Wörter")
            with self.subTest(number):
                self.assertEqual(connector.explain_statement(error), Code.CONNECTION_LOST)

    def test_session_that_the_server_ends_is_connection_lost(self):
        def kill():
            with closing(self.root()) as connection, connection.cursor() as cursor:
                waiting = "SELECT id FROM information_schema.processlist WHERE state = 'User sleep'"
                while not cursor.execute(waiting):
                    pass
                (number,) = cursor.fetchone()
                cursor.execute(f"KILL {number}")

        killing = threading.Thread(target=kill)
        killing.start()
        code = self.failure_of_statement("SELECT sleep(30)")
        killing.join()
        self.assertEqual(code, Code.CONNECTION_LOST)
