"""Tests of references to secrets in declarations."""

import ast
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase, override_settings

from datasources.declarations.references import FILE_BYTES_MAX, OWN_VARIABLES, resolve
from rivergen.hidden_environment import SECRETS

# Variables of the settings that are no secrets.
HARMLESS = {
    "ALLOWED_HOSTS",
    "BIND_ADDRESS",
    "CORS_ALLOWED_ORIGINS",
    "DATABASE_ROW_LEVEL_SECURITY",
    "DEBUG",
    "EGRESS_ALLOW",
    "EGRESS_DEFAULT",
    "EGRESS_DENY",
    "FORWARDED_ALLOW_IPS",
    "LOG_FORMAT",
    "METRICS_ALLOW",
    "NUM_PROXIES",
    "PORT",
    "QUOTA_DATA_SOURCES",
    "QUOTA_HISTORY_BYTES",
    "QUOTA_KEPT_ANSWER_BYTES",
    "QUOTA_SCHEMA_BYTES",
    "RATE_LIMIT_TEST",
    "RATE_LIMIT_TOKEN",
    "RATE_LIMIT_USER",
    "SECRETS_ROOT",
    "STORAGE_ROOT",
    "STORAGE_URL",  # contains no keys
    "WEB_CONCURRENCY",
    "WORKER_CONCURRENCY",
}


def variables_of_settings() -> set[str]:
    """Return the names of the environment variables that the settings read."""
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

    def test_env_reference_resolves_to_the_variable(self) -> None:
        with mock.patch.dict(os.environ, {"SHOP_PASSWORD": " p/ä \n"}):
            self.assertEqual(resolve("${env:SHOP_PASSWORD}"), " p/ä \n")

    def test_file_reference_resolves_without_the_last_line_break(self) -> None:
        (self.root / "shop").mkdir()
        (self.root / "shop" / "key").write_text("BEGIN\nEND\n\n")
        self.assertEqual(resolve("${file:shop/key}"), "BEGIN\nEND\n")

    def test_the_services_own_secrets_cannot_be_referenced(self) -> None:
        for name in (*OWN_VARIABLES, "AWS_SECRET_ACCESS_KEY"):
            with (
                self.subTest(name),
                mock.patch.dict(os.environ, {name: "hunter2"}),
                self.assertRaisesMessage(
                    ValueError, f"{name} is one of this service's own variables."
                ),
            ):
                resolve(f"${{env:{name}}}")

    def test_files_of_the_services_own_secrets_cannot_be_referenced(self) -> None:
        for name in SECRETS:
            (self.root / name).write_text("hunter2")
            (self.root / "link").unlink(missing_ok=True)
            (self.root / "link").symlink_to(self.root / name)
            for given, referenced in ((name, name), (name, "link"), ("link", name)):
                with (
                    self.subTest(name, given=given, referenced=referenced),
                    mock.patch.dict(os.environ, {f"{name}_FILE": str(self.root / given)}),
                    self.assertRaisesMessage(ValueError, "one of this service's own secrets."),
                ):
                    resolve(f"${{file:{referenced}}}")

    def test_every_variable_of_the_settings_is_listed_as_secret_or_harmless(self) -> None:
        secret = {*OWN_VARIABLES} - {"PGPASSWORD"}  # libpq reads it, not the settings
        self.assertEqual(variables_of_settings(), secret | HARMLESS)

    def test_malformed_and_unreadable_references_are_refused(self) -> None:
        (self.root / "link").symlink_to(self.folder / "outside")
        (self.root / "large").write_text("x" * (FILE_BYTES_MAX + 1))
        (self.root / "binary").write_bytes(b"\xff")
        environment = {"EMPTY": ""}
        for text, words in (
            ("hunter2", "Must be a reference"),
            ("${env:A} ", "Must be a reference"),
            ("${env:}", "Must be a reference"),
            ("${vault:a}", "Must be a reference"),
            ("${env:A}${env:B}", "Must be a reference"),
            ("${env:NOT_THERE}", "NOT_THERE is not set"),
            ("${env:EMPTY}", "EMPTY is not set"),
            ("${file:nowhere}", "not a file"),
            ("${file:.}", "not a file"),
            ("${file:large}", "not a file"),
            ("${file:binary}", "cannot be read"),
            ("${file:../outside}", "not below"),
            ("${file:link}", "not below"),
            (f"${{file:{self.folder}/outside}}", "not below"),
            ("${file:a\0b}", "Must be a reference"),
            (f"${{file:{'a' * 5000}}}", "cannot be read"),
            (f"${{file:{'a/' * 500_000}}}", "a path has at most 1,000 characters"),
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
    def test_file_references_are_refused_without_secrets_root(self) -> None:
        with self.assertRaisesMessage(ValueError, "SECRETS_ROOT is not set"):
            resolve(f"${{file:{self.folder}/outside}}")
