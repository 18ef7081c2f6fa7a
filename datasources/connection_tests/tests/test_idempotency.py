"""Tests of Idempotency-Key with connection tests: one key never starts a second test."""

import contextlib
from contextlib import contextmanager
from unittest import mock

import time_machine
from django.utils import timezone

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import WorkerTestCase
from datasources.connection_tests.verification import Verification
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS
from datasources.connections.outcome import no_outcome
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase

HEADERS = {"Idempotency-Key": "k"}


@contextmanager
def killed(wait):
    """Replace `Verification.wait` by a function that ends the process, as if it were killed."""
    with mock.patch.object(Verification, "wait", wait), contextlib.suppress(SystemExit):
        yield
        raise AssertionError("The request was not killed.")


class KeyMixin:
    def send_with_key(self, body=None, method="patch", path=None, user=None):
        target = path or f"{self.path}?verify=true"
        return self.call(method, target, body, user or self.editor, headers=HEADERS)

    def count_tests(self):
        return ConnectionTest.objects.count()


class LiveTests(KeyMixin, WorkerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())

    def setUp(self):
        super().setUp()
        destination = {"host": "127.0.0.1", "port": self.server.port, "database_name": DATABASE}
        self.data_source.apply_changes(destination, user=self.owner)
        credentials = {"username": USERNAME, "password": PASSWORD}
        self.data_source.set_credentials(credentials, user=self.owner)

    def test_repeated_update_is_verified_and_stored_once(self):
        first = self.send_with_key({"connection_pool_size": 7})
        self.assertEqual(first.status_code, 200, first.content)
        DataSource.objects.get(pk=self.data_source.pk).apply_changes(
            {"connection_pool_size": 8}, user=self.admin
        )
        again = self.send_with_key({"connection_pool_size": 7})
        self.assertEqual((again.status_code, again.content), (200, first.content))
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(self.count_tests(), 1)
        self.assertEqual(self.stored()["connection_pool_size"], 8)

    def test_retry_stores_what_a_killed_process_has_verified(self):
        with self.killed_before_storing():
            self.send_with_key({"connection_pool_size": 7})
        self.assertEqual(self.stored()["connection_pool_size"], 5)
        response = self.send_with_key({"connection_pool_size": 7})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.stored()["connection_pool_size"], 7)
        self.assertEqual(self.count_tests(), 1)

    def test_retry_verifies_again_if_the_data_source_changed_since(self):
        with self.killed_before_storing():
            self.send_with_key({"connection_pool_size": 7})
        DataSource.objects.get(pk=self.data_source.pk).apply_changes(
            {"query_timeout": 9}, user=self.admin
        )
        response = self.send_with_key({"connection_pool_size": 7})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.count_tests(), 2)

    def killed_before_storing(self):
        """Kill the process when the test has finished, before anything is stored."""

        def wait_and_die(verification):
            wait(verification)
            raise SystemExit

        wait = Verification.wait
        return killed(wait_and_die)

    def test_retry_of_a_failed_verification_is_not_tested_again(self):
        responses = [self.send_with_key({"database_name": "nowhere"}) for _ in range(2)]
        names = ("code", "stages", "test_id")
        errors = [
            self.assert_error(response, 422, "CONNECTION_FAILED", *names) for response in responses
        ]
        self.assertEqual(errors[0]["details"], errors[1]["details"])
        self.assertEqual(self.count_tests(), 1)
        corrected = self.send_with_key({"connection_pool_size": 7})
        self.assertEqual(corrected.status_code, 200, corrected.content)

    def test_repeated_test_request_starts_one_test_and_replays_its_result(self):
        draft = {"based_on": self.data_source.pk}
        for path, body in ((f"{self.path}/test", None), ("/data-sources/test", draft)):
            with self.subTest(path=path):
                before = self.count_tests()
                sent = {"body": body, "method": "post", "path": f"{path}?wait=30"}
                user = self.admin if body else self.editor
                first, again = (self.send_with_key(**sent, user=user) for _ in range(2))
                self.assertEqual((first.status_code, again.status_code), (200, 200))
                self.assertTrue(first.json()["data"]["ok"])
                self.assertEqual(again.content, first.content)
                self.assertEqual(again["Idempotency-Replayed"], "true")
                self.assertNotIn("Idempotency-Replayed", first)
                self.assertEqual(self.count_tests(), before + 1)


class WithoutWorkerTests(KeyMixin, DataSourceTestCase):
    """Cases that need no worker."""

    def test_retry_during_a_verification_is_409(self):
        test = self.leave_verification()
        response = self.send_with_key({"port": 5433})
        self.assert_error(response, 409, "IDEMPOTENCY_KEY_IN_USE")
        self.assertEqual(self.count_tests(), 1)
        test.finish(no_outcome("OK"))
        response = self.send_with_key({"port": 5433})
        self.assertEqual((response.status_code, self.count_tests()), (200, 1))

    def test_retry_takes_over_a_verification_that_no_request_waits_for(self):
        test = self.leave_verification()
        moment = timezone.now().timestamp() + WAIT_MAX_SECONDS + 1

        def end(test, seconds):
            test.finish(no_outcome("OK"))

        with (
            time_machine.travel(moment),
            mock.patch("datasources.connection_tests.verification.wait_for", end),
        ):
            response = self.send_with_key({"port": 5433})
        self.assertEqual((response.status_code, response["ETag"]), (200, '"2"'))
        self.assertEqual(ConnectionTest.objects.get().pk, test.pk)

    def leave_verification(self):
        """Return the test of a request whose process was killed while it waited."""

        def die(verification):
            raise SystemExit

        with killed(die):
            self.send_with_key({"port": 5433})
        return ConnectionTest.objects.get()

    def test_repeated_test_request_replays_the_pending_answer(self):
        sent = {"method": "post", "path": f"{self.path}/test"}
        first, again = self.send_with_key(**sent), self.send_with_key(**sent)
        self.assertEqual((again.status_code, again.content), (202, first.content))
        self.assertEqual(again["Location"], first["Location"])
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(self.count_tests(), 1)

    def test_repeated_test_request_is_404_once_the_test_is_deleted(self):
        sent = {"method": "post", "path": f"{self.path}/test?wait=1"}
        self.assertEqual(self.send_with_key(**sent).status_code, 202)
        ConnectionTest.objects.all().delete()
        self.assert_error(self.send_with_key(**sent), 404, "NOT_FOUND")
