"""Tests of what SQL cannot do on a connection to a file that DuckDB reads."""

import os
import socket
from contextlib import suppress
from unittest import mock

import duckdb

from datasources.connections.connectors import files
from datasources.connections.failures import Code
from datasources.connections.files.storage import FILE_URL
from datasources.connections.testing.files import SECRET, FilesTestCase, write_files


class DuckDBFileTests(FilesTestCase):
    """SQL on a file that DuckDB reads, on the connection and on its cursors."""

    def setUp(self):
        super().setUp()
        write_files(self.root)
        self.before = {path: path.read_bytes() for path in self.root.iterdir()}
        self.enterContext(mock.patch.dict("os.environ", HTTP_PROXY=f"http://u:{SECRET}@h:1"))

    def assert_all_refused(self, statements, names=("csv", "parquet", "json", "duckdb")):
        statements = list(statements)
        for name in names:
            connection = self.connect(name)
            for statement in statements:
                for execute in (connection.execute, connection.cursor().execute):
                    with self.subTest(name, statement=statement), self.assertRaises(duckdb.Error):
                        execute(statement).fetchall()
        for path, content in self.before.items():
            self.assertEqual(path.read_bytes(), content, path)
        self.assertEqual(set(self.root.iterdir()), set(self.before))

    def test_sql_cannot_read_other_files(self):
        others = (
            "/etc/passwd",
            "/proc/self/environ",
            "/proc/self/fd/0",
            "../secret",
            f"{FILE_URL}/../../secret",
            "stored://other",
            "stored:///etc/passwd",
            f"file://{self.outside}/secret",
            *(os.fspath(path) for path in (*self.before, self.outside / "secret")),
        )
        readers = ("read_text", "read_blob", "read_csv", "read_json", "read_parquet", "sniff_csv")
        self.assert_all_refused(f"FROM {reader}('{path}')" for reader in readers for path in others)
        self.assert_all_refused(f"FROM '{path}'" for path in others)

    def test_sql_cannot_read_local_files_even_in_allowed_paths(self):
        connector = self.connector("csv")
        settings_ = connector._settings(FILE_URL)
        settings_["allowed_paths"] = f"['{FILE_URL}', '{self.root}/json']"
        with mock.patch.object(connector, "_settings", return_value=settings_):
            connection = connector.connect()
        self.addCleanup(connection.close)
        with self.assertRaises(duckdb.Error):
            connection.execute(f"FROM read_text('{self.root}/json')")

    def test_sql_cannot_list_folders(self):
        for name in ("csv", "duckdb"):
            connection = self.connect(name)
            for pattern in ("/etc/*", f"{self.root}/*", "*", "stored://*"):
                with self.subTest(name, pattern=pattern):
                    try:
                        found = connection.execute(f"FROM glob('{pattern}')").fetchall()
                    except duckdb.Error:
                        found = []
                    self.assertEqual(found, [])

    def test_sql_cannot_write_files(self):
        targets = (FILE_URL, "stored://other", f"{self.root}/new", f"{self.root}/csv", "/dev/null")
        options = ("", "(USE_TMP_FILE false)", "(FORMAT parquet, USE_TMP_FILE false)")
        self.assert_all_refused(
            (
                *(f"COPY (SELECT 1) TO '{one}' {how}" for one in targets for how in options),
                f"EXPORT DATABASE '{self.root}/new'",
            )
        )
        self.assert_all_refused(
            ("CREATE TABLE data.new AS SELECT 1", "DROP TABLE data.people"), ["duckdb"]
        )

    def test_sql_cannot_write_the_file_by_attaching_it_again(self):
        connection = self.connect("duckdb")
        for statement in (
            "DETACH data",
            f"ATTACH '{FILE_URL}' AS again",
            "CREATE TABLE again.new AS SELECT 1",
            "CHECKPOINT again",
        ):
            with suppress(duckdb.Error):
                connection.execute("USE memory")
                connection.execute(statement)
        connection.close()
        self.assertEqual((self.root / "duckdb").read_bytes(), self.before[self.root / "duckdb"])

    def test_sql_cannot_attach_other_databases(self):
        paths = (self.root / "duckdb", self.root / "new", "stored://other", self.outside / "new")
        self.assert_all_refused(
            (
                *(f"ATTACH '{path}' AS other" for path in paths),
                *(f"ATTACH '{path}' AS other (READ_ONLY)" for path in paths),
                f"ATTACH '{self.root}/sqlite' AS other (TYPE sqlite)",
                "ATTACH 'host=127.0.0.1' AS other (TYPE postgres)",
            ),
        )

    def test_sql_cannot_load_extensions(self):
        self.assert_all_refused(
            (
                *("INSTALL httpfs", "LOAD httpfs", f"LOAD '{self.root}/csv'"),
                "INSTALL httpfs FROM community",
                f"INSTALL '{self.root}/csv'",
            )
        )

    def test_sql_cannot_change_the_configuration_of_duckdb(self):
        settings_ = {
            "enable_external_access": "true",
            "lock_configuration": "false",
            "allowed_paths": "['/etc/passwd']",
            "allowed_directories": "['/']",
            "disabled_filesystems": "''",
            "autoload_known_extensions": "true",
            "memory_limit": "'8GB'",
            "threads": "64",
            "temp_directory": f"'{self.root}'",
            "max_execution_time": "0",
            "python_enable_replacements": "true",
            "log_query_path": f"'{self.root}/new'",
            "allow_unsigned_extensions": "true",
        }
        changes = [f"SET {name} = {value}" for name, value in settings_.items()]
        resets = [f"RESET {name}" for name in settings_]
        self.assert_all_refused(
            (
                *(*changes, *resets, "PRAGMA enable_profiling", "PRAGMA memory_limit = '8GB'"),
                f"CALL enable_logging(storage = 'file', storage_path = '{self.root}/new')",
            )
        )

    def test_duckdb_has_limits_of_memory_and_threads_and_no_temporary_files(self):
        connection = self.connect("csv").cursor()
        names = ("memory_limit", "threads", "temp_directory", "enable_external_access")
        values = [
            connection.execute(f"SELECT current_setting('{name}')").fetchone()[0] for name in names
        ]
        self.assertEqual(values, ["488.2 MiB", files.DUCKDB_THREADS, "", False])

    def test_sql_cannot_read_environment_variables_python_variables_and_secrets(self):
        rows = [(SECRET,)]  # noqa: F841  # DuckDB's replacement scans look for variables
        self.assert_all_refused(
            (
                "SELECT getenv('HOME')",
                "FROM rows",
                "FROM ROWS",
                "CREATE PERSISTENT SECRET one (TYPE s3)",
            )
        )
        connection = self.connect("csv")
        for execute in (connection.execute, connection.cursor().execute):
            self.assertNotIn(SECRET, str(execute("FROM duckdb_settings()").fetchall()))

    def test_sql_cannot_open_network_connections(self):
        listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(0)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        self.assert_all_refused(
            f"FROM read_csv('{scheme}{place}/x')"
            for scheme in ("http://", "https://", "s3://", "hf://", "gcs://")
        )
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_view_in_a_duckdb_file_cannot_read_other_files(self):
        with duckdb.connect(self.root / "duckdb") as connection:
            connection.execute("CREATE VIEW passwords AS FROM read_text('/etc/passwd')")
        self.before[self.root / "duckdb"] = (self.root / "duckdb").read_bytes()
        self.assert_all_refused(["FROM passwords"], ["duckdb"])
        self.assertEqual(self.try_out("duckdb")[0], Code.OK)
