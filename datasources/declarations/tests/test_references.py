"""Where secrets may be."""

import ast
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from datasources.declarations.references import FILE_BYTES_MAX, OWN_VARIABLES, resolve

# What the settings read, and what nobody gains by.
HARMLESS = {
    "ALLOWED_HOSTS",
    "BIND_ADDRESS",
    "DATABASE_ROW_LEVEL_SECURITY",
    "DEBUG",
    "EGRESS_ALLOW",
    "EGRESS_DENY",
    "FORWARDED_ALLOW_IPS",
    "LOG_FORMAT",
    "METRICS_ALLOW",
    "NUM_PROXIES",
    "PORT",
    "RATE_LIMIT_TEST",
    "RATE_LIMIT_TOKEN",
    "RATE_LIMIT_USER",
    "SECRETS_ROOT",
    "STORAGE_ROOT",
    "STORAGE_URL",  # never with keys
    "WEB_CONCURRENCY",
    "WORKER_CONCURRENCY",
}


def variables_of_settings() -> set[str]:
    """Give the names that the settings look up in the environment, or have a reader look up."""
    tree = ast.parse((settings.BASE_DIR / "rivergen" / "settings.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        str(argument.value)
        for call in calls
        if re.fullmatch(r"os\.environ\.get|read_\w+", ast.unparse(call.func))
        for argument in call.args
        if isinstance(argument, ast.Constant) and re.fullmatch(r"[A-Z_]+", str(argument.value))
    }


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

    def test_takes_none_of_the_services_own_secrets(self) -> None:
        for name in (*OWN_VARIABLES, "AWS_SECRET_ACCESS_KEY"):
            with (
                self.subTest(name),
                mock.patch.dict(os.environ, {name: "hunter2"}),
                self.assertRaisesMessage(ValueError, f"{name} is this service's own."),
            ):
                resolve(f"${{env:{name}}}")

    def test_each_variable_of_the_settings_is_decided_on(self) -> None:
        secret = {*OWN_VARIABLES} - {"PGPASSWORD"}  # which the settings leave to libpq
        self.assertEqual(variables_of_settings(), secret | HARMLESS)

    def test_refuses_all_else(self) -> None:
        (self.root / "link").symlink_to(self.folder / "outside")
        (self.root / "large").write_text("x" * (FILE_BYTES_MAX + 1))
        (self.root / "binary").write_bytes(b"\xff")
        environment = {"EMPTY": ""}
        for text, words in (
            ("hunter2", "Say where it is"),
            ("${env:A} ", "Say where it is"),
            ("${env:}", "Say where it is"),
            ("${vault:a}", "Say where it is"),
            ("${env:A}${env:B}", "Say where it is"),
            ("${env:NOT_THERE}", "NOT_THERE is not set"),
            ("${env:EMPTY}", "EMPTY is not set"),
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
