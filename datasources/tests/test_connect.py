"""`DataSource.connect()`: the connection it yields, failures, and that nothing stays open."""

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
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.files import ROWS, write_files
from datasources.connections.testing.listeners import Listener, close_at_once
from datasources.connections.testing.openssh import OpenSSH, account
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.egress.rules import parse_rules
from rivergen.testing.services import free_port

ADDRESS = "127.0.0.1"


def sockets():
    """Return the sockets of this process, including those to the test database."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # the descriptor of the listing itself
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
        """Assert that the block leaves no thread, no socket and no patch of `socket`."""
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
        # Start the server first: a skip after super() would leave the class's transaction open.
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

    def test_connect_yields_a_transaction_that_is_rolled_back_unless_committed(self):
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

    def test_connect_limits_connections_to_the_pool_size(self):
        source = self.make_server_source(connection_pool_size=2, connection_timeout=1)
        with self.nothing_left(), source.connect() as connection:
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(text("SELECT 2")).scalar(), 2)
                with self.assertRaises(sqlalchemy.exc.TimeoutError), connection.engine.connect():
                    self.fail("it is connected")
            with connection.engine.connect() as other:
                self.assertEqual(other.execute(text("SELECT 3")).scalar(), 3)

    def test_query_timeout_applies_to_every_pooled_connection(self):
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

    def test_connect_closes_everything_if_the_block_raises(self):
        source = self.make_server_source()
        with (
            self.nothing_left(),
            self.assertRaises(KeyError),
            source.connect() as connection,
            connection.engine.connect(),
        ):
            raise KeyError

    def test_code_inside_connect_cannot_reach_denied_addresses(self):
        with Listener(close_at_once) as other, self.make_server_source().connect():
            with self.assertRaises(OSError):
                socket.getaddrinfo("169.254.169.254", 80)
            # Other ports that the policy allows can be reached.
            socket.create_connection((ADDRESS, other.port)).close()

    def test_code_inside_connect_can_use_the_database_of_the_service(self):
        source = self.make_server_source()
        with source.connect():
            self.assertEqual(DataSource.objects.get(pk=source.pk).name, "Source")

    def test_connect_to_a_denied_address_is_egress_denied(self):
        source = self.make_server_source()
        for settings in (
            {"EGRESS_ALLOW": []},
            {"EGRESS_ALLOW": parse_rules("127.0.0.0/8"), "EGRESS_DENY": parse_rules("127.0.0.1")},
        ):
            with self.subTest(settings), override_settings(**settings):
                self.assert_fails(source, Code.EGRESS_DENIED)

    def test_failed_connect_to_postgresql_raises_its_failure_code(self):
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

    def test_connect_with_unconfirmed_or_unreadable_secrets_is_refused(self):
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

    def test_connect_uses_unsaved_values_whose_secrets_are_unconfirmed(self):
        source = self.make_server_source()
        source.port = free_port()
        with self.assertRaises(CredentialsUnconfirmed), source.connect():
            self.fail("it is connected")


class MariaDBTests(ServerTestCase):
    module = mariadb
    type_name = "mariadb"
    start = mariadb.MariaDBServer

    def test_connect_to_mariadb_yields_a_pool_with_query_timeout(self):
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

    def test_connect_through_ssh_yields_a_pool_on_the_local_port(self):
        source = self.make_tunnelled_source(connection_pool_size=2, ssh_local_port=free_port())
        self.confirm(source)
        with self.nothing_left(), source.connect() as connection:
            with connection.engine.connect() as other:
                for one in (connection, other):
                    self.assertEqual(one.execute(text("SELECT 1")).scalar(), 1)
            peer = connection.connection.driver_connection.info
            self.assertEqual((peer.hostaddr, peer.port), (ADDRESS, source.ssh_local_port))

    def test_failed_connect_through_ssh_closes_everything(self):
        for code, settings in {
            Code.TCP_REFUSED: {"port": free_port()},
            Code.DATABASE_MISSING: {"database_name": "nowhere"},
        }.items():
            with self.subTest(code=code):
                source = self.make_tunnelled_source(name=code, **settings)
                self.confirm(source)
                self.assert_fails(source, code)

    def test_connect_through_ssh_needs_the_confirmed_host_key(self):
        source = self.make_tunnelled_source()
        self.assert_fails(source, Code.SSH_HOST_KEY_UNCONFIRMED)


class FileTests(ConnectTestCase):
    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        write_files(folder / str(self.acme.pk))
        self.enterContext(override_settings(STORAGE_ROOT=folder, STORAGE_URL=None))

    def test_connect_to_a_file_yields_duckdb_with_its_rows(self):
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

    def test_duckdb_is_closed_at_the_end_of_connect(self):
        with self.make_source("csv", file_path="csv").connect() as connection:
            pass
        with self.assertRaises(duckdb.ConnectionException):
            connection.execute("SELECT 1")

    def test_connect_to_a_sqlite_file_yields_sqlalchemy(self):
        source = self.make_source("sqlite", file_path="sqlite")
        with self.nothing_left(), source.connect() as connection:
            self.assertEqual(connection.dialect.name, "sqlite")
            with connection.engine.connect() as other:
                for one in (connection, other):
                    rows = one.execute(text("SELECT id, name FROM people ORDER BY id")).all()
                    self.assertEqual([*map(tuple, rows)], ROWS)

    def test_failed_connect_to_a_file_raises_its_failure_code(self):
        for code, settings in {
            Code.FIELDS_MISSING: {"file_path": None},
            Code.FILE_MISSING: {"file_path": "nowhere"},
            Code.FILE_OTHER_TYPE: {"file_path": "csv"},
        }.items():
            with self.subTest(code=code):
                self.assert_fails(self.make_source("parquet", name=code, **settings), code)

    def test_connect_without_the_driver_is_driver_missing(self):
        source = self.make_source("csv", file_path="csv")
        with mock.patch("datasources.connections.connectors.base.find_spec", return_value=None):
            self.assert_fails(source, Code.DRIVER_MISSING)
