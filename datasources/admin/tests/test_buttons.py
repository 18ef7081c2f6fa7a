"""The buttons on the page of a data source. `test_in_browser` has a real worker."""

from typing import Any
from unittest import mock

from django.contrib.auth.models import Permission
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import HOST_KEY
from datasources.connections.outcome import no_outcome
from datasources.credentials.testing import CredentialTestCase
from datasources.models import DataSource
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, admin_client, filled_in
from organizations.models import User

BUTTONS = (
    "test-connection",
    "refresh-schema",
    "confirm-credentials",
    "confirm-host-key",
    "restore",
)
OVERVIEW = f"{ADMIN_PAGES}overview/"


class ButtonTestCase(CredentialTestCase):
    """A test case whose client is signed in as staff who is also an admin of Acme."""

    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        with connection.cursor() as cursor:
            # Remove the jobs of other tests: Django's flush does not truncate the table of jobs.
            cursor.execute("DELETE FROM procrastinate_jobs")
        self.pages = f"{ADMIN_PAGES}{self.data_source.pk}/"
        self.page = f"{self.pages}change/"

    def press(self, button: str, client: Any = None, **values: Any) -> Any:
        """Press a button of the page, and return the page that follows."""
        client = client or self.client
        values = {"version": self.stored()["version"], **values}
        return client.post(f"{self.pages}{button}/", values, follow=True)

    def notice(self, button: str, **values: Any) -> tuple[str, str]:
        """Press a button, and return the level and the text of the notice that follows."""
        response = self.press(button, **values)
        self.assertEqual(response.redirect_chain, [(self.page, 302)])
        [message] = response.context["messages"]
        self.assertNotIn("/api/v1", str(message))
        return message.level_tag, str(message)

    def staff_client(self, *codenames: str) -> Any:
        """Return a client signed in as staff with these permissions only."""
        staff = User.objects.create_user("sam", is_staff=True)
        staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = self.client_class()
        client.force_login(staff)
        return client


class TestAndRefreshTests(ButtonTestCase):
    def pretend_worker(self) -> None:
        """Make the buttons believe that a worker is running."""
        patch = mock.patch("datasources.admin.buttons.has_worker", return_value=True)
        self.enterContext(patch)

    def finishing(self, **outcome: Any) -> Any:
        """Return a patch that finishes a test as soon as a request waits for it."""

        def finish(job: ConnectionTest, seconds: float) -> None:
            result: Any = no_outcome("OK") | outcome
            job.finish(result)

        return mock.patch("datasources.admin.buttons.wait_for", finish)

    def test_notice_reports_at_once_that_no_worker_is_running(self):
        for button in ("test-connection", "refresh-schema"):
            with self.subTest(button=button):
                level, text = self.notice(button)
                self.assertEqual(level, "warning")
                self.assertIn("no worker is running", text)
        jobs = ProcrastinateJob.objects.values_list("task_name", flat=True)
        self.assertEqual({*jobs}, {"test_connection", "refresh_schema"})
        self.assertEqual(ConnectionTest.objects.get().requested_by, self.admin)

    def test_notice_has_the_result_of_a_connection_test(self):
        self.pretend_worker()
        with self.finishing(server_version="PostgreSQL 16"):
            self.assertEqual(
                self.notice("test-connection"), ("success", "Connected. Server: PostgreSQL 16.")
            )
        with self.finishing(warnings=["NOT_ENCRYPTED", "SERVER_NOT_VERIFIED"]):
            expected = "Connected. Warnings: NOT_ENCRYPTED, SERVER_NOT_VERIFIED."
            self.assertEqual(self.notice("test-connection"), ("warning", expected))
        with self.finishing(code="LOGIN_FAILED"):
            level, text = self.notice("test-connection")
        self.assertEqual(level, "error")
        self.assertRegex(text, r"^Connection failed: .*\(LOGIN_FAILED\)$")
        with mock.patch("datasources.admin.buttons.wait_for"):
            level, text = self.notice("test-connection")
        self.assertEqual((level, text[:14]), ("warning", "Still running."))

    def test_page_shows_what_the_last_test_found_unprotected(self):
        self.pretend_worker()
        with self.finishing(warnings=["PASSWORD_IN_CLEAR"]):
            response = self.press("test-connection")
        self.assertContains(response, '<strong class="bad">PASSWORD_IN_CLEAR</strong>')
        self.assertContains(response, "everyone on the way to the server can read it")

    def test_page_shows_the_stages_of_the_last_test(self):
        stages = [
            {"stage": "dns", "ok": True, "milliseconds": 1.5},
            {"stage": "tcp", "ok": False, "milliseconds": 12.0},
        ]
        self.pretend_worker()
        with self.finishing(code="TCP_REFUSED", stages=stages):
            response = self.press("test-connection")
        self.assertContains(response, '<strong class="bad">TCP_REFUSED</strong>')
        self.assertContains(response, "12.0 ms")
        self.data_source.apply_changes({"port": 1}, user=self.admin)
        self.assertContains(self.client.get(self.page), "; the current version is")

    def test_notice_has_the_result_of_a_schema_refresh(self):
        self.pretend_worker()

        def finish(job: Any, seconds: float) -> None:
            DataSource.objects.filter(pk=job.pk).record_schema(schema_status="unread")
            refresh(self.data_source, table("orders", column("id")))
            job.refresh_from_db()

        with mock.patch("datasources.admin.buttons.wait_for", finish):
            self.assertEqual(
                self.notice("refresh-schema"), ("success", "The schema was read. Tables: 1.")
            )
        self.assertContains(self.client.get(self.page), "1 table, 1 column")

    def test_a_running_refresh_is_not_started_again(self):
        self.notice("refresh-schema")
        self.notice("refresh-schema")
        self.assertEqual(ProcrastinateJob.objects.filter(task_name="refresh_schema").count(), 1)
        self.assertContains(self.client.get(self.page), "Reading: 0 of ? tables.")

    def test_unconfirmed_secrets_are_not_sent(self):
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)
        for button in ("test-connection", "refresh-schema"):
            with self.subTest(button=button):
                level, text = self.notice(button)
                self.assertEqual((level, text[:28]), ("error", "The destination was changed."))
        self.assertFalse(ConnectionTest.objects.exists())


