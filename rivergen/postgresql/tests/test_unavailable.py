"""Database failures in the middle of a request are 503 and store nothing."""

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from unittest import mock

from django.db import connection
from django.test import TransactionTestCase

from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client, filled_in
from rivergen.local.run import BASE_DIR
from rivergen.testing.services import url_of

# Run in a web process.
SHOW_LIMITS = """
from rivergen import wsgi
from django.db import connection
with connection.cursor() as cursor:
    for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute(f"SHOW {name}")
        print(*cursor.fetchone())
"""


@contextmanager
def read_only():
    """Make the database read-only, as during a failover or when its disk is full."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    yield


@contextmanager
def session_ended_in_transaction():
    """End the session, by the timeout for idle transactions, once a data source is locked."""
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = 1")

    def wait_until_it_has_ended(*_):
        select.select([connection.connection.fileno()], [], [])

    with mock.patch.object(DataSource, "_check", wait_until_it_has_ended):
        yield


class UnavailableTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self):
        self.make_world()
        self.before = self.stored()
        self.addCleanup(connection.close)  # which also resets its settings

    def assert_nothing_is_stored(self):
        connection.close()
        self.assertEqual(self.stored(), self.before)

    def test_update_is_503_with_retry_after(self):
        for refusal in (read_only, session_ended_in_transaction):
            with self.subTest(refusal.__name__):
                with refusal():
                    response = self.call("patch", self.path, {"description": "new"}, self.editor)
                self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
                self.assertEqual(response["Retry-After"], "2")
                self.assert_nothing_is_stored()

    def test_admin_form_is_503_with_retry_after(self):
        browser = admin_client(self.owner, raise_request_exception=False)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        form = filled_in(browser, page, description="new")
        for refusal in (read_only, session_ended_in_transaction):
            with self.subTest(refusal.__name__):
                with refusal():
                    response = browser.post(page, form)
                self.assertEqual(response.status_code, 503)
                self.assertEqual(response["Retry-After"], "2")
                self.assert_nothing_is_stored()

    def test_web_connections_set_lock_and_idle_transaction_timeouts(self):
        database = url_of(str(connection.settings_dict["NAME"]))
        web = subprocess.run(
            [sys.executable, "-c", SHOW_LIMITS],
            cwd=BASE_DIR,
            env={**os.environ, "DATABASE_URL": database},
            capture_output=True,
            text=True,
        )
        self.assertEqual(web.stdout.split(), ["2s", "20s"], web.stderr)
