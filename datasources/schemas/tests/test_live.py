"""End-to-end tests of refreshes: API, jobs, sandbox and source, all live."""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psutil
import psycopg
from django.db import connection
from django.test import TransactionTestCase, override_settings
from psycopg.conninfo import make_conninfo

from datasources import jobs
from datasources.connection_tests.testing import (
    PATIENCE_SECONDS,
    Worker,
    lose_job,
    run_jobs,
    wait_until,
)
from datasources.connections.testing import mariadb, postgresql
from datasources.connections.testing.mariadb import make_connector
from datasources.models import DataSource
from datasources.schemas.snapshots.models import SchemaBlock, SchemaContent, SchemaSnapshot
from datasources.testing import DataSourceTestMixin
from rivergen.egress.rules import parse_rules
from rivergen.testing.services import url_of

BEFORE = (
    "CREATE TABLE orders (id int PRIMARY KEY, total numeric(10,2), note varchar(10) NOT NULL)",
    "CREATE TABLE gone (id int)",
)
HELD = "relation = 'datasources_schemablock'::regclass AND mode = 'RowExclusiveLock'"


class LiveTestCase(DataSourceTestMixin, TransactionTestCase):
    def setUp(self):
        self.make_world()

    def make_source(self, type_name, secrets=None, **fields):
        """Create a data source, and make it `self.data_source` and `self.path`."""
        self.data_source = DataSource.objects.create(
            workspace=self.workspace, name=type_name, type=type_name, **fields
        )
        if secrets:
            self.data_source.set_credentials(secrets, user=self.owner)
        self.path = f"/data-sources/{self.data_source.pk}"

    def make_postgresql_source(self, server, **fields):
        fields |= {"host": "127.0.0.1", "port": server.port, "database_name": postgresql.DATABASE}
        secrets = {"username": postgresql.USERNAME, "password": postgresql.PASSWORD}
        self.make_source("postgresql", secrets, **fields)

    def request_refresh(self):
        response = self.call("post", f"{self.path}/schema/refresh", user=self.editor)
        self.assertEqual(response.status_code, 202, response.content)
        return response.json()["data"]

    def last_refresh(self):
        response = self.call("get", f"{self.path}/schema/refresh", user=self.viewer)
        return response.json()["data"]

    def refresh(self):
        """Refresh the schema, and return the finished refresh."""
        self.request_refresh()
        run_jobs()
        return self.last_refresh()

    def changes(self):
        """Return by change whether it breaks readers."""
        response = self.call("get", f"{self.path}/schema/changes", user=self.viewer)
        return {
            (one["change"], one["table"], one["name"]): one["breaks_readers"]
            for one in response.json()["data"]["changes"]
        }


