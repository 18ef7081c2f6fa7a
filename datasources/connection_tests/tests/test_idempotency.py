"""Idempotency-Key and connection tests: the same key never starts a second test."""

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
    """Run a request in whose process nothing comes after this way to wait for its test."""
    with mock.patch.object(Verification, "wait", wait), contextlib.suppress(SystemExit):
        yield
        raise AssertionError("It went on.")


class KeyedMixin:
    def keyed(self, body=None, method="patch", path=None, user=None):
        target = path or f"{self.path}?verify=true"
        return self.call(method, target, body, user or self.editor, headers=HEADERS)

    def number_of_tests(self):
        return ConnectionTest.objects.count()


class LiveTests(KeyedMixin, WorkerTestCase):
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

    def test_an_update_is_verified_and_stored_once(self):
        first = self.keyed({"connection_pool_size": 7})
        self.assertEqual(first.status_code, 200, first.content)
        DataSource.objects.get(pk=self.data_source.pk).apply_changes(
            {"connection_pool_size": 8}, user=self.admin
        )
        again = self.keyed({"connection_pool_size": 7})
        self.assertEqual((again.status_code, again.content), (200, first.content))
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(self.number_of_tests(), 1)
        self.assertEqual(self.stored()["connection_pool_size"], 8)

    def test_what_a_killed_process_has_verified_is_stored_by_the_next(self):
        with self.killed_while_waiting():
            self.keyed({"connection_pool_size": 7})
        self.assertEqual(self.stored()["connection_pool_size"], 5)
        response = self.keyed({"connection_pool_size": 7})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.stored()["connection_pool_size"], 7)
        self.assertEqual(self.number_of_tests(), 1)

    def test_what_was_not_verified_is_not_stored(self):
        with self.killed_while_waiting():
            self.keyed({"connection_pool_size": 7})
        DataSource.objects.get(pk=self.data_source.pk).apply_changes(
            {"query_timeout": 9}, user=self.admin
        )
        response = self.keyed({"connection_pool_size": 7})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.number_of_tests(), 2)

    def killed_while_waiting(self):
        """Let the process end when the test has, before anything is stored."""

        def wait_and_die(verification):
            wait(verification)
            raise SystemExit

        wait = Verification.wait
        return killed(wait_and_die)

    def test_settings_that_do_not_connect_are_tried_once(self):
        answers = [self.keyed({"database_name": "nowhere"}) for _ in range(2)]
        names = ("code", "stages", "test_id")
        errors = [self.assert_error(one, 422, "CONNECTION_FAILED", *names) for one in answers]
        self.assertEqual(errors[0]["details"], errors[1]["details"])
        self.assertEqual(self.number_of_tests(), 1)
        corrected = self.keyed({"connection_pool_size": 7})
        self.assertEqual(corrected.status_code, 200, corrected.content)

    def test_a_test_is_started_once_and_its_result_given_each_time(self):
        draft = {"based_on": self.data_source.pk}
        for path, body in ((f"{self.path}/test", None), ("/data-sources/test", draft)):
            with self.subTest(path=path):
                before = self.number_of_tests()
                sent = {"body": body, "method": "post", "path": f"{path}?wait=30"}
                user = self.admin if body else self.editor
                first, again = (self.keyed(**sent, user=user) for _ in range(2))
                self.assertEqual((first.status_code, again.status_code), (200, 200))
                self.assertTrue(first.json()["data"]["ok"])
                self.assertEqual(again.content, first.content)
                self.assertEqual(again["Idempotency-Replayed"], "true")
                self.assertNotIn("Idempotency-Replayed", first)
                self.assertEqual(self.number_of_tests(), before + 1)


class KeyedTestTests(KeyedMixin, DataSourceTestCase):
    """What needs no worker."""

    def test_a_verification_that_is_under_way_is_not_started_again(self):
        test = self.leave_verification()
        response = self.keyed({"port": 5433})
        self.assert_error(response, 409, "IDEMPOTENCY_KEY_IN_USE")
        self.assertEqual(self.number_of_tests(), 1)
        test.finish(no_outcome("OK"))
        response = self.keyed({"port": 5433})
        self.assertEqual((response.status_code, self.number_of_tests()), (200, 1))

    def test_one_that_nobody_waits_for_any_more_is_taken_over(self):
        test = self.leave_verification()
        moment = timezone.now().timestamp() + WAIT_MAX_SECONDS + 1

        def end(test, seconds):
            test.finish(no_outcome("OK"))

        with (
            time_machine.travel(moment),
            mock.patch("datasources.connection_tests.verification.wait_for", end),
        ):
            response = self.keyed({"port": 5433})
        self.assertEqual((response.status_code, response["ETag"]), (200, '"2"'))
        self.assertEqual(ConnectionTest.objects.get().pk, test.pk)

    def leave_verification(self):
        """Give the test of a request whose process was killed while it waited."""

        def die(verification):
            raise SystemExit

        with killed(die):
            self.keyed({"port": 5433})
        return ConnectionTest.objects.get()

    def test_a_test_without_a_result_is_answered_as_before(self):
        sent = {"method": "post", "path": f"{self.path}/test"}
        first, again = self.keyed(**sent), self.keyed(**sent)
        self.assertEqual((again.status_code, again.content), (202, first.content))
        self.assertEqual(again["Location"], first["Location"])
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(self.number_of_tests(), 1)

    def test_a_test_that_is_gone_is_not_found(self):
        sent = {"method": "post", "path": f"{self.path}/test?wait=1"}
        self.assertEqual(self.keyed(**sent).status_code, 202)
        ConnectionTest.objects.all().delete()
        self.assert_error(self.keyed(**sent), 404, "NOT_FOUND")