class ConfirmationTests(ButtonTestCase):
    def move_destination(self) -> None:
        """Change the destination as an editor, which leaves the secrets unconfirmed."""
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)

    def test_an_admin_of_the_organization_confirms_credentials(self):
        self.assertNotContains(self.client.get(self.page), "Confirm credentials")
        self.move_destination()
        self.assertContains(self.client.get(self.page), "Confirm credentials")
        level, _ = self.notice("confirm-credentials")
        self.assertEqual(level, "success")
        self.assertEqual(self.stored()["credentials_status"], "set")
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))

    def test_a_superuser_outside_the_organization_cannot_confirm_credentials(self):
        self.move_destination()
        self.client = admin_client(self.loner)
        response = self.client.get(self.page)
        self.assertContains(response, "until an admin or owner of Acme confirms them")
        self.assertNotContains(response, "Confirm credentials")
        self.assertEqual(
            self.notice("confirm-credentials"),
            ("error", "Only an admin or owner may confirm secrets."),
        )
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_a_destination_that_the_page_did_not_show_is_not_confirmed(self):
        self.move_destination()
        seen = self.stored()["version"]
        self.data_source.apply_changes({"host": "evil.example.com"}, user=self.editor)
        level, text = self.notice("confirm-credentials", version=seen)
        self.assertEqual(level, "error")
        self.assertIn("host: moved.example.com → evil.example.com", text)
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_confirming_without_saying_what_was_shown_changes_nothing(self):
        self.data_source.apply_changes({"use_ssh_tunnel": True}, user=self.admin)
        self.move_destination()
        version = self.stored()["version"]
        DataSource.objects.filter(pk=self.data_source.pk).record_test(
            {"ok": False, "version": version, "code": "X", "ssh_host_key": {"key": HOST_KEY}},
            version=version,
        )
        before = self.stored()
        for button, values, words in (
            ("confirm-credentials", {"version": ""}, "does not say which version"),
            ("confirm-host-key", {"version": "", "fingerprint": "x"}, "does not say which version"),
            ("restore", {"version": "", "to": 1}, "does not say which version"),
            ("confirm-host-key", {}, "does not say which host key"),
            ("confirm-host-key", {"fingerprint": ""}, "does not say which host key"),
        ):
            with self.subTest(button=button, values=values):
                level, text = self.notice(button, **values)
                self.assertEqual(level, "error")
                self.assertIn(words, text)
                self.assertEqual(self.stored(), before)

    def test_only_the_host_key_that_the_page_showed_is_confirmed(self):
        changes = {"use_ssh_tunnel": True}
        self.data_source.apply_changes(changes, user=self.admin)
        result = {"ok": False, "version": self.data_source.version, "code": "X", "stages": []}
        key = {"key": HOST_KEY, "fingerprint": "SHA256:…"}
        DataSource.objects.filter(pk=self.data_source.pk).record_test(
            result | {"ssh_host_key": key}, version=self.data_source.version
        )
        response = self.client.get(self.page)
        self.assertContains(response, "Unconfirmed SSH host key:")
        level, _ = self.notice("confirm-host-key", fingerprint="SHA256:other")
        self.assertEqual(level, "error")
        self.assertIsNone(self.stored()["ssh_host_key"])
        shown = response.context["host_key"]
        self.assertEqual(self.notice("confirm-host-key", fingerprint=shown)[0], "success")
        self.assertEqual(self.stored()["ssh_host_key"], HOST_KEY)
        response = self.client.get(self.page)
        self.assertContains(response, "<p>SSH host key:")
        self.assertNotContains(response, "Confirm host key")

    def test_confirm_buttons_are_hidden_after_a_failed_save(self):
        self.data_source.apply_changes({"use_ssh_tunnel": True}, user=self.admin)
        stale = filled_in(self.client, self.page)
        self.move_destination()
        version = self.stored()["version"]
        DataSource.objects.filter(pk=self.data_source.pk).record_test(
            {"ok": False, "version": version, "code": "X", "ssh_host_key": {"key": HOST_KEY}},
            version=version,
        )
        invalid = filled_in(self.client, self.page, host="other.example.com", port=0)
        for form, shown_host in ((stale, "db.example.com"), (invalid, "other.example.com")):
            with self.subTest(shown_host):
                response = self.client.post(self.page, form)
                self.assertContains(response, f'name="host" value="{shown_host}"')
                self.assertNotContains(response, "Confirm ")
                self.assertNotContains(response, 'name="version"')
                self.assertContains(response, "Reload the page</a> to confirm")
        response = self.client.get(self.page)
        self.assertContains(response, "Confirm credentials")
        self.assertContains(response, "Confirm host key")


