"""Tests of `manage.py doctor`: each check with and without its problem."""

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

    def diagnose(self):
        """Run doctor, and return by check whether it is ok, and its text."""
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

    def assert_only_problem(self, name, words):
        """Assert that only this check has a problem, whose text contains `words`."""
        found = self.diagnose()
        self.assertEqual([one for one, (ok, _) in found.items() if not ok], [name])
        self.assertIn(words, found[name][1])

    def assert_no_problem(self, name, words):
        found = self.diagnose()
        self.assertTrue(all(ok for ok, _ in found.values()), found)
        self.assertIn(words, found[name][1])

    def test_healthy_service_has_no_problem(self):
        self.assertEqual([*self.diagnose()], NAMES)
        self.assert_no_problem("database", "PostgreSQL ")

    def test_old_database_is_a_problem(self):
        with mock.patch.object(doctor, "POSTGRESQL_MIN", 10**6):
            self.assertEqual([*self.diagnose()], ["database", "egress", "storage"])
            self.assert_only_problem("database", "too old. Take 15")

    def test_missing_migrations_are_a_problem(self):
        with mock.patch.object(doctor, "is_migrated", return_value=False):
            self.assert_only_problem("migrations", "manage.py migrate")

    def test_lost_key_is_a_problem_and_an_old_key_is_not(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        new = parse_keys(generate_key())
        with override_settings(ENCRYPTION_KEYS=[*new, *settings.ENCRYPTION_KEYS]):
            self.assert_no_problem("keys", "By others: 1; see rotate_encryption_key")
        with override_settings(ENCRYPTION_KEYS=new):
            self.assert_only_problem("keys", "which is not in ENCRYPTION_KEYS: 1. Add it")

    def test_missing_worker_is_a_problem(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '21 s'"
            )
        self.assert_only_problem("worker", "manage.py worker")

    def test_missing_driver_is_a_problem_if_a_data_source_needs_it(self):
        missing = mock.patch.object(
            CONNECTORS["oracle"], "is_driver_installed", classmethod(lambda cls: False)
        )
        with missing:
            self.assert_no_problem("drivers", "oracle")
            DataSource.objects.create(workspace=self.workspace, name="Old", type="oracle")
            self.assert_only_problem("drivers", "there: oracle.")

    def test_egress_rules_are_shown_and_metadata_address_is_a_problem(self):
        for rules, words in (("127.0.0.0/8", "127.0.0.0/8"), ("::1", "::1/128")):
            with self.subTest(rules), override_settings(EGRESS_ALLOW=parse_rules(rules)):
                self.assert_no_problem("egress", f"but for {words}.")
        with override_settings(EGRESS_ALLOW=parse_rules("169.254.169.254")):
            self.assert_only_problem("egress", "169.254.169.254/32: deny")

    def test_unresolvable_database_host_is_a_problem(self):
        with mock.patch.object(doctor, "egress_policy", side_effect=HostNotFound):
            self.assert_only_problem("egress", "DATABASE_URL")

    def test_missing_storage_folder_is_a_problem(self):
        with override_settings(STORAGE_ROOT=settings.STORAGE_ROOT / "nowhere"):
            self.assert_only_problem("storage", "nowhere is no folder")
            with override_settings(STORAGE_URL="s3://bucket/prefix"):
                self.assert_no_problem("storage", "object store")


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

    def test_doctor_reports_an_unreachable_database(self):
        first = self.manage("doctor").stdout.splitlines()[0]
        self.assertRegex(first, r"^mend +database +It cannot be reached\. Start it")

    def test_other_commands_report_an_unreachable_database_in_a_sentence(self):
        for command in ("migrate", "refresh_schemas", "demo"):
            with self.subTest(command):
                error = self.manage(command).stderr
                self.assertTrue(error.startswith("The database cannot be used: "), error)
                self.assertIn("manage.py doctor", error)
