"""Secrets of one machine: made once, whoever comes first."""

import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from rivergen.local.private_files import read_or_make_secret


class PrivateFileTests(SimpleTestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = Path(folder) / "of" / "this" / "machine"

    def test_makes_a_secret_once(self):
        self.assertEqual(read_or_make_secret(self.path, lambda: "first"), "first")
        self.assertEqual(read_or_make_secret(self.path, lambda: "second"), "first")

    def test_nobody_else_may_read_it(self):
        read_or_make_secret(self.path, lambda: "secret")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([*self.path.parent.iterdir()], [self.path])

    def test_of_two_at_the_same_time_both_have_the_same(self):
        def be_overtaken() -> str:
            self.path.write_text("first")
            return "second"

        self.assertEqual(read_or_make_secret(self.path, be_overtaken), "first")
        self.assertEqual([*self.path.parent.iterdir()], [self.path])
