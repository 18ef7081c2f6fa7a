"""Secrets of one machine, made once and kept in private files."""

import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from rivergen.local.private_files import read_or_make_secret


class PrivateFileTests(SimpleTestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = Path(folder) / "some" / "new" / "secret"

    def test_secret_of_a_private_file_is_created_once(self):
        self.assertEqual(read_or_make_secret(self.path, lambda: "first"), "first")
        self.assertEqual(read_or_make_secret(self.path, lambda: "second"), "first")

    def test_private_file_can_be_read_by_its_owner_only(self):
        read_or_make_secret(self.path, lambda: "secret")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([*self.path.parent.iterdir()], [self.path])

    def test_concurrent_processes_get_the_same_secret(self):
        def make_while_another_process_does() -> str:
            self.path.write_text("first")
            return "second"

        self.assertEqual(read_or_make_secret(self.path, make_while_another_process_does), "first")
        self.assertEqual([*self.path.parent.iterdir()], [self.path])
