"""`manage.py doctor`: each check, passed and failed."""

import os
import subprocess
import sys
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase, override_settings
from rest_framework.settings import api_settings

from datasources.connections.connectors import CONNECTORS
from datasources.connections.sandbox import landlock, lockdown
from datasources.management.checks import State, database, egress
from datasources.management.checks.protection import check_protection
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.egress.exceptions import HostNotFound
from rivergen.egress.rules import parse_rules
from rivergen.encryption_keys import generate_key, parse_keys
from rivergen.testing.services import free_port

NAMES = [
    *("database", "migrations", "keys", "worker", "drivers", "isolation", "protection"),
    *("secrets", "egress", "storage", "sandbox", "proxy", "web"),
]
WITHOUT_DATABASE = ["secrets", "egress", "storage", "sandbox", "proxy", "web"]


class DoctorTests(DataSourceTestCase):
    def setUp(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(
            override_settings(
                STORAGE_ROOT=folder,
                EGRESS_ALLOW=[],
                EGRESS_DEFAULT="public",
                ALLOWED_HOSTS=["localhost"],  # the test runner adds others
            )
        )
        self.data_source.apply_changes(
            {"connection_string": "postgresql://db.example.com/sales?sslmode=verify-full"},
            user=self.owner,
        )
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_workers")
            cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")

    def run_checks(self):
        """Run the command, and return the state and the text of each check."""
        output, error = StringIO(), ""
        try:
            call_command("doctor", stdout=output)
        except CommandError as raised:
            error = str(raised)
        found = {}
        for line in output.getvalue().splitlines():
            sign, name, text = line.split(maxsplit=2)
            found[name] = (State(sign), text)
        failed = sum(state == State.FAILED for state, _ in found.values())
        self.assertEqual(error, f"Checks failed: {failed} of {len(found)}." if failed else "")
        return found

    def assert_found(self, name, state, words):
        """Check that all other checks pass, and the state and the words of this one."""
        found = self.run_checks()
        expected = dict.fromkeys(found, State.OK) | {name: state}
        self.assertEqual({name: state for name, (state, _) in found.items()}, expected)
        self.assertIn(words, found[name][1])

    def assert_failed(self, name, words):
        self.assert_found(name, State.FAILED, words)

    def assert_warned(self, name, words):
        """Check that `doctor` warns, which is no failure: `run_checks` compares the exit status."""
        self.assert_found(name, State.WARNING, words)

    def assert_passed(self, name, words):
        self.assert_found(name, State.OK, words)

    def test_all_checks_of_doctor_pass(self):
        self.assertEqual([*self.run_checks()], NAMES)
        self.assert_passed("database", "PostgreSQL ")

    def test_doctor_fails_for_secret_files_that_others_can_read(self):
        folder = Path(self.enterContext(TemporaryDirectory()))
        path = folder / "secret_key"
        path.touch(mode=0o600)
        with mock.patch.dict(os.environ, SECRET_KEY_FILE=str(path)):
            folder.chmod(0o755)
            for mode, is_ok in ((0o600, True), (0o440, True), (0o644, False), (0o602, False)):
                path.chmod(mode)
                if is_ok:
                    self.assert_passed("secrets", "Private files: 1.")
                else:
                    self.assert_failed("secrets", f"{path}. Run: chmod o= {path}")
            folder.chmod(0o700)
            self.assert_passed("secrets", "Private files: 1.")
        self.assert_passed("secrets", "They are variables, not files.")

    def test_doctor_fails_for_an_old_database(self):
        with mock.patch.object(database, "POSTGRESQL_MIN", 10**6):
            self.assertEqual([*self.run_checks()], ["database", *WITHOUT_DATABASE])
            self.assert_failed("database", "too old. Use 15")

    def test_doctor_fails_for_missing_migrations(self):
        with mock.patch.object(database, "is_migrated", return_value=False):
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
            CONNECTORS["snowflake"], "is_driver_installed", classmethod(lambda cls: False)
        )
        with missing:
            self.assert_passed("drivers", "snowflake")
            DataSource.objects.create(workspace=self.workspace, name="Old", type="snowflake")
            self.assert_failed("drivers", "in use: snowflake.")

    def test_doctor_fails_if_egress_allows_a_metadata_service(self):
        for rules, words in (("127.0.0.0/8", "127.0.0.0/8"), ("::1", "::1/128")):
            with self.subTest(rules), override_settings(EGRESS_ALLOW=parse_rules(rules)):
                self.assert_passed("egress", f"except {words}.")
        with override_settings(EGRESS_ALLOW=parse_rules("169.254.169.254")):
            self.assert_failed("egress", "169.254.169.254/32. Add what")

    def test_doctor_fails_if_the_database_host_cannot_be_resolved(self):
        with mock.patch.object(egress, "egress_policy", side_effect=HostNotFound):
            self.assert_failed("egress", "DATABASE_URL")

    def test_doctor_fails_for_a_missing_storage_folder(self):
        with override_settings(STORAGE_ROOT=settings.STORAGE_ROOT / "nowhere"):
            self.assert_failed("storage", "nowhere is not a readable folder")
            with override_settings(STORAGE_URL="s3://bucket/prefix"):
                self.assert_passed("storage", "object store")

    def test_doctor_warns_of_an_object_store_without_tls(self):
        store = mock.patch.dict(os.environ, AWS_ENDPOINT_URL="http://store.example.com")
        with override_settings(STORAGE_URL="s3://bucket/prefix"), store:
            self.assert_warned("storage", "without TLS")

    def test_doctor_warns_of_reachable_private_networks(self):
        with override_settings(EGRESS_DEFAULT="private"):
            networks = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fd00::/8."
            self.assert_warned("egress", f"private networks {networks} Set EGRESS_DEFAULT=public")
            denied = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
            with override_settings(EGRESS_DENY=parse_rules(denied)):
                self.assert_passed("egress", "are denied.")
        with override_settings(EGRESS_ALLOW=parse_rules("10.0.0.0/8")):
            self.assert_passed("egress", "are denied.")

    def test_doctor_counts_data_sources_that_are_not_protected(self):
        self.assert_passed("protection", "verify their servers")
        ids = {}
        for name, values in {
            "clickhouse": {"host": "a"},
            "oracle": {"host": "a"},
            "csv": {"file_path": "a.csv"},
            "bigquery": {"database_name": "a"},
            "trino": {"host": "a"},
        }.items():
            source = DataSource.objects.create(
                workspace=self.workspace, name=name, type=name, **values
            )
            source.set_credentials(
                {"password": "hunter2"} if name in ("clickhouse", "trino") else {},
                user=self.owner,
            )
            ids[name] = source.pk
        clickhouse, oracle = ids["clickhouse"], ids["oracle"]
        # Not by the command: some of the drivers may be missing.
        name, state, text = check_protection()
        self.assertEqual((name, state), ("protection", State.WARNING))
        self.assertIn(
            f"that may send their password in clear: 1 (id {clickhouse}); that may have no "
            f"encryption: 2 (id {clickhouse}, {oracle}); that do not verify the server: 2 (id ",
            text,
        )

    def test_doctor_reads_no_secret_to_count_data_sources(self):
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        with mock.patch("datasources.credentials.cipher.KeyRing.open", side_effect=AssertionError):
            self.assert_passed("protection", "verify their servers")

    def test_doctor_warns_if_no_proxy_is_named_but_others_reach_the_web(self):
        self.assert_passed("proxy", "none is needed")
        for exposed in (
            {"BIND_ADDRESS": "0.0.0.0"},
            {"BIND_ADDRESS": "[::]"},
            {"FORWARDED_ALLOW_IPS": ["*"]},
            {"FORWARDED_ALLOW_IPS": ["127.0.0.1", "10.0.0.1"]},
            {"ALLOWED_HOSTS": ["rivergen.example.com", "localhost"]},
        ):
            with self.subTest(exposed), override_settings(**exposed):
                self.assert_warned("proxy", "lock out all. Set NUM_PROXIES")
                with mock.patch.object(api_settings, "NUM_PROXIES", 1):
                    self.assert_passed("proxy", "client: 1.")

    def test_doctor_warns_of_debug_any_host_open_metrics_and_pages_without_tls(self):
        named = mock.patch.object(api_settings, "NUM_PROXIES", 1)
        for fault, words in (
            ({"DEBUG": True}, "DEBUG is on"),
            ({"ALLOWED_HOSTS": ["*"]}, "ALLOWED_HOSTS=*"),
            ({"METRICS_ALLOW": [ip_network("0.0.0.0/0")]}, "Set METRICS_TOKEN"),
            (
                {"CORS_ALLOWED_ORIGINS": ["https://a.example", "http://b.example:8080"]},
                "CORS_ALLOWED_ORIGINS has http://b.example:8080",
            ),
        ):
            with self.subTest(fault), override_settings(**fault), named:
                self.assert_warned("web", words)
        private = ["https://a.example", "http://localhost:3000", "http://[::1]", "app://localhost"]
        with override_settings(CORS_ALLOWED_ORIGINS=private):
            self.assert_passed("web", "pages")
        everyone = {
            "METRICS_ALLOW": [ip_network("::/0")],
            "METRICS_TOKEN": "a-token-of-an-operator",
        }
        with override_settings(**everyone):
            self.assert_passed("web", "/metrics is not open")

    def test_doctor_says_what_the_kernel_does_not_restrict(self):
        for version, words in (
            (0, "as to files (Landlock, Linux 5.13), TCP ports (Linux 6.7), signals"),
            (3, "as to TCP ports (Linux 6.7), signals and abstract sockets (Linux 6.12)."),
            (5, "as to signals and abstract sockets (Linux 6.12)."),
        ):
            supported = mock.patch.object(landlock, "version", return_value=version)
            with self.subTest(version), supported:
                self.assert_found("sandbox", State.WARNING, words)
        with mock.patch.object(lockdown, "is_supported", return_value=False):
            words = "as to system calls (install libseccomp2)."
            self.assert_found("sandbox", State.WARNING, words)


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
