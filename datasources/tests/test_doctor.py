"""`manage.py doctor`: each thing that it looks at, well and ill."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase, override_settings

from datasources.connections.connectors import CONNECTORS
from datasources.management.commands import doctor
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.egress.exceptions import HostNotFound
from rivergen.egress.rules import parse_rules
from rivergen.encryption_keys import generate_key, parse_keys
from rivergen.testing.services import free_port

NAMES = ["database", "migrations", "keys", "worker", "drivers", "isolation", "egress", "storage"]


class DoctorTests(DataSourceTestCase):
    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(override_settings(STORAGE_ROOT=folder, EGRESS_ALLOW=[]))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_workers")
            cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")

    def look(self):
        """Give what is said of each thing: whether it is well, and how."""
        output, error = StringIO(), ""
        try:
            call_command("doctor", stdout=output)
        except CommandError as raised:
            error = str(raised)
        found = {}
        for line in output.getvalue().splitlines():
            sign, name, text = line.split(maxsplit=2)
            self.assertIn(sign, ("ok", "mend"))
            found[name] = (sign == "ok", text)
        to_mend = sum(not ok for ok, _ in found.values())
        self.assertEqual(error, f"To be mended: {to_mend} of {len(found)}." if to_mend else "")
        return found

    def assert_ill(self, name, words):
        """Check that this alone is ill, and what is said to mend it."""
        found = self.look()
        self.assertEqual([one for one, (ok, _) in found.items() if not ok], [name])
        self.assertIn(words, found[name][1])

    def assert_well(self, name, words):
        found = self.look()
        self.assertTrue(all(ok for ok, _ in found.values()), found)
        self.assertIn(words, found[name][1])

    def test_all_is_well(self):
        self.assertEqual([*self.look()], NAMES)
        self.assert_well("database", "PostgreSQL ")

    def test_an_old_database(self):
        with mock.patch.object(doctor, "POSTGRESQL_MIN", 10**6):
            self.assertEqual([*self.look()], ["database", "egress", "storage"])
            self.assert_ill("database", "too old. Take 15")

    def test_missing_migrations(self):
        with mock.patch.object(doctor, "is_migrated", return_value=False):
            self.assert_ill("migrations", "manage.py migrate")

    def test_a_lost_key(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        new = parse_keys(generate_key())
        with override_settings(ENCRYPTION_KEYS=[*new, *settings.ENCRYPTION_KEYS]):
            self.assert_well("keys", "By others: 1; see rotate_encryption_key")
        with override_settings(ENCRYPTION_KEYS=new):
            self.assert_ill("keys", "which is not in ENCRYPTION_KEYS: 1. Add it")

    def test_no_worker(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '21 s'"
            )
        self.assert_ill("worker", "manage.py worker")

    def test_a_missing_driver(self):
        missing = mock.patch.object(
            CONNECTORS["oracle"], "is_driver_installed", classmethod(lambda cls: False)
        )
        with missing:
            self.assert_well("drivers", "oracle")
            DataSource.objects.create(workspace=self.workspace, name="Old", type="oracle")
            self.assert_ill("drivers", "there: oracle.")

    def test_what_may_be_reached(self):
        for rules, words in (("127.0.0.0/8", "127.0.0.0/8"), ("::1", "::1/128")):
            with self.subTest(rules), override_settings(EGRESS_ALLOW=parse_rules(rules)):
                self.assert_well("egress", f"but for {words}.")
        with override_settings(EGRESS_ALLOW=parse_rules("169.254.169.254")):
            self.assert_ill("egress", "169.254.169.254/32: deny")

    def test_a_database_whose_address_nobody_knows(self):
        with mock.patch.object(doctor, "egress_policy", side_effect=HostNotFound):
            self.assert_ill("egress", "DATABASE_URL")

    def test_a_storage_that_is_not_there(self):
        with override_settings(STORAGE_ROOT=settings.STORAGE_ROOT / "nowhere"):
            self.assert_ill("storage", "nowhere is no folder")
            with override_settings(STORAGE_URL="s3://bucket/prefix"):
                self.assert_well("storage", "object store")


class OutOfReachTests(SimpleTestCase):
    def manage(self, command):
        url = f"postgresql://reader:hunter2@127.0.0.1:{free_port()}/nowhere"
        process = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
        )
        self.assertEqual(process.returncode, 1)
        self.assertNotIn("hunter2", process.stdout + process.stderr)
        self.assertNotIn("Traceback", process.stderr)
        return process

    def test_a_database_that_is_away(self):
        first = self.manage("doctor").stdout.splitlines()[0]
        self.assertRegex(first, r"^mend +database +It cannot be reached\. Start it")

    def test_other_commands_say_it_in_a_sentence(self):
        for command in ("migrate", "refresh_schemas", "demo"):
            with self.subTest(command):
                error = self.manage(command).stderr
                self.assertTrue(error.startswith("The database cannot be used: "), error)
                self.assertIn("manage.py doctor", error)
