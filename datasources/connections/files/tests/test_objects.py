"""Files in an S3 store, played by a fake."""

import gzip
import socket
import sqlite3
from unittest import mock

import duckdb
from django.test import override_settings

from datasources.connections.connectors import files, table_files
from datasources.connections.failures import Code
from datasources.connections.files import expansion
from datasources.connections.files.storage import FILE_URL, open_file
from datasources.connections.testing.fake_s3 import FakeS3
from datasources.connections.testing.files import ROWS, SECRET, FilesTestCase, table_of, write_files


class ObjectStoreTests(FilesTestCase):
    """Objects of the fake store, read by the connectors of files."""

    def start(self, **options):
        store = FakeS3(self, **options)
        write_files(self.root)
        for path in self.root.iterdir():
            store.objects[f"/files/of/all/{path.name}"] = path.read_bytes()
        self.enterContext(
            override_settings(STORAGE_URL=("files", "of/all/"), STORAGE_ROOT=self.root / "none")
        )
        return store

    def test_query_returns_the_rows_of_each_type_of_object(self):
        self.start()
        for name in ("csv", "parquet", "json", "duckdb", "sqlite"):
            with self.subTest(name):
                self.assertEqual(self.try_out(name)[0], Code.OK)
                result = self.connect(name).execute(f"SELECT * FROM {table_of(name)}")
                self.assertEqual(result.fetchall(), ROWS)

    def test_csv_and_parquet_objects_are_read_by_ranges(self):
        store = self.start()
        rows = "".join(f"{number},somebody with a long name\n" for number in range(10**6))
        store.objects["/files/of/all/csv"] = b"id,name\n" + rows.encode()
        with duckdb.connect() as connection:
            path = self.root / "large"
            connection.execute(f"COPY (FROM range(3_000_000)) TO '{path}' (FORMAT parquet)")
        store.objects["/files/of/all/parquet"] = path.read_bytes()
        for name, most in (
            ("csv", table_files.CSV_BUFFER_BYTES),
            ("parquet", path.stat().st_size // 2),
        ):
            store.ranges.clear()
            with self.subTest(name):
                self.assertEqual(self.try_out(name)[0], Code.OK)
                self.assertTrue(store.ranges)
                self.assertNotIn(None, store.ranges)
                self.assertLessEqual(max(end + 1 - start for start, end in store.ranges), most)

    def test_compressed_and_transcoded_objects_are_read(self):
        store = self.start()
        text = "id,name\n1,Zoë\n" + "2,x\n" * 2_000_000
        for content in (gzip.compress(text.encode()), text.encode("utf-16")):
            store.objects["/files/of/all/csv"] = content
            store.ranges.clear()
            self.assertEqual(self.try_out("csv"), (Code.OK, "CSV, 2 columns"))
            sizes = [end + 1 - start for start, end in store.ranges]
            self.assertLessEqual(max(sizes), expansion.CHUNK_BYTES)
            rows = self.connect("csv").execute("SELECT count(*), min(name) FROM data").fetchall()
            self.assertEqual(rows, [(2_000_001, "Zoë")])

    def test_sql_cannot_read_or_write_other_objects(self):
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

    def test_missing_object_and_path_outside_the_prefix_are_missing(self):
        store = self.start()
        for place in ("/files/of/secret", "/files/of/all/../secret", "/files/of/all/csv/"):
            store.objects[place] = SECRET.encode()
        for path in ("absent", "../secret", "a/../../secret", "csv/", "a/../csv"):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_object_that_the_store_denies_is_missing(self):
        self.start(denies=True)
        self.assert_missing("csv")

    def test_object_replaced_after_opening_is_not_read(self):
        store = self.start()
        file = open_file("csv", 5)
        store.objects["/files/of/all/csv"] = b"another"
        with self.assertRaisesRegex(Exception, "412"):
            file.read_at(0, 5)

    def test_store_without_ranges_is_query_failed(self):
        self.start(knows_ranges=False)
        file = open_file("csv", 5)
        with self.assertRaises(OSError):
            file.read_at(2, 3)
        for name in ("csv", "json", "parquet"):
            with self.subTest(name):
                self.assertEqual(self.try_out(name), (Code.QUERY_FAILED, ""))

    def test_large_sqlite_object_is_refused_before_loading(self):
        store = self.start()
        with mock.patch.object(files, "SQLITE_OBJECT_MAX_BYTES", 1000):
            self.assertEqual(self.try_out("sqlite"), (Code.FILE_TOO_LARGE, ""))
        self.assertEqual(store.ranges, [])

    def test_sqlite_object_in_memory_is_read_only(self):
        self.start()
        connection = self.connect("sqlite")
        for statement in ("DELETE FROM people", "CREATE TABLE x (y)", "PRAGMA user_version = 3"):
            with self.subTest(statement), self.assertRaises(sqlite3.Error):
                connection.execute(statement)

    def test_unreachable_store_is_storage_failed(self):
        self.start()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with mock.patch.dict("os.environ", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}"):
            self.assertEqual(self.try_out("csv"), (Code.STORAGE_FAILED, ""))
