"""Opening a file of the storage folder: what is found, and what is refused."""

import os
import socket
from contextlib import suppress
from unittest import mock

from datasources.connections.failures import ConnectionFailure
from datasources.connections.files.storage import open_file
from datasources.connections.testing.files import SECRET, FilesTestCase


class StorageTests(FilesTestCase):
    def test_file_can_be_read_at_any_position(self):
        (self.root / "a").mkdir()
        (self.root / "a/b").write_bytes(b"0123456789")
        file = open_file("a/b", 5)
        self.assertEqual(file.size, 10)
        self.assertEqual(
            [file.read_at(*at) for at in ((3, 4), (8, 9), (20, 1))], [b"3456", b"89", b""]
        )

    def test_symlink_may_not_leave_the_folder_of_the_organization(self):
        for folder in ("1", "2"):
            (self.root / folder).mkdir()
            (self.root / folder / "2024").write_text(folder)
        (self.root / "1/latest").symlink_to("2024")
        (self.root / "1/foreign").symlink_to("../2/2024")
        (self.root / "3").symlink_to("2")
        self.assertEqual(open_file("1/latest", 5).read_at(0, 1), b"1")
        self.assert_missing("1/foreign")
        self.assert_missing("3/2024")

    def test_storage_root_may_be_a_symlink(self):
        (self.root / "file").write_text("x")
        (self.outside / "link").symlink_to("root")
        with self.settings(STORAGE_ROOT=self.outside / "link"):
            self.assertEqual(open_file("file", 5).size, 1)

    def test_symlink_to_a_file_outside_the_storage_is_missing(self):
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

    def test_path_through_a_symlinked_folder_outside_the_storage_is_missing(self):
        (self.root / "up").symlink_to("..")
        (self.root / "all").symlink_to("/")
        for path in ("up/secret", "all/etc/passwd", f"all{self.outside}/secret"):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_path_that_leaves_the_storage_is_missing(self):
        for path in ("../secret", "a/../../secret", str(self.outside / "secret")):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_folders_fifos_sockets_and_link_loops_are_missing_without_blocking(self):
        (self.root / "folder").mkdir()
        os.mkfifo(self.root / "fifo")
        listener = self.enterContext(socket.socket(socket.AF_UNIX))
        listener.bind(os.fspath(self.root / "socket"))
        (self.root / "loop").symlink_to("loop")
        (self.root / "file").touch()
        for path in (".", "folder", "folder/", "fifo", "socket", "loop", "file/", "file/x", ""):
            with self.subTest(path=path):
                self.assert_missing(path)

    def test_device_is_not_opened_to_check_it(self):
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

    def test_path_that_no_file_system_accepts_is_missing(self):
        for path in ("absent", "a" * 300, "a/" * 5000 + "b", "a\0b", "\ud800"):
            with self.subTest(path=path[:10]):
                self.assert_missing(path)

    def test_file_swapped_after_the_check_is_not_read(self):
        (self.root / "file").write_text("checked")
        real_fstat = os.fstat

        def swap(descriptor):
            (self.root / "file").unlink(missing_ok=True)
            (self.root / "file").symlink_to(self.outside / "secret")
            return real_fstat(descriptor)

        with mock.patch("os.fstat", swap):
            file = open_file("file", 5)
        self.assertEqual(file.read_at(0, 100), b"checked")

    def test_unreferenced_file_is_closed(self):
        (self.root / "file").write_text("x")
        before = len(os.listdir("/proc/self/fd"))
        for path in ("file", "absent", "."):
            with suppress(ConnectionFailure):
                open_file(path, 5)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
