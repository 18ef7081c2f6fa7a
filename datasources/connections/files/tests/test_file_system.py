"""The file system that DuckDB reads one stored file through."""

from concurrent.futures import ThreadPoolExecutor

from datasources.connections.files.file_system import OneFile, Reader
from datasources.connections.files.storage import FILE_URL, open_file
from datasources.connections.testing.files import FilesTestCase


class ReaderTests(FilesTestCase):
    def test_threads_that_share_a_reader_read_where_each_has_sought(self):
        (self.root / "file").write_bytes(bytes(range(200)))
        reader = Reader(open_file("file", 5))
        with ThreadPoolExecutor(1) as other:
            reader.seek(10)
            other.submit(reader.seek, 100).result()
            self.assertEqual(reader.read(2), bytes((10, 11)))
            self.assertEqual(other.submit(reader.read, 2).result(), bytes((100, 101)))

    def test_second_thread_continues_a_sequential_read(self):
        (self.root / "file").write_bytes(bytes(range(200)))
        reader = Reader(open_file("file", 5))
        reader.seek(10)
        reader.read(5)
        with ThreadPoolExecutor(1) as other:
            self.assertEqual(other.submit(reader.read, 2).result(), bytes((15, 16)))

    def test_threads_that_read_sequentially_do_not_read_a_part_twice(self):
        (self.root / "file").write_bytes(bytes(range(20)))
        reader = Reader(open_file("file", 5))
        with ThreadPoolExecutor(1) as other:
            reader.seek(0)
            self.assertEqual(other.submit(reader.read, 15).result(), bytes(range(15)))
            self.assertEqual(reader.read(15), bytes(range(15, 20)))
            self.assertEqual(other.submit(reader.read, 15).result(), b"")


class FileSystemTests(FilesTestCase):
    def test_file_system_has_one_file_and_is_read_only(self):
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
