"""`DataSource.connect()`: what operators and jobs get, and what is left of it."""

import gc
import os
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import duckdb
import psycopg
import sqlalchemy
from django.test import override_settings
from sqlalchemy import text

from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.tests.test_files import ROWS, write_files
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.listeners import Listener, close_at_once
from datasources.connections.testing.openssh import OpenSSH, account
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.egress.rules import parse_rules
from rivergen.testing.services import free_port

ADDRESS = "127.0.0.1"


def sockets():
    """Give the sockets of this process, those to the database of the tests included."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # the listing's own
            continue
    return {link for link in links if link.startswith("socket:")}


class ConnectTestCase(DataSourceTestCase):
    def setUp(self):
        self.enterContext(override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8")))

    def make_source(self, type_name, credentials=None, **settings):
        defaults = {"workspace": self.workspace, "name": "Source", "connection_timeout": 10}
        source = DataSource.objects.create(**{**defaults, "type": type_name, **settings})
        source.set_credentials(credentials or {}, user=self.owner)
        return source

    @contextmanager
    def nothing_left(self):
        """Nothing that the block opens or puts in place outlives it."""
        gc.collect()
        names = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
        before = {*threading.enumerate()}, sockets(), [getattr(socket, name) for name in names]
        yield
        gc.collect()
        threads, left, functions = before
        self.assertEqual({*threading.enumerate()} - threads, set())
        self.assertEqual(sockets() - left, set())
        self.assertEqual([getattr(socket, name) for name in names], functions)

    def assert_fails(self, source, code):
        with (
            self.nothing_left(),
            self.assertRaises(ConnectionFailure) as raised,
            source.connect(),
        ):
            self.fail("it is connected")
        self.assertEqual(raised.exception.code, code)


class ServerTestCase(ConnectTestCase):
    module = postgresql
    type_name = "postgresql"

    @classmethod
    def setUpClass(cls):
        # First: a skip after super() would leave the transaction of the class open.
        cls.server = cls.enterClassContext(cls.start())
        super().setUpClass()

    def make_server_source(self, **settings):
        defaults = {
            "host": ADDRESS,
            "port": self.server.port,
            "database_name": self.module.DATABASE,
            "credentials": {"username": self.module.USERNAME, "password": self.module.PASSWORD},
        }
        return self.make_source(self.type_name, **defaults | settings)


class PostgreSQLTests(ServerTestCase):
    start = postgresql.PostgreSQLServer

    def test_gives_a_connection_that_writes_what_is_committed(self):
        source = self.make_server_source()
        with self.nothing_left(), source.connect() as connection:
            self.assertIsInstance(connection, sqlalchemy.Connection)
            self.assertEqual(connection.dialect.name, "postgresql")
            connection.execute(text("CREATE TABLE kept (id int)"))
            connection.commit()
            connection.execute(text("CREATE TABLE dropped (id int)"))
        with source.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            self.assertEqual(tables, ["kept"])
            connection.execute(text("DROP TABLE kept"))
            connection.commit()

    def test_gives_so_many_connections_at_a_time_and_no_more(self):
        source = self.make_server_source(connection_pool_size=2, connection_timeout=1)
        with self.nothing_left(), source.connect() as connection:
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(text("SELECT 2")).scalar(), 2)
                with self.assertRaises(sqlalchemy.exc.TimeoutError), connection.engine.connect():
                    self.fail("it is connected")
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(text("SELECT 3")).scalar(), 3)

    def test_ends_statements_on_every_connection(self):
        source = self.make_server_source(query_timeout=1)
        with (
            self.nothing_left(),
            source.connect() as connection,
            connection.engine.connect() as other,
        ):
            for one in (connection, other):
                with self.assertRaises(sqlalchemy.exc.OperationalError) as raised:
                    one.execute(text("SELECT pg_sleep(60)"))
                self.assertIsInstance(raised.exception.orig, psycopg.errors.QueryCanceled)

    def test_closes_everything_when_the_block_raises(self):
        source = self.make_server_source()
        with (
            self.nothing_left(),
            self.assertRaises(KeyError),
            source.connect() as connection,
            connection.engine.connect(),
        ):
            raise KeyError

    def test_reaches_nothing_else_meanwhile(self):
        with Listener(close_at_once) as other, self.make_server_source().connect():
            with self.assertRaises(OSError):
                socket.getaddrinfo("169.254.169.254", 80)
            # What the policy allows, it does: the same machine's other ports, here.
            socket.create_connection((ADDRESS, other.port)).close()

    def test_lets_the_service_use_its_own_database_meanwhile(self):
        source = self.make_server_source()
        with source.connect():
            self.assertEqual(DataSource.objects.get(pk=source.pk).name, "Source")

    def test_is_refused_what_the_policy_denies(self):
        source = self.make_server_source()
        for settings in (
            {"EGRESS_ALLOW": []},
            {"EGRESS_ALLOW": parse_rules("127.0.0.0/8"), "EGRESS_DENY": parse_rules("127.0.0.1")},
        ):
            with self.subTest(settings), override_settings(**settings):
                self.assert_fails(source, Code.EGRESS_DENIED)

    def test_says_what_is_wrong(self):
        wrong = {"username": self.module.USERNAME, "password": "wrong"}
        for code, settings in {
            Code.LOGIN_FAILED: {"credentials": wrong},
            Code.CREDENTIALS_UNSET: {"credentials": {"username": self.module.USERNAME}},
            Code.DATABASE_MISSING: {"database_name": "nowhere"},
            Code.FIELDS_MISSING: {"database_name": None},
            Code.DNS_FAILED: {"host": "nowhere.invalid"},
            Code.TCP_REFUSED: {"port": free_port(), "max_retries": 0},
        }.items():
            with self.subTest(code=code):
                self.assert_fails(self.make_server_source(name=code, **settings), code)

    def test_sends_no_secret_that_waits_or_cannot_be_read(self):
        source = self.make_server_source(host="localhost")
        source.apply_changes({"host": ADDRESS}, user=self.editor)
        for change, refusal in (
            ({"is_confirmed": False}, CredentialsUnconfirmed),
            ({"is_confirmed": True, "destination": source.destination}, CredentialsUnreadable),
        ):
            with self.subTest(refusal=refusal.__name__), self.nothing_left():
                source.credentials.update(**change)
                with self.assertRaises(refusal), source.connect():
                    self.fail("it is connected")

    def test_is_of_the_row_as_it_is_in_memory(self):
        """A change that is not stored is another destination, like any other."""
        source = self.make_server_source()
        source.port = free_port()
        with self.assertRaises(CredentialsUnconfirmed), source.connect():
            self.fail("it is connected")


class MariaDBTests(ServerTestCase):
    module = mariadb
    type_name = "mariadb"
    start = mariadb.MariaDBServer

    def test_gives_a_pool_whose_statements_end(self):
        source = self.make_server_source(query_timeout=1, connection_pool_size=2)
        with self.nothing_left(), source.connect() as connection:
            self.assertIn(connection.dialect.name, ("mariadb", "mysql"))
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(text("SELECT 'ä'")).scalar(), "ä")
                self.assertEqual(connection.engine.pool.size(), 2)
                with self.assertRaises(sqlalchemy.exc.OperationalError):
                    other.execute(text("SELECT sleep(30)"))


class TunnelTests(ServerTestCase):
    start = postgresql.PostgreSQLServer

    @classmethod
    def setUpClass(cls):
        cls.ssh_username, _ = cls.enterClassContext(account())
        cls.ssh_server = cls.enterClassContext(OpenSSH())
        super().setUpClass()

    def make_tunnelled_source(self, **settings):
        source = self.make_server_source(
            use_ssh_tunnel=True,
            ssh_host=ADDRESS,
            ssh_port=self.ssh_server.port,
            ssh_username=self.ssh_username,
            **settings,
        )
        source.set_credentials({"ssh_private_key": self.ssh_server.read("key")}, user=self.owner)
        return source

    def confirm(self, source):
        presented = {"key": self.ssh_server.host_keys["ed25519"]}
        result = {"ok": False, "version": source.version, "ssh_host_key": presented}
        DataSource.objects.filter(pk=source.pk).record_test(result, version=source.version)
        source.confirm_ssh_host_key(user=self.owner)

    def test_gives_a_pool_behind_the_ssh_server(self):
        source = self.make_tunnelled_source(connection_pool_size=2, ssh_local_port=free_port())
        self.confirm(source)
        with self.nothing_left(), source.connect() as connection:
            with connection.engine.connect() as other:
                for one in (connection, other):
                    self.assertEqual(one.execute(text("SELECT 1")).scalar(), 1)
            peer = connection.connection.driver_connection.info
            self.assertEqual((peer.hostaddr, peer.port), (ADDRESS, source.ssh_local_port))

    def test_leaves_nothing_if_it_fails_behind_the_ssh_server(self):
        for code, settings in {
            Code.TCP_REFUSED: {"port": free_port()},
            Code.DATABASE_MISSING: {"database_name": "nowhere"},
        }.items():
            with self.subTest(code=code):
                source = self.make_tunnelled_source(name=code, **settings)
                self.confirm(source)
                self.assert_fails(source, code)

    def test_needs_the_confirmed_host_key(self):
        source = self.make_tunnelled_source()
        self.assert_fails(source, Code.SSH_HOST_KEY_UNCONFIRMED)


class FileTests(ConnectTestCase):
    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        write_files(folder / str(self.acme.pk))
        self.enterContext(override_settings(STORAGE_ROOT=folder, STORAGE_URL=None))

    def test_gives_duckdb_with_the_rows_of_a_file(self):
        for type_name in ("csv", "json", "parquet"):
            source = self.make_source(type_name, name=type_name, file_path=type_name)
            with (
                self.subTest(type=type_name),
                self.nothing_left(),
                source.connect() as connection,
            ):
                self.assertIsInstance(connection, duckdb.DuckDBPyConnection)
                rows = connection.execute("SELECT id, name FROM data ORDER BY id").fetchall()
                self.assertEqual(rows, ROWS)

    def test_closes_duckdb(self):
        with self.make_source("csv", file_path="csv").connect() as connection:
            pass
        with self.assertRaises(duckdb.ConnectionException):
            connection.execute("SELECT 1")

    def test_gives_sqlalchemy_for_sqlite(self):
        source = self.make_source("sqlite", file_path="sqlite")
        with self.nothing_left(), source.connect() as connection:
            self.assertEqual(connection.dialect.name, "sqlite")
            with connection.engine.connect() as other:
                for one in (connection, other):
                    rows = one.execute(text("SELECT id, name FROM people ORDER BY id")).all()
                    self.assertEqual([*map(tuple, rows)], ROWS)

    def test_says_what_is_wrong(self):
        for code, settings in {
            Code.FIELDS_MISSING: {"file_path": None},
            Code.FILE_MISSING: {"file_path": "nowhere"},
            Code.QUERY_FAILED: {"file_path": "csv"},
        }.items():
            with self.subTest(code=code):
                self.assert_fails(self.make_source("parquet", name=code, **settings), code)

    def test_says_that_a_driver_is_missing(self):
        source = self.make_source("csv", file_path="csv")
        with mock.patch("datasources.connections.connectors.base.find_spec", return_value=None):
            self.assert_fails(source, Code.DRIVER_MISSING)
