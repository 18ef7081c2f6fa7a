"""Retries of a function whose transaction lost against another."""

from unittest import mock

from django.db import OperationalError, transaction
from django.test import SimpleTestCase, TestCase
from psycopg.errors import DeadlockDetected, SerializationFailure

from organizations.writing import ATTEMPTS, retried


def failing(times: int, cause: type[Exception]) -> mock.Mock:
    """Return a function that raises a number of times before it succeeds."""
    errors = []
    for _ in range(times):
        errors.append(OperationalError())
        errors[-1].__cause__ = cause()
    return mock.Mock(side_effect=[*errors, "done"], __name__="function")


class RetryTests(SimpleTestCase):
    def test_deadlock_and_serialization_failure_are_retried(self):
        for cause in (DeadlockDetected, SerializationFailure):
            function = failing(ATTEMPTS - 1, cause)
            self.assertEqual(retried(function)(1, two=2), "done")
            self.assertEqual(function.mock_calls, [mock.call(1, two=2)] * ATTEMPTS)

    def test_deadlock_is_raised_after_the_last_attempt(self):
        function = failing(ATTEMPTS, DeadlockDetected)
        with self.assertRaises(OperationalError):
            retried(function)()
        self.assertEqual(function.call_count, ATTEMPTS)

    def test_lost_connection_is_not_retried_because_the_change_may_be_stored(self):
        function = failing(1, ConnectionError)
        with self.assertRaises(OperationalError):
            retried(function)()
        self.assertEqual(function.call_count, 1)


class RetryWithinTransactionTests(TestCase):
    def test_deadlock_within_an_outer_transaction_is_not_retried(self):
        function = failing(1, DeadlockDetected)
        with self.assertRaises(OperationalError), transaction.atomic():
            retried(function)()
        self.assertEqual(function.call_count, 1)
