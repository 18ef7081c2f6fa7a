"""The keys of `make run`, and the commands that use them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase

from rivergen.env import read_secret
from rivergen.local.keys import use_local_keys, use_local_keys_if_there
from rivergen.testing.run import fresh_copy

SECRETS = ("SECRET_KEY", "ENCRYPTION_KEYS", "DATABASE_URL")
NOTHING_SET = {**dict.fromkeys(SECRETS, ""), **{f"{name}_FILE": "" for name in SECRETS}}
PRINT_KEYS = "from django.conf import settings as s; print(s.SECRET_KEY, s.ENCRYPTION_KEYS)"


class LocalKeyTests(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, NOTHING_SET))

    def keys(self) -> dict[str, str]:
        return {name: read_secret(name) for name in ("SECRET_KEY", "ENCRYPTION_KEYS")}

    def forget_keys(self) -> None:
        os.environ.update(NOTHING_SET)

    def test_make_run_uses_the_same_keys_each_time(self):
        use_local_keys(self.folder)
        keys = self.keys()
        self.assertTrue(all(keys.values()))
        self.forget_keys()
        use_local_keys(self.folder)
        self.assertEqual(self.keys(), keys)

    def test_keys_of_make_run_are_in_no_variable(self):
        use_local_keys(self.folder)
        for key in self.keys().values():
            self.assertNotIn(key, os.environ.values())

    def test_commands_find_the_keys_of_make_run(self):
        use_local_keys(self.folder)
        keys = self.keys()
        self.forget_keys()
        use_local_keys_if_there(self.folder)
        self.assertEqual(self.keys(), keys)

    def test_commands_do_not_create_missing_keys(self):
        use_local_keys_if_there(self.folder)
        self.assertEqual(set(self.keys().values()), {""})
        self.assertEqual([*self.folder.iterdir()], [])

    def test_keys_of_the_environment_take_precedence(self):
        use_local_keys(self.folder)
        os.environ |= NOTHING_SET | {"SECRET_KEY": "mine"}
        use_local_keys_if_there(self.folder)
        self.assertEqual(self.keys()["SECRET_KEY"], "mine")
        self.assertTrue(self.keys()["ENCRYPTION_KEYS"])

    def test_keys_of_make_run_are_not_used_with_a_database_from_the_environment(self):
        use_local_keys(self.folder)
        self.forget_keys()
        os.environ["DATABASE_URL"] = "postgresql://u@127.0.0.1/x"
        use_local_keys_if_there(self.folder)
        self.assertEqual(set(self.keys().values()), {""})


class ManageTests(SimpleTestCase):
    def manage(self, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "manage.py", "shell", "--verbosity", "0"]
        inherited = {name: text for name, text in os.environ.items() if name != "PYTEST_VERSION"}
        return subprocess.run(
            [*command, "--command", PRINT_KEYS],
            cwd=folder,
            env=inherited | NOTHING_SET | environment,
            capture_output=True,
            text=True,
        )

    def test_manage_py_finds_the_keys_of_make_run(self):
        folder = self.enterContext(fresh_copy())
        with mock.patch.dict(os.environ, NOTHING_SET):
            use_local_keys(folder / ".local")
            secret_key = read_secret("SECRET_KEY")
        process = self.manage(folder)
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertEqual(process.stdout.split()[0], secret_key)

        elsewhere = self.manage(folder, DATABASE_URL="postgresql://u@127.0.0.1:1/x")
        self.assertEqual(elsewhere.returncode, 1)
        self.assertIn("Not configured: SECRET_KEY is not set", elsewhere.stderr)
