"""`manage.py rotate_encryption_key`: all secrets are sealed with the first key, none is lost."""

import io
import threading
from io import StringIO
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TransactionTestCase, override_settings

from datasources.credentials.cipher import key_id
from datasources.credentials.exceptions import CredentialsUnconfirmed
from datasources.credentials.models import Credential
from datasources.credentials.testing import PASSWORD, SSH_PASSWORD, CredentialTestCase
from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin

OLD_KEY, NEW_KEY, LOST_KEY = b"o" * 32, b"n" * 32, b"l" * 32
# The lock timeout lets a test fail instead of waiting for ever.
TIMEOUT_SECONDS = 5


def rotate(*arguments: str) -> str:
    """Run the command. Return its output."""
    output = StringIO()
    call_command("rotate_encryption_key", *arguments, stdout=output)
    return output.getvalue()


class Terminal(io.StringIO):
    """An output stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@override_settings(ENCRYPTION_KEYS=[NEW_KEY, OLD_KEY])
class RotationTests(CredentialTestCase):
    others: list[DataSource]

    @classmethod
    def setUpTestData(cls) -> None:
        with override_settings(ENCRYPTION_KEYS=[OLD_KEY]):
            super().setUpTestData()
            cls.others = DataSource.objects.bulk_create(
                DataSource(
                    workspace=cls.workspace,
                    name=f"s{number}",
                    type="postgresql",
                    connection_string=f"postgresql://me:secret-{number}@db/x",
                )
                for number in range(5)
            )

    def lose_a_key(self) -> None:
        """Seal one secret with a key that is not in the ring, and damage the row of another."""
        with override_settings(ENCRYPTION_KEYS=[LOST_KEY]):
            self.others[0].set_credentials({"password": "lost"}, user=None)
        Credential.objects.filter(data_source=self.others[1]).update(ciphertext=b"damaged")

    def with_only(self, key: bytes) -> None:
        """Use only this key for the rest of the test."""
        self.enterContext(override_settings(ENCRYPTION_KEYS=[key]))

    def test_rotation_seals_all_secrets_with_the_first_key(self):
        output = rotate("--batch-size", "2")
        self.assertEqual(
            output,
            f"Secrets sealed by {key_id(NEW_KEY)}: 7.\n"
            f"All secrets are sealed by {key_id(NEW_KEY)}.\n",
        )
        self.with_only(NEW_KEY)
        secrets = {"password": PASSWORD, "ssh_password": SSH_PASSWORD}
        self.assertEqual(self.fetch().credentials.open(), secrets)
        for number, data_source in enumerate(self.others):
            self.assertEqual(data_source.credentials.open(), {"password": f"secret-{number}"})

    def test_rotation_changes_only_key_and_ciphertext(self):
        before = [*Credential.objects.values()], self.stored(), self.data_source.revisions.count()
        rotate()
        after = [*Credential.objects.values()], self.stored(), self.data_source.revisions.count()
        for rows in (before[0], after[0]):
            for row in rows:
                del row["key_id"], row["ciphertext"]
        self.assertEqual(after, before)

    def test_second_rotation_changes_nothing(self):
        rotate()
        before = [*Credential.objects.values()]
        self.assertIn(f"{key_id(NEW_KEY)}: 0.", rotate())
        self.assertEqual([*Credential.objects.values()], before)

    def test_rotation_continues_after_it_was_killed(self):
        batches = Credential.objects.rotate(batch_size=2)
        self.assertEqual(next(batches), 2)
        batches.close()
        self.assertEqual(Credential.objects.of_other_keys().count(), 5)
        self.assertIn(f"{key_id(NEW_KEY)}: 5.", rotate("--batch-size", "2"))

    def test_rotation_confirms_no_secret(self):
        self.fetch().apply_changes({"host": "other.example.com"}, user=self.editor)
        rotate()
        self.with_only(NEW_KEY)
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()
        self.fetch().confirm_credentials(user=self.admin)
        self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def test_rotation_reports_secrets_it_cannot_open(self):
        self.lose_a_key()
        with self.assertRaises(CommandError) as caught:
            rotate("--batch-size", "1")
        message = str(caught.exception)
        self.assertIn(f"Secrets not sealed by {key_id(NEW_KEY)}: 2.", message)
        self.assertIn(f"1 by {key_id(LOST_KEY)}, which is not in ENCRYPTION_KEYS", message)
        self.assertIn(f"1 by {key_id(OLD_KEY)}\n", message)
        self.assertIn(f"Data sources: {self.others[0].pk}, {self.others[1].pk}.", message)
        self.with_only(NEW_KEY)
        self.assertEqual(self.others[2].credentials.open(), {"password": "secret-2"})

    def test_rotation_check_counts_and_changes_nothing(self):
        before = [*Credential.objects.values()]
        with self.assertRaises(CommandError) as caught:
            rotate("--check")
        self.assertIn(f"7 by {key_id(OLD_KEY)}\n", str(caught.exception))
        self.assertEqual(caught.exception.returncode, 1)
        self.assertEqual([*Credential.objects.values()], before)
        rotate()
        self.assertIn("All secrets are sealed by", rotate("--check"))

    def test_rotation_dry_run_changes_nothing(self):
        self.lose_a_key()
        before = [*Credential.objects.values()]
        output = rotate("--dry-run")
        self.assertIn(f"to seal by {key_id(NEW_KEY)}: 5.", output)
        self.assertIn("Secrets that no key opens, which would stay unchanged: 2.", output)
        self.assertEqual([*Credential.objects.values()], before)

    def test_rotation_refuses_invalid_arguments(self):
        for arguments in (
            ("--batch-size", "0"),
            ("--batch-size", "-1"),
            ("--batch-size", "1001"),
            ("--batch-size", "x"),
            ("--check", "--dry-run"),
        ):
            with self.subTest(arguments=arguments), self.assertRaises(CommandError):
                rotate(*arguments)
        self.assertEqual(Credential.objects.of_other_keys().count(), 7)

    def test_rotation_shows_progress_on_a_terminal_only(self):
        for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
            with (
                self.subTest(shown=shown),
                mock.patch("sys.stderr", stream),
                transaction.atomic(),
            ):
                rotate()
                self.assertEqual("7/7" in stream.getvalue(), shown)
                transaction.set_rollback(True)

    def test_destination_change_does_not_touch_the_ciphertext(self):
        with self.statements() as captured:
            self.fetch().apply_changes({"host": "other.example.com"}, user=self.editor)
        updates = [
            query["sql"]
            for query in captured.captured_queries
            if query["sql"].startswith('UPDATE "datasources_credential"')
        ]
        self.assertEqual(len(updates), 2)
        for update in updates:
            self.assertIn('SET "is_confirmed" = false WHERE', update)

    def test_rotation_batch_runs_two_statements(self):
        with self.statements() as captured:
            next(Credential.objects.rotate(batch_size=5))
        statements = [q["sql"] for q in captured.captured_queries if "SAVEPOINT" not in q["sql"]]
        self.assertEqual(len(statements), 2, statements)


@override_settings(ENCRYPTION_KEYS=[NEW_KEY, OLD_KEY])
class RotationLockTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        with override_settings(ENCRYPTION_KEYS=[OLD_KEY]):
            secrets = {"password": PASSWORD, "ssh_password": SSH_PASSWORD}
            self.data_source.set_credentials(secrets, user=self.owner)

        # Another transaction locks the password until `release` is called.
        self.is_done = threading.Event()
        is_held = threading.Event()
        self.holder = threading.Thread(target=self.hold, args=[is_held])
        self.holder.start()
        self.addCleanup(self.release)
        self.assertTrue(is_held.wait(TIMEOUT_SECONDS))
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{TIMEOUT_SECONDS}s'")
        self.addCleanup(connection.close)

    def hold(self, is_held: threading.Event) -> None:
        with transaction.atomic():
            Credential.objects.select_for_update().get(field="password")
            is_held.set()
            self.is_done.wait(10 * TIMEOUT_SECONDS)
        connection.close()

    def release(self) -> None:
        self.is_done.set()
        self.holder.join()

    def test_rotation_skips_a_locked_secret(self):
        with self.assertRaises(CommandError) as caught:
            rotate()
        self.assertIn(f"Secrets not sealed by {key_id(NEW_KEY)}: 1.", str(caught.exception))
        self.assertEqual(Credential.objects.of_other_keys().get().field, "password")
        self.release()
        self.assertIn(f"{key_id(NEW_KEY)}: 1.", rotate())

    def test_rotation_retries_a_secret_that_was_locked(self):
        batches = Credential.objects.rotate(batch_size=1)
        self.assertEqual(next(batches), 1)
        self.release()
        self.assertEqual(sum(batches), 1)
        self.assertFalse(Credential.objects.of_other_keys().exists())