@override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8"))
class LiveChangesTests(LiveTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgresql = cls.enterClassContext(postgresql.PostgreSQLServer())
        cls.mariadb = cls.enterClassContext(mariadb.MariaDBServer())

    def assert_refreshed(self, tables):
        result = self.refresh()
        self.assertEqual(
            (result["ok"], result["code"], result["tables_read"], result["tables_total"]),
            (True, "OK", tables, tables),
        )

    def assert_changes_are_found(self, execute, new_type):
        """Change a type, drop and create a table; assert that two refreshes find the changes."""
        for statement in BEFORE:
            execute(statement)
        self.assert_refreshed(2)
        execute(new_type)
        execute("DROP TABLE gone")
        execute("CREATE TABLE new (id int)")
        self.assert_refreshed(2)
        self.assertEqual(
            self.changes(),
            {
                ("added", "new", None): False,
                ("removed", "gone", None): True,
                ("changed", "orders", "total"): True,
            },
        )

    def test_changes_in_postgresql_are_found(self):
        self.make_postgresql_source(self.postgresql, schema_name="public")
        with psycopg.connect(
            host="127.0.0.1",
            port=self.postgresql.port,
            dbname=postgresql.DATABASE,
            user=postgresql.USERNAME,
            password=postgresql.PASSWORD,
            autocommit=True,
        ) as source:
            self.assert_changes_are_found(
                source.execute, "ALTER TABLE orders ALTER total TYPE text"
            )

    def test_changes_in_mariadb_are_found(self):
        secrets = {"username": mariadb.USERNAME, "password": mariadb.PASSWORD}
        self.make_source(
            "mariadb",
            secrets,
            host="127.0.0.1",
            port=self.mariadb.port,
            database_name=mariadb.DATABASE,
        )
        with closing(make_connector(self.mariadb).connect()) as source:
            self.assert_changes_are_found(
                source.cursor().execute, "ALTER TABLE orders MODIFY total text"
            )

    def test_changes_in_a_parquet_file_are_found(self):
        folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        (folder / str(self.acme.pk)).mkdir()
        path = folder / str(self.acme.pk) / "orders.parquet"
        self.make_source("parquet", file_path="orders.parquet")
        with override_settings(STORAGE_ROOT=folder):
            for row in ("1 AS id, 2.5 AS total, 'a' AS gone", "1 AS id, 'x' AS total, 'a' AS new"):
                path.unlink(missing_ok=True)
                duckdb.execute(f"COPY (SELECT {row}) TO '{path}' (FORMAT parquet)")
                self.assert_refreshed(1)
        self.assertEqual(
            self.changes(),
            {
                ("changed", "data", "total"): True,
                ("added", "data", "new"): False,
                ("removed", "data", "gone"): True,
            },
        )

    def test_changes_in_a_sqlite_file_with_broken_tables_are_found(self):
        folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        (folder / str(self.acme.pk)).mkdir()
        self.make_source("sqlite", file_path="rivers.gpkg")
        with (
            override_settings(STORAGE_ROOT=folder),
            closing(sqlite3.connect(folder / str(self.acme.pk) / "rivers.gpkg")) as source,
        ):
            source.execute("CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)")
            source.execute("CREATE TABLE rivers (name TEXT)")
            source.execute("CREATE UNIQUE INDEX one ON rivers (name)")
            source.execute("PRAGMA writable_schema = ON")
            text = "CREATE VIRTUAL TABLE vectors USING vec0(a)"
            row = ("table", "vectors", "vectors", 0, text)
            source.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)
            source.commit()
            self.assert_refreshed(3)
            source.execute("DROP INDEX one")
            source.execute("CREATE UNIQUE INDEX one ON rivers (name) WHERE name <> ''")
            source.commit()
            self.assert_refreshed(3)
        self.assertEqual(self.changes(), {("changed", "rivers", "one"): False})
        response = self.call("get", f"{self.path}/schema", user=self.viewer)
        problems = {table["name"]: table["problem"] for table in response.json()["data"]["tables"]}
        self.assertEqual((problems["boxes"], problems["rivers"]), (None, None))
        self.assertIn("module vec0", problems["vectors"])

    def test_refresh_of_a_file_shows_what_is_a_guess_and_what_is_wrong(self):
        folder = Path(self.enterContext(TemporaryDirectory())).resolve()
        (folder / str(self.acme.pk)).mkdir()
        path = folder / str(self.acme.pk) / "orders.csv"
        self.make_source("csv", file_path="orders.csv")
        with override_settings(STORAGE_ROOT=folder):
            path.write_bytes(gzip.compress("id,größe\n1,é\n".encode("latin-1")))
            self.assert_refreshed(1)
            [warning] = self.last_refresh()["warnings"]
            self.assertEqual(warning["code"], "ENCODING_GUESSED")
            self.assertIn("store it in UTF-8", warning["message"])
            content = self.call("get", f"{self.path}/schema", user=self.viewer).json()["data"]
            names = [column["name"] for column in content["tables"][0]["columns"]]
            self.assertEqual(names, ["id", "größe"])
            path.write_bytes(b"id,name\n1,a\n2\n")
            result = self.refresh()
            self.assertEqual((result["code"], result["warnings"]), ("FILE_MALFORMED", []))
            self.assertEqual(result["details"], {"line": 3})
            self.assertTrue(result["message"].endswith("Line: 3."), result["message"])
            path.write_bytes(b"id,name\n1,a\n")
            self.assert_refreshed(1)
            self.assertEqual(self.last_refresh()["warnings"], [])

    def test_missing_schema_fails_with_schema_missing(self):
        self.make_postgresql_source(self.postgresql, schema_name="nowhere")
        result = self.refresh()
        self.assertEqual((result["ok"], result["code"]), (False, "SCHEMA_MISSING"))
        self.assertIn("schema_name", result["message"])

    def test_schema_statement_is_limited_by_query_timeout(self):
        self.make_postgresql_source(self.postgresql, query_timeout=1)
        with psycopg.connect(self.postgresql.uri, dbname=postgresql.DATABASE) as other:
            other.execute("LOCK pg_namespace IN ACCESS EXCLUSIVE MODE")
            self.assertEqual(self.refresh()["code"], "QUERY_TIMEOUT")


