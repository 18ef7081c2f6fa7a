"""Where secrets may be."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.test import SimpleTestCase, override_settings

from datasources.declarations.references import FILE_BYTES_MAX, resolve


class ReferenceTests(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.root = self.folder / "secrets"
        self.root.mkdir()
        (self.folder / "outside").write_text("hunter2")
        self.enterContext(override_settings(SECRETS_ROOT=str(self.root)))

    def test_takes_a_variable(self) -> None:
        with mock.patch.dict(os.environ, {"SHOP_PASSWORD": " p/ä \n"}):
            self.assertEqual(resolve("${env:SHOP_PASSWORD}"), " p/ä \n")

    def test_takes_a_file_without_its_last_line_break(self) -> None:
        (self.root / "shop").mkdir()
        (self.root / "shop" / "key").write_text("BEGIN\nEND\n\n")
        self.assertEqual(resolve("${file:shop/key}"), "BEGIN\nEND\n")

    def test_refuses_all_else(self) -> None:
        (self.root / "link").symlink_to(self.folder / "outside")
        (self.root / "large").write_text("x" * (FILE_BYTES_MAX + 1))
        (self.root / "binary").write_bytes(b"\xff")
        environment = {"EMPTY": "", "SECRET_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        for text, words in (
            ("hunter2", "Say where it is"),
            ("${env:A} ", "Say where it is"),
            ("${env:}", "Say where it is"),
            ("${vault:a}", "Say where it is"),
            ("${env:A}${env:B}", "Say where it is"),
            ("${env:NOT_THERE}", "NOT_THERE is not set"),
            ("${env:EMPTY}", "EMPTY is not set"),
            ("${env:SECRET_KEY}", "service's own"),
            ("${env:AWS_SECRET_ACCESS_KEY}", "service's own"),
            ("${file:nowhere}", "no file"),
            ("${file:.}", "no file"),
            ("${file:large}", "no file"),
            ("${file:binary}", "cannot be read"),
            ("${file:../outside}", "not below"),
            ("${file:link}", "not below"),
            (f"${{file:{self.folder}/outside}}", "not below"),
            ("${file:a\0b}", "Say where it is"),
            (f"${{file:{'a' * 5000}}}", "cannot be read"),
        ):
            with (
                self.subTest(text[:40]),
                mock.patch.dict(os.environ, environment),
                self.assertRaises(ValueError) as caught,
            ):
                resolve(text)
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("hunter2", str(caught.exception))

    @override_settings(SECRETS_ROOT=None)
    def test_takes_no_file_unless_there_is_a_place_for_them(self) -> None:
        with self.assertRaisesMessage(ValueError, "SECRETS_ROOT is not set"):
            resolve(f"${{file:{self.folder}/outside}}")
