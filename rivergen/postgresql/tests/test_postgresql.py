"""Database connections: that are used again, and that cannot be had."""

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

from rivergen.postgresql.base import REACH, DatabaseWrapper
from rivergen.postgresql.circuit_breaker import Reach

BREAKER = "rivergen.postgresql.circuit_breaker"


class ReusedConnectionTests(TransactionTestCase):
    def setUp(self) -> None:
        self.other = connection.copy()
        self.other.connect()
        self.addCleanup(self.other.close)

    def test_asks_nothing_of_one_that_lives(self):
        with mock.patch.object(base.DatabaseWrapper, "is_usable") as ask:
            self.assertTrue(self.other.is_usable())
        ask.assert_not_called()

    def test_finds_one_that_the_server_has_ended(self):
        with connection.cursor() as cursor:
            pid = self.other.connection.info.backend_pid
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        select.select([self.other.connection.fileno()], [], [])
        self.assertFalse(self.other.is_usable())

    def test_keeps_one_that_was_told_something(self):
        with self.other.cursor() as cursor:
            cursor.execute("LISTEN told")
        with connection.cursor() as cursor:
            cursor.execute("NOTIFY told")
        select.select([self.other.connection.fileno()], [], [])
        self.assertTrue(self.other.is_usable())

    def test_finds_one_that_was_closed_here(self):
        self.other.connection.close()
        self.assertFalse(self.other.is_usable())


class LostConnectionTests(TransactionTestCase):
    def test_a_transaction_that_lost_its_connection_makes_no_other(self) -> None:
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


class ReachTests(SimpleTestCase):
    def setUp(self) -> None:
        self.reach = Reach()
        self.enterContext(mock.patch.dict(REACH, away=self.reach))
        settings = {**connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
        self.away = DatabaseWrapper(settings, "away")

    def assert_refused(self) -> None:
        """Check that it is tried to connect."""
        with self.assertRaisesMessage(OperationalError, "refused"):
            self.away.connect()

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Have another thread try to connect while the block lasts; it gets through."""
        has_begun, may_end = Event(), Event()

        def attempt() -> None:
            with self.reach.attempt():
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

    def test_each_thread_tries_by_itself_at_first(self) -> None:
        with self.trying():
            self.assert_refused()

    @mock.patch.multiple(
        "rivergen.postgresql.circuit_breaker", PATIENCE_SECONDS=0, INTERVAL_SECONDS=60
    )
    def test_one_thread_tries_for_all_once_the_server_is_out_of_reach(self) -> None:
        self.assert_refused()
        with self.trying(), self.assertRaisesMessage(OperationalError, "not been heard of"):
            self.away.connect()

    @mock.patch.multiple(BREAKER, INTERVAL_SECONDS=0)
    def test_one_more_tries_after_a_while(self) -> None:
        self.assert_refused()
        with self.trying():
            self.assert_refused()

    @mock.patch.multiple(
        "rivergen.postgresql.circuit_breaker", PATIENCE_SECONDS=60, INTERVAL_SECONDS=60
    )
    def test_all_that_wait_may_try_once_one_has_got_through(self) -> None:
        self.assert_refused()
        together = Barrier(3, timeout=60)

        def attempt() -> None:
            with self.reach.attempt():
                together.wait()

        with ThreadPoolExecutor(3) as pool, self.trying():
            waiting = [pool.submit(attempt) for _ in range(3)]
        for one in waiting:
            one.result()