class RestoreTests(ButtonTestCase):
    def test_restore_button_sets_the_fields_of_a_version(self):
        version = self.stored()["version"]
        self.data_source.apply_changes({"port": 1, "host": "x"}, user=self.admin)
        level, text = self.notice("restore", to=version)
        self.assertEqual(level, "success")
        self.assertTrue(text.startswith(f"Version {version} was restored as version"))
        self.assertEqual((self.stored()["port"], self.stored()["host"]), (5432, "db.example.com"))
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("restore", self.admin))
        level, text = self.notice("restore", to=self.stored()["version"])
        self.assertEqual(level, "info")

    def test_restore_button_is_refused_after_a_concurrent_change(self):
        seen = self.stored()["version"]
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        before = self.stored()
        level, text = self.notice("restore", to=1, version=seen)
        self.assertEqual(level, "error")
        self.assertIn("port: 5432 → 1", text)
        self.assertEqual(self.stored(), before)

    def test_restore_button_says_why_a_version_cannot_be_restored(self):
        version = self.stored()["version"]
        self.data_source.apply_changes({"name": "New"}, user=self.admin)
        DataSource.objects.create(
            workspace=self.workspace, name="Production PostgreSQL", type="csv"
        )
        before = self.stored()
        for to, expected in (
            (version, f"Version {version} cannot be restored: The workspace already has a"),
            (99, "There is no version 99."),
            ("x", "There is no version 0."),
        ):
            with self.subTest(to=to):
                level, text = self.notice("restore", to=to)
                self.assertEqual((level, text[: len(expected)]), ("error", expected))
                self.assertEqual(self.stored(), before)


class PermissionTests(ButtonTestCase):
    def test_staff_with_view_permission_only_have_no_buttons(self):
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)
        client = self.staff_client("view_datasource")
        before = self.stored()
        for page in ("change/", "history/", "schema/"):
            with self.subTest(page=page):
                response = client.get(f"{self.pages}{page}")
                self.assertContains(response, "Production PostgreSQL")
                self.assertNotContains(response, 'class="button"')
                self.assertNotContains(response, 'type="password"')
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.press(button, client).status_code, 403)
        self.assertEqual(self.stored(), before)
        self.assertFalse(ProcrastinateJob.objects.exists())

    def test_staff_without_permissions_get_403(self):
        client = self.staff_client()
        pages = [f"{self.pages}{page}/" for page in ("change", "history", "schema")]
        for page in (*pages, OVERVIEW):
            with self.subTest(page=page):
                self.assertEqual(client.get(page).status_code, 403)
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.press(button, client).status_code, 403)

    def test_anonymous_users_are_sent_to_the_login_page(self):
        for page in (f"{self.pages}history/", f"{self.pages}schema/", OVERVIEW):
            with self.subTest(page=page):
                response = self.client_class().get(page)
                self.assertEqual(response.status_code, 302)
                self.assertIn("/admin/login/", response["Location"])
        for button in BUTTONS:
            with self.subTest(button=button):
                response = self.client_class().post(f"{self.pages}{button}/")
                self.assertIn("/admin/login/", response["Location"])

    def test_buttons_refuse_get(self):
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.client.get(f"{self.pages}{button}/").status_code, 405)

    def test_buttons_need_a_csrf_token(self):
        client = admin_client(self.admin, enforce_csrf_checks=True)
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.press(button, client).status_code, 403)

    def test_pages_and_buttons_of_an_unknown_data_source_are_404(self):
        for pk in (self.data_source.pk + 1, 10**30):
            for page in ("schema/", "history/"):
                with self.subTest(pk=pk, page=page):
                    response = self.client.get(f"{ADMIN_PAGES}{pk}/{page}")
                    self.assertEqual(response.status_code, 404)
            with self.subTest(pk=pk):
                response = self.client.post(f"{ADMIN_PAGES}{pk}/test-connection/")
                self.assertEqual(response.status_code, 404)
