"""Files of every type, each read by its connector."""

import os
import sqlite3
import subprocess
import sys
from unittest import mock

import duckdb
from django.conf import settings

from datasources.connections.connectors import CONNECTORS, files
from datasources.connections.failures import Code
from datasources.connections.testing.files import ROWS, FilesTestCase, table_of, write_files

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class FilesTests(FilesTestCase):
    def setUp(self):
        super().setUp()
        write_files(self.root)

    def test_says_what_each_file_is(self):
        versions = {
            "csv": "CSV, 2 columns",
            "parquet": "Parquet, 2 columns",
            "json": "JSON, 2 columns",
            "duckdb": f"DuckDB {duckdb.__version__}",
            "sqlite": f"SQLite {sqlite3.sqlite_version}",
        }
        for name, version in versions.items():
            with self.subTest(name):
                self.assertEqual(self.try_out(name), (Code.OK, version))
                self.assertTrue(CONNECTORS[name].is_verified)

    def test_gives_the_rows(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                result = self.connect(name).execute(f"SELECT * FROM {table_of(name)}")
                self.assertEqual(result.fetchall(), ROWS)

    def test_passes_the_stages_login_and_query(self):
        connector = self.connector("csv")
        connector.query_version(connector.connect())
        passed = [(stage["stage"], stage["ok"]) for stage in connector.stages.to_list()]
        self.assertEqual(passed, [("login", True), ("query", True)])

    def test_names_what_is_not_set_or_not_there(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                self.assertEqual(self.try_out(name, ""), (Code.FIELDS_MISSING, ""))
                self.assertEqual(self.try_out(name, "absent"), (Code.FILE_MISSING, ""))

    def test_fails_the_query_of_files_of_another_type(self):
        (self.root / "empty").touch()
        (self.root / "noise").write_bytes(bytes(range(256)) * 40)
        half = (self.root / "parquet").read_bytes()[:-20]
        (self.root / "half").write_bytes(half)
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            for path in ("empty", "noise", "half"):
                with self.subTest(name, path=path):
                    self.assertEqual(self.try_out(name, path), (Code.QUERY_FAILED, ""))

    def test_finds_out_how_a_csv_file_is_written(self):
        for content, columns, rows in (
            ("a;b\n1;x\n", ["a", "b"], [(1, "x")]),
            ("1,2\n3,4\n", ["column0", "column1"], [(1, 2), (3, 4)]),
            ("a\tb\r\n1\tü\r\n", ["a", "b"], [(1, "ü")]),
            ("a,b\n", ["a", "b"], []),
        ):
            with self.subTest(content):
                (self.root / "csv").write_bytes(content.encode())
                result = self.connect("csv").execute("FROM data")
                self.assertEqual([column[0] for column in result.description], columns)
                self.assertEqual(result.fetchall(), rows)

    def test_reads_json_in_an_array_or_an_object_a_line(self):
        for content in ('[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}\n'):
            with self.subTest(content):
                (self.root / "json").write_text(content)
                self.assertEqual(self.connect("json").execute("FROM data").fetchall(), [(1,), (2,)])

    def test_takes_names_with_characters_that_mean_something_elsewhere(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            path = f"a'b?c#d%41*[e] ü&mode=rwc.{name}"
            (self.root / name).rename(self.root / path)
            with self.subTest(name):
                self.assertEqual(self.try_out(name, path)[0], Code.OK)

    def test_looks_at_a_part_of_a_large_file_only(self):
        with (self.root / "csv").open("a") as file:
            file.writelines(f"{number},somebody with a long name\n" for number in range(10**6))
        counts = []
        real_pread = os.pread
        with mock.patch(
            "os.pread", lambda *args: counts.append(len(data := real_pread(*args))) or data
        ):
            self.assertEqual(self.try_out("csv")[0], Code.OK)
        self.assertTrue(counts)
        self.assertLessEqual(max(counts), files.CSV_BUFFER_BYTES)

    def test_closes_the_file_with_the_connection(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            connection = self.connector(name).connect()
            path = os.fspath(self.root / name)
            links = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
            self.assertIn(path, [os.readlink(link) for link in links if os.path.lexists(link)])
            connection.close()
            del connection
            links = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
            with self.subTest(name):
                self.assertNotIn(
                    path, [os.readlink(link) for link in links if os.path.lexists(link)]
                )

    def test_ends_statements_that_take_too_long(self):
        for name in ("csv", "sqlite"):
            connection = self.connect(name, query_timeout=1)
            for execute in (connection.execute, connection.cursor().execute):
                with self.subTest(name, execute=execute), self.assertRaises(Exception) as caught:
                    execute(ENDLESS).fetchall()
                self.assertRegex(str(caught.exception), "(?i)interrupt")
            self.assertEqual(
                connection.execute(f"SELECT count(*) FROM {table_of(name)}").fetchall(), [(3,)]
            )

    def test_leaves_the_drivers_out_until_a_file_is_opened(self):
        code = (
            "import django, sys; django.setup(); import datasources.connections.connectors;"
            "print({'boto3', 'duckdb', 'fsspec'} & set(sys.modules))"
        )
        printed = subprocess.run(
            [sys.executable, "-c", code],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "rivergen.settings",
                "DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
            },
            capture_output=True,
            text=True,
        )
        self.assertEqual(printed.stdout.strip(), "set()", printed.stderr)
