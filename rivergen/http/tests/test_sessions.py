"""Sessions of the admin: what the database knows of them, and when they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client, TransactionTestCase

from datasources.connection_tests.testing import defer_periodic, run_jobs
from datasources.jobs import delete_sessions
from datasources.testing import admin_client
from organizations.testing import PASSWORD, APITestCase

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
COOKIE = settings.SESSION_COOKIE_NAME


class SessionStoreTests(APITestCase):
    def setUp(self) -> None:
        self.enterContext(time_machine.travel(NOW, tick=False))
        self.staff = admin_client(self.owner)

    def status(self, client: Client | None = None, **after: int) -> int:
        """Return the status of the admin's first page, some time after the sign-in."""
        with time_machine.travel(NOW + timedelta(**after), tick=False):
            return (client or self.staff).get("/admin/").status_code

    def use(self, *, until: int) -> None:
        """Open a page every 50 minutes."""
        for minutes in range(50, until, 50):
            self.assertEqual(self.status(minutes=minutes), 200)

    def cookie(self) -> str:
        return str(self.staff.cookies[COOKIE].value)

    def test_session_ends_after_an_hour_without_a_request(self):
        self.assertEqual(self.status(minutes=59), 200)
        self.assertEqual(self.status(minutes=59 + 59), 200)
        self.assertEqual(self.status(minutes=59 + 59 + 61), 302)

    def test_session_ends_eight_hours_after_the_sign_in(self):
        self.use(until=8 * 60)
        self.assertEqual(self.status(minutes=8 * 60 - 1), 200)
        self.assertEqual(self.status(minutes=8 * 60 + 1), 302)

    def test_ended_session_is_refused_by_the_server_whatever_the_cookie_says(self):
        copy = Client()
        copy.cookies[COOKIE] = self.cookie()
        self.assertEqual(self.status(copy), 200)
        self.assertEqual(self.status(copy, minutes=61), 302)

    def test_changed_password_does_not_prolong_the_session(self):
        self.use(until=7 * 60)
        with time_machine.travel(NOW + timedelta(hours=7), tick=False):
            before = self.cookie()
            new = {"old_password": PASSWORD, "new_password1": "a b c d e 1 2 3"}
            new["new_password2"] = new["new_password1"]
            response: Any = self.staff.post("/admin/password_change/", new)
            self.assertEqual(response.status_code, 302)
            self.assertNotEqual(self.cookie(), before)
        self.assertEqual(self.status(hours=7, minutes=50), 200)
        self.assertEqual(self.status(hours=8, minutes=1), 302)

    def test_sign_in_begins_another_eight_hours(self):
        self.use(until=7 * 60)
        with time_machine.travel(NOW + timedelta(hours=7), tick=False):
            self.staff.force_login(self.owner)
        self.assertEqual(self.status(hours=7, minutes=55), 200)
        self.assertEqual(self.status(hours=8, minutes=50), 200)

    def test_database_has_no_session_id_that_works_as_a_cookie(self):
        self.assertEqual(self.status(), 200)
        with connection.cursor() as cursor:
            cursor.execute("SELECT kept::text FROM django_session AS kept")
            [[text]] = cursor.fetchall()
        self.assertNotIn(self.cookie(), text)
        thief = Client()
        thief.cookies[COOKIE] = Session.objects.get().session_key
        self.assertEqual(self.status(thief), 302)

    def test_logout_deletes_the_session(self):
        self.staff.post("/admin/logout/")
        self.assertFalse(Session.objects.exists())

    def test_clearsessions_deletes_ended_sessions_only(self):
        with time_machine.travel(NOW + timedelta(minutes=59), tick=False):
            call_command("clearsessions")
            self.assertTrue(Session.objects.exists())
        with time_machine.travel(NOW + timedelta(minutes=61), tick=False):
            call_command("clearsessions")
            self.assertFalse(Session.objects.exists())

    def test_session_of_an_older_secret_key_is_accepted(self):
        with self.settings(SECRET_KEY="k" * 50, SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
            self.assertEqual(self.status(), 200)
        with self.settings(SECRET_KEY="k" * 50):
            self.assertEqual(self.status(), 200)  # the session was signed by the new key
        with self.settings(SECRET_KEY="l" * 50):
            self.assertEqual(self.status(), 302)


class DeletedSessionsTests(TransactionTestCase):
    def test_worker_deletes_ended_sessions(self):
        hour = timedelta(hours=1)
        for key, ends_in in (("ended", -hour), ("current", hour)):
            expire_date = datetime.now(UTC) + ends_in
            Session.objects.create(session_key=key, session_data="", expire_date=expire_date)
        defer_periodic(delete_sessions)
        run_jobs()
        self.assertEqual(Session.objects.get().session_key, "current")
