"""Database connections that are used again."""

import select
from unittest import mock

from django.db import connection
from django.db.backends.postgresql import base
from django.test import TransactionTestCase


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
