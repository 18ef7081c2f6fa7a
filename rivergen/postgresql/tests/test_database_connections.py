"""Database connections: reuse, loss, and the circuit breaker."""

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from unittest import mock

from django.db import DatabaseError, connection, transaction
from django.db.backends.postgresql import base
from django.test import SimpleTestCase, TransactionTestCase
from psycopg import OperationalError

from rivergen.postgresql.base import CIRCUIT_BREAKERS, DatabaseWrapper
from rivergen.postgresql.circuit_breaker import CircuitBreaker

BREAKER = "rivergen.postgresql.circuit_breaker"


class ReusedConnectionTests(TransactionTestCase):
    def setUp(self) -> None:
        self.other = connection.copy()
        self.other.connect()
        self.addCleanup(self.other.close)

    def test_live_connection_is_usable_without_a_query(self):
        with mock.patch.object(base.DatabaseWrapper, "is_usable") as ask:
            self.assertTrue(self.other.is_usable())
        ask.assert_not_called()

    def test_connection_ended_by_the_server_is_not_usable(self):
        with connection.cursor() as cursor:
            pid = self.other.connection.info.backend_pid
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        select.select([self.other.connection.fileno()], [], [])
        self.assertFalse(self.other.is_usable())

    def test_connection_with_a_pending_notification_is_usable(self):
        with self.other.cursor() as cursor:
            cursor.execute("LISTEN told")
        with connection.cursor() as cursor:
            cursor.execute("NOTIFY told")
        select.select([self.other.connection.fileno()], [], [])
        self.assertTrue(self.other.is_usable())

    def test_connection_closed_by_the_client_is_not_usable(self):
        self.other.connection.close()
        self.assertFalse(self.other.is_usable())


class LostConnectionTests(TransactionTestCase):
    def test_transaction_that_lost_its_connection_does_not_reconnect(self) -> None:
        connection.ensure_connection()
        with (
            mock.patch.object(connection, "get_new_connection") as connect,
            self.assertRaises(DatabaseError),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        connect.assert_not_called()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        self.assertTrue(connection.get_autocommit())


class CircuitBreakerTests(SimpleTestCase):
    def setUp(self) -> None:
        self.breaker = CircuitBreaker()
        self.enterContext(mock.patch.dict(CIRCUIT_BREAKERS, away=self.breaker))
        settings = {**connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
        self.away = DatabaseWrapper(settings, "away")

    def assert_tries(self) -> None:
        """Check that this thread tries to connect, and is refused by the server."""
        with self.assertRaisesMessage(OperationalError, "refused"):
            self.away.connect()

    @contextmanager
    def other_attempt(self) -> Iterator[None]:
        """Keep an attempt of another thread in flight during the block; it succeeds at the end."""
        has_begun, may_end = Event(), Event()

        def attempt() -> None:
            with self.breaker.guard():
                has_begun.set()
                may_end.wait()

        with ThreadPoolExecutor(1) as pool:
            attempted = pool.submit(attempt)
            has_begun.wait()
            try:
                yield
            finally:
                may_end.set()
                attempted.result()

    def test_threads_connect_in_parallel_before_the_first_failure(self) -> None:
        with self.other_attempt():
            self.assert_tries()

    @mock.patch.multiple(BREAKER, PATIENCE_SECONDS=0, INTERVAL_SECONDS=60)
    def test_after_a_failure_only_one_thread_connects(self) -> None:
        self.assert_tries()
        with (
            self.other_attempt(),
            self.assertRaisesMessage(OperationalError, "other threads are retrying"),
        ):
            self.away.connect()

    @mock.patch.multiple(BREAKER, INTERVAL_SECONDS=0)
    def test_after_the_interval_another_thread_connects(self) -> None:
        self.assert_tries()
        with self.other_attempt():
            self.assert_tries()

    @mock.patch.multiple(BREAKER, PATIENCE_SECONDS=60, INTERVAL_SECONDS=60)
    def test_after_a_success_all_waiting_threads_connect(self) -> None:
        self.assert_tries()
        together = Barrier(3, timeout=60)

        def attempt() -> None:
            with self.breaker.guard():
                together.wait()

        with ThreadPoolExecutor(3) as pool, self.other_attempt():
            waiting = [pool.submit(attempt) for _ in range(3)]
        for attempted in waiting:
            attempted.result()