@override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8"))
class KilledWorkerTests(LiveTestCase):
    """Tests of killed workers: another worker starts over, and nothing partial is stored."""

    TABLES = 250

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(postgresql.PostgreSQLServer())
        cls.source_uri = make_conninfo(cls.server.uri, dbname=postgresql.DATABASE)
        with psycopg.connect(cls.source_uri) as source:
            for number in range(cls.TABLES):
                source.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY)")

    def setUp(self):
        super().setUp()
        self.make_postgresql_source(self.server)
        self.database_url = url_of(connection.settings_dict["NAME"])
        self.sql("DELETE FROM procrastinate_jobs")

    def sql(self, statement, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def stored(self):
        return [model.objects.count() for model in (SchemaSnapshot, SchemaContent, SchemaBlock)]

    def kill_worker_when(self, condition):
        """Run a worker, and kill it as soon as an SQL condition is true in the database."""
        with Worker() as worker:
            wait_until(self.database_url, condition)
            family = psutil.Process(worker.process.pid).children(recursive=True)
            worker.process.kill()
            worker.process.wait()
            _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
            self.assertEqual(alive, [])

    def finish_by_another_worker(self):
        lose_job("refresh_schema", attempts=0)
        run_jobs()
        result = self.last_refresh()
        self.assertEqual(
            (result["code"], result["tables_read"], result["tables_total"]),
            ("OK", self.TABLES, self.TABLES),
        )
        self.assertEqual(self.stored(), [1, 1, 3])

    def test_worker_killed_while_reading_stores_nothing(self):
        refresh_id = self.request_refresh()["refresh_id"]
        with psycopg.connect(self.source_uri) as other:
            other.execute("LOCK pg_constraint IN ACCESS EXCLUSIVE MODE")
            self.kill_worker_when("(SELECT tables_read FROM datasources_schemarefresh) IS NOT NULL")
            self.assertEqual(self.request_refresh()["refresh_id"], refresh_id)
        self.assertEqual(self.stored(), [0, 0, 0])
        self.assertEqual(self.shown()["schema_status"], "refreshing")
        self.finish_by_another_worker()
        self.assertEqual(self.last_refresh()["refresh_id"], refresh_id)

    def test_worker_killed_while_storing_leaves_no_partial_snapshot(self):
        self.request_refresh()
        waits = "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO \"datasources_schemablock%'"
        with psycopg.connect(self.database_url) as other:
            other.execute("LOCK datasources_schemablock IN EXCLUSIVE MODE")
            self.kill_worker_when(f"EXISTS (SELECT FROM pg_stat_activity WHERE {waits})")
        # The killed worker's transaction holds its locks until the database rolls it back.
        wait_until(self.database_url, f"NOT EXISTS (SELECT FROM pg_locks WHERE {HELD})")
        self.assertEqual(self.stored(), [0, 0, 0])
        self.finish_by_another_worker()

    def test_refresh_that_kills_each_worker_fails_after_the_last_attempt(self):
        self.request_refresh()
        lose_job("refresh_schema", attempts=jobs.ATTEMPTS_MAX - 1)
        run_jobs()
        self.assertEqual(self.last_refresh()["code"], "DRIVER_CRASHED")
        self.assertEqual(self.shown()["schema_status"], "failed")
        self.assertEqual(self.stored(), [0, 0, 0])
