"""Files: what is opened, what is refused, and what SQL can do beside reading the one file."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import duckdb
from django.conf import settings
from django.test import SimpleTestCase, override_settings
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS, files
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.file_system import FILE_URL, OneFile, Reader
from datasources.connections.files.storage import open_file
from datasources.connections.stages import Stages
from datasources.connections.testing.fake_s3 import FakeS3

ROWS = [(1, "Ada"), (2, "Grace"), (3, "Linus")]
SECRET = "of-somebody-else"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def write_files(folder: Path) -> None:
    """Write `ROWS` as a file of every type, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "csv").write_text("id,name\n" + "".join(f"{id},{name}\n" for id, name in ROWS))
    (folder / "json").write_text(json.dumps([{"id": id, "name": name} for id, name in ROWS]))
    with duckdb.connect(folder / "duckdb") as connection:
        connection.execute(f"CREATE TABLE people AS FROM read_csv('{folder / 'csv'}')")
        connection.execute(f"COPY people TO '{folder / 'parquet'}' (FORMAT parquet)")
    write_sqlite(folder / "sqlite")


def write_sqlite(path: Path) -> None:
    """Write `ROWS` as a SQLite file of the kind that has a log while it is written."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
    connection.execute("CREATE TABLE pets (id INTEGER PRIMARY KEY, owner REFERENCES people)")
    connection.execute("CREATE VIRTUAL TABLE notes USING fts5(line)")
    connection.execute("INSERT INTO notes VALUES ('hello world')")
    connection.executemany("INSERT INTO people VALUES (?, ?)", ROWS)
    connection.commit()
    connection.close()


def table_of(name: str) -> str:
    return "people" if name in ("duckdb", "sqlite") else "data"


class FilesTestCase(SimpleTestCase):
    def setUp(self):
        self.outside = Path(self.enterContext(TemporaryDirectory())).resolve()
        self.root = self.outside / "root"
        self.root.mkdir()
        (self.outside / "secret").write_text(f"{SECRET}\n")
        self.enterContext(override_settings(STORAGE_ROOT=self.root, STORAGE_URL=None))

    def connector(self, name, file_path=None, **fields):
        path = name if file_path is None else file_path
        configuration = Configuration(type=name, file_path=path, **fields)
        return CONNECTORS[name](configuration, None, Stages())

    def connect(self, name, file_path=None, **fields):
        connection = self.connector(name, file_path, **fields).connect()
        self.addCleanup(connection.close)
        return connection

    def try_out(self, name, file_path=None):
        """Give the code of a test, and the version that it found."""
        connector = self.connector(name, file_path)
        try:
            connection = connector.connect()
            self.addCleanup(connection.close)
            return Code.OK, connector.ask(connection)
        except ConnectionFailure as failure:
            return failure.code, ""

    def assert_missing(self, path):
        with self.assertRaises(ConnectionFailure) as caught:
            open_file(path, 5)
        self.assertEqual(caught.exception.code, Code.FILE_MISSING)


class StorageTests(FilesTestCase):
    def test_reads_a_file_at_any_place(self):
        (self.root / "a").mkdir()
        (self.root / "a/b").write_bytes(b"0123456789")
        file = open_file("a/b", 5)
        self.assertEqual(file.size, 10)
        self.assertEqual(
            [file.read_at(*at) for at in ((3, 4), (8, 9), (20, 1))], [b"3456", b"89", b""]
        )

    def test_follows_links_that_stay_in_the_folder_of_the_organization(self):
        for folder in ("1", "2"):
            (self.root / folder).mkdir()
            (self.root / folder / "2024").write_text(folder)
        (self.root / "1/latest").symlink_to("2024")
        (self.root / "1/foreign").symlink_to("../2/2024")
        (self.root / "3").symlink_to("2")
        self.assertEqual(open_file("1/latest", 5).read_at(0, 1), b"1")
        self.assert_missing("1/foreign")
        self.assert_missing("3/2024")

    def test_takes_a_root_that_is_a_link_itself(self):
        (self.root / "file").write_text("x")
        (self.outside / "link").symlink_to("root")
        with self.settings(STORAGE_ROOT=self.outside / "link"):
            self.assertEqual(open_file("file", 5).size, 1)

    def test_refuses_links_that_lead_out(self):
        (self.outside / "root-2").mkdir()
        (self.outside / "root-2/file").write_text(SECRET)
        (self.root / "inner").mkdir()
        for target in (
            self.outside / "secret",
            "../secret",
            "inner/../../secret",
            "/proc/self/environ",
            self.outside / "root-2/file",
        ):
            with self.subTest(target=target):
                (self.root / "link").symlink_to(target)
                self.assert_missing("link")
                (self.root / "link").unlink()

    def test_refuses_folders_that_are_links_that_lead_out(self):
        (self.root / "up").symlink_to("..")
        (self.root / "all").symlink_to("/")
        for path in ("up/secret", "all/etc/passwd", f"all{self.outside}/secret"):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_refuses_paths_that_lead_out_by_themselves(self):
        for path in ("../secret", "a/../../secret", str(self.outside / "secret")):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_refuses_what_is_no_regular_file_without_waiting(self):
        (self.root / "folder").mkdir()
        os.mkfifo(self.root / "fifo")
        listener = self.enterContext(socket.socket(socket.AF_UNIX))
        listener.bind(os.fspath(self.root / "socket"))
        (self.root / "loop").symlink_to("loop")
        (self.root / "file").touch()
        for path in (".", "folder", "folder/", "fifo", "socket", "loop", "file/", "file/x", ""):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_opens_no_device_to_look_at_it(self):
        opened = []
        real_open = os.open
        (self.root / "device").symlink_to("/dev/null")
        with mock.patch(
            "os.open", lambda path, flags: opened.append(flags) or real_open(path, flags)
        ):
            self.assert_missing("device")
            with self.settings(STORAGE_ROOT="/dev"):
                self.assert_missing("null")
        self.assertTrue(all(flags & os.O_PATH for flags in opened), opened)

    def test_refuses_what_no_file_system_can_spell(self):
        for path in ("absent", "a" * 300, "a/" * 5000 + "b", "a\0b", "\ud800"):
            with self.subTest(path=path[:10]):
                self.assert_missing(path)

    def test_reads_what_it_checked_and_not_what_the_name_leads_to_later(self):
        (self.root / "file").write_text("checked")
        real_fstat = os.fstat

        def swap(descriptor):
            (self.root / "file").unlink(missing_ok=True)
            (self.root / "file").symlink_to(self.outside / "secret")
            return real_fstat(descriptor)

        with mock.patch("os.fstat", swap):
            file = open_file("file", 5)
        self.assertEqual(file.read_at(0, 100), b"checked")

    def test_closes_what_nobody_refers_to(self):
        (self.root / "file").write_text("x")
        before = len(os.listdir("/proc/self/fd"))
        for path in ("file", "absent", "."):
            with suppress(ConnectionFailure):
                open_file(path, 5)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


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
        connector.ask(connector.connect())
        passed = [(stage["stage"], stage["ok"]) for stage in connector.stages.shown()]
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


class ReaderTests(FilesTestCase):
    def test_threads_that_share_a_reader_read_where_each_one_sought(self):
        (self.root / "file").write_bytes(bytes(range(200)))
        reader = Reader(open_file("file", 5))
        with ThreadPoolExecutor(1) as other:
            reader.seek(10)
            other.submit(reader.seek, 100).result()
            self.assertEqual(reader.read(2), bytes((10, 11)))
            self.assertEqual(other.submit(reader.read, 2).result(), bytes((100, 101)))

    def test_reads_on_in_another_thread(self):
        (self.root / "file").write_bytes(bytes(range(200)))
        reader = Reader(open_file("file", 5))
        reader.seek(10)
        reader.read(5)
        with ThreadPoolExecutor(1) as other:
            self.assertEqual(other.submit(reader.read, 2).result(), bytes((15, 16)))

    def test_what_another_thread_has_read_since_the_start_is_not_read_again(self):
        (self.root / "file").write_bytes(bytes(range(20)))
        reader = Reader(open_file("file", 5))
        with ThreadPoolExecutor(1) as other:
            reader.seek(0)
            self.assertEqual(other.submit(reader.read, 15).result(), bytes(range(15)))
            self.assertEqual(reader.read(15), bytes(range(15, 20)))
            self.assertEqual(other.submit(reader.read, 15).result(), b"")


class OneFileTests(FilesTestCase):
    def test_has_one_file_to_read_and_nothing_else(self):
        (self.root / "file").write_text("x")
        file_system = OneFile(open_file("file", 5))
        self.assertEqual(file_system.open(FILE_URL).read(1), b"x")
        self.assertEqual(file_system.glob(FILE_URL), [FILE_URL])
        for path, mode in ((FILE_URL, "wb"), (FILE_URL, "r+b"), ("stored://other", "rb")):
            with self.subTest(path, mode=mode), self.assertRaises(PermissionError):
                file_system.open(path, mode)
        for path in ("stored://*", "stored://other", "*"):
            with self.subTest(path):
                self.assertEqual(file_system.glob(path), [])
                self.assertFalse(file_system.exists(path))


class DuckDBLockTests(FilesTestCase):
    """What SQL on a connection of DuckDB cannot do."""

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

    def test_reads_no_other_file(self):
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

    def test_reaches_no_local_file_even_by_a_path_that_is_allowed(self):
        connector = self.connector("csv")
        settings_ = connector._settings(FILE_URL)
        settings_["allowed_paths"] = f"['{FILE_URL}', '{self.root}/json']"
        with mock.patch.object(connector, "_settings", return_value=settings_):
            connection = connector.connect()
        self.addCleanup(connection.close)
        with self.assertRaises(duckdb.Error):
            connection.execute(f"FROM read_text('{self.root}/json')")

    def test_lists_no_folder(self):
        for name in ("csv", "duckdb"):
            connection = self.connect(name)
            for pattern in ("/etc/*", f"{self.root}/*", "*", "stored://*"):
                with self.subTest(name, pattern=pattern):
                    try:
                        found = connection.execute(f"FROM glob('{pattern}')").fetchall()
                    except duckdb.Error:
                        found = []
                    self.assertEqual(found, [])

    def test_writes_nothing(self):
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

    def test_writes_not_through_another_connection_to_the_file(self):
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

    def test_attaches_no_other_database(self):
        paths = (self.root / "duckdb", self.root / "new", "stored://other", self.outside / "new")
        self.assert_all_refused(
            (
                *(f"ATTACH '{path}' AS other" for path in paths),
                *(f"ATTACH '{path}' AS other (READ_ONLY)" for path in paths),
                f"ATTACH '{self.root}/sqlite' AS other (TYPE sqlite)",
                "ATTACH 'host=127.0.0.1' AS other (TYPE postgres)",
            ),
        )

    def test_loads_no_extensions(self):
        self.assert_all_refused(
            (
                *("INSTALL httpfs", "LOAD httpfs", f"LOAD '{self.root}/csv'"),
                "INSTALL httpfs FROM community",
                f"INSTALL '{self.root}/csv'",
            )
        )

    def test_changes_no_configuration(self):
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

    def test_bounds_memory_and_threads_and_keeps_no_temporary_files(self):
        connection = self.connect("csv").cursor()
        names = ("memory_limit", "threads", "temp_directory", "enable_external_access")
        values = [
            connection.execute(f"SELECT current_setting('{name}')").fetchone()[0] for name in names
        ]
        self.assertEqual(values, ["488.2 MiB", files.DUCKDB_THREADS, "", False])

    def test_reads_no_environment_no_variable_and_no_secret(self):
        rows = [(SECRET,)]  # noqa: F841  # a replacement scan would find it
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

    def test_reads_nothing_from_the_network(self):
        listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(0)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        self.assert_all_refused(
            f"FROM read_csv('{scheme}{place}/x')"
            for scheme in ("http://", "https://", "s3://", "hf://", "gcs://")
        )
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_views_of_a_stored_database_lead_nowhere_else(self):
        with duckdb.connect(self.root / "duckdb") as connection:
            connection.execute("CREATE VIEW passwords AS FROM read_text('/etc/passwd')")
        self.before[self.root / "duckdb"] = (self.root / "duckdb").read_bytes()
        self.assert_all_refused(["FROM passwords"], ["duckdb"])
        self.assertEqual(self.try_out("duckdb")[0], Code.OK)


class SQLiteLockTests(FilesTestCase):
    """What SQL on a connection of SQLite can do, and cannot."""

    def setUp(self):
        super().setUp()
        write_sqlite(self.root / "sqlite")
        write_sqlite(self.root / "other")
        self.before = {path: path.read_bytes() for path in self.root.iterdir()}

    def tearDown(self):
        self.assertEqual({path: path.read_bytes() for path in self.root.iterdir()}, self.before)

    def test_refuses_all_but_reading(self):
        connection = self.connect("sqlite")
        for statement in (
            f"ATTACH '{self.root}/other' AS other",
            f"ATTACH '{self.root}/new' AS other",
            "ATTACH ':memory:' AS other",
            f"VACUUM INTO '{self.root}/new'",
            "VACUUM",
            "SELECT load_extension('x')",
            "SELECT fts3_tokenizer('simple')",
            "SELECT readfile('/etc/passwd')",
            "INSERT INTO people VALUES (4, 'Edsger')",
            "UPDATE people SET name = ''",
            "DELETE FROM people",
            "DROP TABLE people",
            "CREATE TABLE new (x)",
            "CREATE TEMP TABLE new (x)",
            "PRAGMA query_only = OFF",
            "PRAGMA trusted_schema = ON",
            "PRAGMA writable_schema = ON",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA user_version = 3",
            f"PRAGMA temp_store_directory = '{self.root}'",
        ):
            with self.subTest(statement), self.assertRaises(sqlite3.Error):
                connection.execute(statement)
        self.assertEqual(connection.execute("SELECT * FROM people").fetchall(), ROWS)

    def test_finds_words_in_full_text(self):
        result = self.connect("sqlite").execute("SELECT line FROM notes WHERE notes MATCH 'hello'")
        self.assertEqual(result.fetchall(), [("hello world",)])

    def test_refuses_a_name_that_leads_elsewhere_by_now(self):
        real_connect = sqlite3.connect

        def swap(*args, **kwargs):
            (self.root / "sqlite").rename(self.outside / "kept")
            (self.root / "sqlite").symlink_to(self.root / "other")
            return real_connect(*args, **kwargs)

        with mock.patch("sqlite3.connect", swap):
            self.assertEqual(self.try_out("sqlite"), (Code.FILE_MISSING, ""))
        (self.outside / "kept").rename(self.root / "sqlite")

    def test_serves_sqlalchemy(self):
        creator = self.connector("sqlite").connect
        engine = create_engine("sqlite://", creator=creator, poolclass=NullPool)
        with engine.connect() as connection:
            query = text("SELECT name FROM people WHERE id = :id")
            self.assertEqual(connection.execute(query, {"id": 2}).scalar(), "Grace")
        inspector = inspect(engine)
        columns = inspector.get_multi_columns()[None, "people"]
        self.assertEqual([column["name"] for column in columns], ["id", "name"])
        keys = inspector.get_multi_foreign_keys()[None, "pets"]
        self.assertEqual(keys[0]["referred_table"], "people")
        unique = inspector.get_multi_unique_constraints()[None, "people"]
        self.assertEqual(unique[0]["column_names"], ["name"])


class ObjectTests(FilesTestCase):
    """Objects of an S3-like store; a fake of one."""

    def start(self, **options):
        store = FakeS3(self, **options)
        write_files(self.root)
        for path in self.root.iterdir():
            store.objects[f"/files/of/all/{path.name}"] = path.read_bytes()
        self.enterContext(
            override_settings(STORAGE_URL=("files", "of/all/"), STORAGE_ROOT=self.root / "none")
        )
        return store

    def test_gives_the_rows_of_every_type(self):
        self.start()
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                self.assertEqual(self.try_out(name)[0], Code.OK)
                result = self.connect(name).execute(f"SELECT * FROM {table_of(name)}")
                self.assertEqual(result.fetchall(), ROWS)

    def test_reads_ranges_only(self):
        store = self.start()
        rows = "".join(f"{number},somebody with a long name\n" for number in range(10**6))
        store.objects["/files/of/all/csv"] = b"id,name\n" + rows.encode()
        with duckdb.connect() as connection:
            path = self.root / "large"
            connection.execute(f"COPY (FROM range(3_000_000)) TO '{path}' (FORMAT parquet)")
        store.objects["/files/of/all/parquet"] = path.read_bytes()
        for name, most in (("csv", files.CSV_BUFFER_BYTES), ("parquet", path.stat().st_size // 2)):
            store.ranges.clear()
            with self.subTest(name):
                self.assertEqual(self.try_out(name)[0], Code.OK)
                self.assertTrue(store.ranges)
                self.assertNotIn(None, store.ranges)
                self.assertLessEqual(max(end + 1 - start for start, end in store.ranges), most)

    def test_reads_no_other_object_and_writes_none(self):
        store = self.start()
        before = dict(store.objects)
        connection = self.connect("csv")
        for statement in (
            "FROM read_csv('s3://files/of/all/json')",
            "FROM read_text('stored://of/all/json')",
            f"COPY (SELECT 1) TO '{FILE_URL}' (USE_TMP_FILE false)",
            "FROM read_text('/etc/passwd')",
        ):
            with self.subTest(statement), self.assertRaises(duckdb.Error):
                connection.execute(statement)
        self.assertEqual(store.objects, before)

    def test_names_objects_that_are_not_there(self):
        store = self.start()
        for place in ("/files/of/secret", "/files/of/all/../secret", "/files/of/all/csv/"):
            store.objects[place] = SECRET.encode()
        for path in ("absent", "../secret", "a/../../secret", "csv/", "a/../csv"):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_names_objects_that_may_not_be_seen(self):
        self.start(denies=True)
        self.assert_missing("csv")

    def test_stops_when_the_object_is_replaced(self):
        store = self.start()
        file = open_file("csv", 5)
        store.objects["/files/of/all/csv"] = b"another"
        with self.assertRaisesRegex(Exception, "412"):
            file.read_at(0, 5)

    def test_takes_nothing_from_a_store_that_knows_no_ranges(self):
        self.start(knows_ranges=False)
        file = open_file("csv", 5)
        with self.assertRaises(OSError):
            file.read_at(2, 3)
        self.assertEqual(self.try_out("parquet"), (Code.QUERY_FAILED, ""))

    def test_fetches_no_large_sqlite_file(self):
        store = self.start()
        with mock.patch.object(files, "SQLITE_OBJECT_MAX_BYTES", 1000):
            self.assertEqual(self.try_out("sqlite"), (Code.QUERY_FAILED, ""))
        self.assertEqual(store.ranges, [])

    def test_keeps_a_fetched_sqlite_file_as_it_is(self):
        self.start()
        connection = self.connect("sqlite")
        for statement in ("DELETE FROM people", "CREATE TABLE x (y)", "PRAGMA user_version = 3"):
            with self.subTest(statement), self.assertRaises(sqlite3.Error):
                connection.execute(statement)

    def test_fails_when_no_store_answers(self):
        self.start()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with mock.patch.dict("os.environ", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}"):
            self.assertEqual(self.try_out("csv"), (Code.STORAGE_FAILED, ""))
