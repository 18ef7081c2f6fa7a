"""Database connections: that are used again, and that cannot be had."""

import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from unittest import mock

from django.db import connection
from django.db.backends.postgresql import base
from django.test import SimpleTestCase, TransactionTestCase
from psycopg import OperationalError

from rivergen.postgresql.base import DatabaseWrapper
from rivergen.postgresql.reach import reach


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


class ReachTests(SimpleTestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch.dict(reach, clear=True))
        self.enterContext(mock.patch("rivergen.postgresql.reach.PATIENCE_SECONDS", 0))
        settings = {**connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
        self.away = DatabaseWrapper(settings, "away")

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Have another thread try to connect while the block lasts."""
        has_begun, may_end = Event(), Event()

        def attempt() -> None:
            with reach["away"].attempt():
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

    def test_one_thread_tries_for_all_once_the_server_was_out_of_reach(self) -> None:
        with self.assertRaisesMessage(OperationalError, "refused"):
            self.away.connect()
        with self.trying(), self.assertRaisesMessage(OperationalError, "not been heard of"):
            self.away.connect()

    def test_each_thread_tries_by_itself_before(self) -> None:
        with self.trying(), self.assertRaisesMessage(OperationalError, "refused"):
            self.away.connect()

    def test_each_thread_tries_by_itself_once_one_has_got_through(self) -> None:
        with self.assertRaises(OperationalError):
            self.away.connect()
        with self.trying():
            pass
        with self.trying(), self.assertRaisesMessage(OperationalError, "refused"):
            self.away.connect()
