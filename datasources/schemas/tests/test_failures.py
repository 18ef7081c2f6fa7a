"""Why reading a schema fails after the login, by the codes of real servers."""

import threading
from unittest import mock

import psycopg
from django.test import SimpleTestCase

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.schemas.reading.child import read
from datasources.schemas.reading.readers.postgresql import PostgreSQLReader
from rivergen.testing.replication import embedded_primary, replica

# Reading needs this part of the catalogue, and logging in does not.
COMMENTS = "pg_catalog.pg_description"
WAITING = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"


class PostgreSQLSchemaFailureTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())

    def failure(self, query_timeout=60):
        configuration = Configuration(
            "postgresql",
            host="127.0.0.1",
            port=self.server.port,
            database_name=DATABASE,
            username=USERNAME,
            secrets={"password": PASSWORD},
            query_timeout=query_timeout,
        )
        with self.assertRaises(ConnectionFailure) as caught:
            read(configuration, LOOPBACK_POLICY, lambda **message: None)
        return caught.exception.code

    def session(self):
        """Return a session of the superuser in the database that is read."""
        uri = psycopg.conninfo.make_conninfo(self.server.uri, dbname=DATABASE)
        return self.enterContext(psycopg.connect(uri))

    def lock_comments(self):
        session = self.session()
        session.execute(f"LOCK TABLE {COMMENTS} IN ACCESS EXCLUSIVE MODE")
        self.addCleanup(session.rollback)

    def test_schema_without_the_rights_to_read_it_is_permission_denied(self):
        session = self.session()
        session.execute(f"REVOKE SELECT ON {COMMENTS} FROM public")
        session.commit()
        self.addCleanup(session.commit)
        self.addCleanup(session.execute, f"GRANT SELECT ON {COMMENTS} TO public")
        self.assertEqual(self.failure(), Code.PERMISSION_DENIED)

    def test_statement_that_times_out_is_query_timeout(self):
        self.lock_comments()
        self.assertEqual(self.failure(query_timeout=1), Code.QUERY_TIMEOUT)

    def test_session_that_the_server_ends_is_connection_lost(self):
        self.lock_comments()
        observer = self.session()
        observer.autocommit = True

        def end_reader():
            while (row := observer.execute(WAITING, [USERNAME]).fetchone()) is None:
                pass
            observer.execute("SELECT pg_terminate_backend(%s)", row)

        ending = threading.Thread(target=end_reader)
        ending.start()
        self.assertEqual(self.failure(), Code.CONNECTION_LOST)
        ending.join()


class StandbyFailureTests(SimpleTestCase):
    def test_session_that_a_standby_ends_to_keep_up_is_connection_lost(self):
        """The primary removes rows of the catalogue that the session may still want to see."""
        read_keys = PostgreSQLReader.primary_keys
        with (
            embedded_primary() as primary,
            replica(primary, max_standby_streaming_delay="0") as standby,
            psycopg.connect(primary.url(), autocommit=True) as writer,
            psycopg.connect(standby.url(), autocommit=True) as observer,
        ):

            def clean_up_and_read(reader):
                writer.execute("CREATE TABLE passing (a int)")
                writer.execute("DROP TABLE passing")
                writer.execute("VACUUM pg_class")
                writer.execute("CREATE TABLE last (a int)")  # a commit writes what VACUUM logged
                end = writer.execute("SELECT pg_current_wal_lsn()").fetchone()
                while observer.execute("SELECT pg_last_wal_replay_lsn() < %s", end).fetchone()[0]:
                    pass
                return read_keys(reader)

            configuration = Configuration(
                "postgresql",
                host="127.0.0.1",
                port=standby.port,
                database_name="postgres",
                username="postgres",
            )
            with (
                mock.patch.object(PostgreSQLReader, "primary_keys", clean_up_and_read),
                self.assertRaises(ConnectionFailure) as caught,
            ):
                read(configuration, LOOPBACK_POLICY, lambda **message: None)
            self.assertEqual(caught.exception.code, Code.CONNECTION_LOST)
