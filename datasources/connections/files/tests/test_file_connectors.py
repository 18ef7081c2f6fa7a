"""Files of every type, each read by its connector."""

import os
import sqlite3
import subprocess
import sys
from unittest import mock

import duckdb
from django.conf import settings

from datasources.connections.connectors import CONNECTORS, table_files
from datasources.connections.failures import Code
from datasources.connections.testing.files import ROWS, FilesTestCase, table_of, write_files

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class FileConnectorTests(FilesTestCase):
    def setUp(self):
        super().setUp()
        write_files(self.root)

    def test_version_of_a_file_is_its_format_and_columns_or_library_version(self):
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

    def test_query_returns_the_rows_of_each_type_of_file(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                result = self.connect(name).execute(f"SELECT * FROM {table_of(name)}")
                self.assertEqual(result.fetchall(), ROWS)

    def test_file_passes_the_stages_login_and_query(self):
        connector = self.connector("csv")
        connector.query_version(connector.connect())
        passed = [(stage["stage"], stage["ok"]) for stage in connector.stages.to_list()]
        self.assertEqual(passed, [("login", True), ("query", True)])

    def test_missing_file_path_and_missing_file_have_different_codes(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                self.assertEqual(self.try_out(name, ""), (Code.FIELDS_MISSING, ""))
                self.assertEqual(self.try_out(name, "absent"), (Code.FILE_MISSING, ""))

    def test_csv_delimiter_header_and_line_ends_are_detected(self):
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

    def test_json_file_may_be_an_array_or_one_object_per_line(self):
        for content in ('[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}\n'):
            with self.subTest(content):
                (self.root / "json").write_text(content)
                self.assertEqual(self.connect("json").execute("FROM data").fetchall(), [(1,), (2,)])

    def test_file_name_may_have_characters_special_in_urls_and_patterns(self):
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            path = f"a'b?c#d%41*[e] ü&mode=rwc.{name}"
            (self.root / name).rename(self.root / path)
            with self.subTest(name):
                self.assertEqual(self.try_out(name, path)[0], Code.OK)

    def test_connection_test_reads_only_a_part_of_a_large_csv_file(self):
        with (self.root / "csv").open("a") as file:
            file.writelines(f"{number},somebody with a long name\n" for number in range(10**6))
        counts = []
        real_pread = os.pread
        with mock.patch(
            "os.pread", lambda *args: counts.append(len(data := real_pread(*args))) or data
        ):
            self.assertEqual(self.try_out("csv")[0], Code.OK)
        self.assertTrue(counts)
        self.assertLessEqual(max(counts), table_files.CSV_BUFFER_BYTES)

    def test_closing_the_connection_closes_the_file(self):
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

    def test_statement_on_a_file_times_out(self):
        for name in ("csv", "sqlite"):
            connection = self.connect(name, query_timeout=1)
            for execute in (connection.execute, connection.cursor().execute):
                with self.subTest(name, execute=execute), self.assertRaises(Exception) as caught:
                    execute(ENDLESS).fetchall()
                self.assertRegex(str(caught.exception), "(?i)interrupt")
            self.assertEqual(
                connection.execute(f"SELECT count(*) FROM {table_of(name)}").fetchall(), [(3,)]
            )

    def test_importing_the_connectors_imports_no_driver_for_files(self):
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
