"""What is done again after its transaction lost against another one.

`make faults` has real deadlocks; here the database is told to report one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from psycopg.errors import DeadlockDetected, SerializationFailure

from organizations.writing import ATTEMPTS, retried
from tests.api.test_routes import ROUTES, RoutesMixin

DEADLOCK = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"
CHANGES = ("INSERT", "UPDATE", "DELETE", "WITH")


@contextmanager
def losing_once() -> Iterator[list[str]]:
    """Have the first statement that changes something end its transaction; give that statement."""
    lost: list[str] = []

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not lost and sql.startswith(CHANGES):
            lost.append(sql)
            return run(DEADLOCK, None, many, context)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield lost


class RoutesTests(RoutesMixin, TransactionTestCase):
    def test_every_change_is_made_although_it_lost_once(self):
        for (method, path), route in ROUTES.items():
            if method == "get":
                continue
            with self.subTest(method=method, path=path):
                self.make_world()
                route.prepare(self.data_source)
                with losing_once() as lost:
                    target = path.format(**self.ids)
                    response = self.call(method, target, route.body, self.owner)
                self.assertTrue(lost)
                self.assertEqual(response.status_code, route.success, response.content)
            call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True)


def failing(times: int, cause: type[Exception]) -> mock.Mock:
    """Give a function that fails so often."""
    errors = []
    for _ in range(times):
        errors.append(OperationalError())
        errors[-1].__cause__ = cause()
    return mock.Mock(side_effect=[*errors, "done"], __name__="function")


class AttemptsTests(SimpleTestCase):
    def test_begins_anew_after_a_deadlock_and_a_serialization_failure(self):
        for cause in (DeadlockDetected, SerializationFailure):
            function = failing(ATTEMPTS - 1, cause)
            self.assertEqual(retried(function)(1, two=2), "done")
            self.assertEqual(function.mock_calls, [mock.call(1, two=2)] * ATTEMPTS)

    def test_gives_up_after_some(self):
        function = failing(ATTEMPTS, DeadlockDetected)
        with self.assertRaises(OperationalError):
            retried(function)()
        self.assertEqual(function.call_count, ATTEMPTS)

    def test_does_not_repeat_what_may_have_been_stored(self):
        function = failing(1, ConnectionError)
        with self.assertRaises(OperationalError):
            retried(function)()
        self.assertEqual(function.call_count, 1)


class WithinTransactionTests(TestCase):
    def test_leaves_it_to_whoever_began(self):
        function = failing(1, DeadlockDetected)
        with self.assertRaises(OperationalError), transaction.atomic():
            retried(function)()
        self.assertEqual(function.call_count, 1)
