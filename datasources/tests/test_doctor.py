"""`manage.py doctor`: each check, passed and failed."""

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
from datasources.connections.sandbox import landlock, lockdown
from datasources.management.commands import doctor
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.egress.exceptions import HostNotFound
from rivergen.egress.rules import parse_rules
from rivergen.encryption_keys import generate_key, parse_keys
from rivergen.testing.services import free_port

NAMES = ["database", "migrations", "keys", "worker", "drivers", "isolation", "egress", "storage"]
NAMES += ["sandbox"]


class DoctorTests(DataSourceTestCase):
    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(override_settings(STORAGE_ROOT=folder, EGRESS_ALLOW=[]))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_workers")
            cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")

    def run_checks(self):
        """Run the command, and return for each check whether it passed, and its text."""
        output, error = StringIO(), ""
        try:
            call_command("doctor", stdout=output)
        except CommandError as raised:
            error = str(raised)
        found = {}
        for line in output.getvalue().splitlines():
            sign, name, text = line.split(maxsplit=2)
            self.assertIn(sign, ("ok", "fail"))
            found[name] = (sign == "ok", text)
        failed = sum(not ok for ok, _ in found.values())
        self.assertEqual(error, f"Checks failed: {failed} of {len(found)}." if failed else "")
        return found

    def assert_failed(self, name, words):
        """Check that this check alone fails, and that its line has these words."""
        found = self.run_checks()
        self.assertEqual([one for one, (ok, _) in found.items() if not ok], [name])
        self.assertIn(words, found[name][1])

    def assert_passed(self, name, words):
        found = self.run_checks()
        self.assertTrue(all(ok for ok, _ in found.values()), found)
        self.assertIn(words, found[name][1])

    def test_all_checks_of_doctor_pass(self):
        self.assertEqual([*self.run_checks()], NAMES)
        self.assert_passed("database", "PostgreSQL ")

    def test_doctor_fails_for_an_old_database(self):
        with mock.patch.object(doctor, "POSTGRESQL_MIN", 10**6):
            self.assertEqual([*self.run_checks()], ["database", "egress", "storage", "sandbox"])
            self.assert_failed("database", "too old. Use 15")

    def test_doctor_fails_for_missing_migrations(self):
        with mock.patch.object(doctor, "is_migrated", return_value=False):
            self.assert_failed("migrations", "manage.py migrate")

    def test_doctor_fails_for_a_missing_key(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        new = parse_keys(generate_key())
        with override_settings(ENCRYPTION_KEYS=[*new, *settings.ENCRYPTION_KEYS]):
            self.assert_passed("keys", "Sealed by an older key: 1; run rotate_encryption_key")
        with override_settings(ENCRYPTION_KEYS=new):
            self.assert_failed("keys", ", not in ENCRYPTION_KEYS: 1. Add the key")

    def test_doctor_fails_without_a_worker(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '21 s'"
            )
        self.assert_failed("worker", "manage.py worker")

    def test_doctor_fails_for_a_missing_driver_that_is_in_use(self):
        missing = mock.patch.object(
            CONNECTORS["oracle"], "is_driver_installed", classmethod(lambda cls: False)
        )
        with missing:
            self.assert_passed("drivers", "oracle")
            DataSource.objects.create(workspace=self.workspace, name="Old", type="oracle")
            self.assert_failed("drivers", "in use: oracle.")

    def test_doctor_fails_if_egress_allows_a_metadata_service(self):
        for rules, words in (("127.0.0.0/8", "127.0.0.0/8"), ("::1", "::1/128")):
            with self.subTest(rules), override_settings(EGRESS_ALLOW=parse_rules(rules)):
                self.assert_passed("egress", f"except {words}.")
        with override_settings(EGRESS_ALLOW=parse_rules("169.254.169.254")):
            self.assert_failed("egress", "169.254.169.254/32. Add what")

    def test_doctor_fails_if_the_database_host_cannot_be_resolved(self):
        with mock.patch.object(doctor, "egress_policy", side_effect=HostNotFound):
            self.assert_failed("egress", "DATABASE_URL")

    def test_doctor_fails_for_a_missing_storage_folder(self):
        with override_settings(STORAGE_ROOT=settings.STORAGE_ROOT / "nowhere"):
            self.assert_failed("storage", "nowhere is not a readable folder")
            with override_settings(STORAGE_URL="s3://bucket/prefix"):
                self.assert_passed("storage", "object store")

    def test_doctor_says_what_the_kernel_does_not_restrict(self):
        for version, words in (
            (0, "as to files (Landlock, Linux 5.13), TCP ports (Linux 6.7), signals"),
            (3, "as to TCP ports (Linux 6.7), signals and abstract sockets (Linux 6.12)."),
            (5, "as to signals and abstract sockets (Linux 6.12)."),
        ):
            with (
                self.subTest(version),
                mock.patch.object(landlock, "version", return_value=version),
            ):
                self.assert_failed("sandbox", words)
        with mock.patch.object(lockdown, "is_supported", lambda: False):
            self.assert_failed("sandbox", "as to system calls (install libseccomp2).")


class DatabaseDownTests(SimpleTestCase):
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

    def test_doctor_fails_if_the_database_is_down(self):
        first = self.manage("doctor").stdout.splitlines()[0]
        self.assertRegex(first, r"^fail +database +Cannot be reached\. Start it")

    def test_commands_name_an_unreachable_database_without_a_traceback(self):
        for command in ("migrate", "refresh_schemas", "demo"):
            with self.subTest(command):
                error = self.manage(command).stderr
                self.assertTrue(error.startswith("The database cannot be used: "), error)
                self.assertIn("manage.py doctor", error)
