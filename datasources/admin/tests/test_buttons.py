"""The buttons on the page of a data source; a real worker is in `test_walk`."""

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
    """A test case with a browser in the hands of an admin of Acme who is staff, too."""

    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        with connection.cursor() as cursor:
            # What other tests have left; Django's flush does not know of jobs.
            cursor.execute("DELETE FROM procrastinate_jobs")
        self.pages = f"{ADMIN_PAGES}{self.data_source.pk}/"
        self.page = f"{self.pages}change/"

    def press(self, button: str, client: Any = None, **values: Any) -> Any:
        """Press a button of the page; give the page that comes next."""
        client = client or self.client
        values = {"version": self.stored()["version"], **values}
        return client.post(f"{self.pages}{button}/", values, follow=True)

    def told(self, button: str, **values: Any) -> tuple[str, str]:
        """Press a button; give how good the news is, and the news."""
        response = self.press(button, **values)
        self.assertEqual(response.redirect_chain, [(self.page, 302)])
        [message] = response.context["messages"]
        return message.level_tag, str(message)

    def staff(self, *codenames: str) -> Any:
        """Give the browser of one who may do these things, and no others."""
        staff = User.objects.create_user("sam", is_staff=True)
        staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = self.client_class()
        client.force_login(staff)
        return client


class TestAndRefreshTests(ButtonTestCase):
    def start_worker(self) -> None:
        """Say that a worker is alive: a fake, none runs."""
        patch = mock.patch("datasources.admin.buttons.has_worker", return_value=True)
        self.enterContext(patch)

    def finishing(self, **outcome: Any) -> Any:
        """Give a patch by which a test ends as soon as it is waited for: a fake worker."""

        def finish(job: ConnectionTest, seconds: float) -> None:
            told: Any = no_outcome("OK") | outcome
            job.finish(told)

        return mock.patch("datasources.admin.buttons.wait_for", finish)

    def test_without_a_worker_they_say_so_and_do_not_wait(self):
        for button in ("test-connection", "refresh-schema"):
            with self.subTest(button=button):
                level, sentence = self.told(button)
                self.assertEqual(level, "warning")
                self.assertIn("No worker runs", sentence)
        jobs = ProcrastinateJob.objects.values_list("task_name", flat=True)
        self.assertEqual({*jobs}, {"test_connection", "refresh_schema"})
        self.assertEqual(ConnectionTest.objects.get().requested_by, self.admin)

    def test_a_test_tells_how_it_ended(self):
        self.start_worker()
        with self.finishing(server_version="PostgreSQL 16"):
            self.assertEqual(
                self.told("test-connection"), ("success", "It connects. PostgreSQL 16")
            )
        with self.finishing(code="LOGIN_FAILED"):
            level, sentence = self.told("test-connection")
        self.assertEqual(level, "error")
        self.assertRegex(sentence, r"^It does not connect: .*\(LOGIN_FAILED\)$")
        with mock.patch("datasources.admin.buttons.wait_for"):
            level, sentence = self.told("test-connection")
        self.assertEqual((level, sentence[:20]), ("warning", "It is still running."))

    def test_the_page_shows_the_stages_of_the_last_test(self):
        stages = [
            {"stage": "dns", "ok": True, "milliseconds": 1.5},
            {"stage": "tcp", "ok": False, "milliseconds": 12.0},
        ]
        self.start_worker()
        with self.finishing(code="TCP_REFUSED", stages=stages):
            response = self.press("test-connection")
        self.assertContains(response, '<strong class="bad">TCP_REFUSED</strong>')
        self.assertContains(response, "12.0 ms")
        self.data_source.apply_changes({"port": 1}, user=self.admin)
        self.assertContains(self.client.get(self.page), "it has changed since")

    def test_a_refresh_tells_how_it_ended(self):
        self.start_worker()

        def finish(job: Any, seconds: float) -> None:
            DataSource.objects.filter(pk=job.pk).record_schema(schema_status="unread")
            refresh(self.data_source, table("orders", column("id")))
            job.refresh_from_db()

        with mock.patch("datasources.admin.buttons.wait_for", finish):
            self.assertEqual(
                self.told("refresh-schema"), ("success", "The schema was read. Tables: 1.")
            )
        self.assertContains(self.client.get(self.page), "1 table, 1 column")

    def test_a_refresh_that_runs_is_not_started_twice(self):
        self.told("refresh-schema")
        self.told("refresh-schema")
        self.assertEqual(ProcrastinateJob.objects.filter(task_name="refresh_schema").count(), 1)
        self.assertContains(self.client.get(self.page), "It is being read: 0 of ? tables.")

    def test_secrets_that_wait_are_not_sent(self):
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)
        for button in ("test-connection", "refresh-schema"):
            with self.subTest(button=button):
                level, sentence = self.told(button)
                self.assertEqual((level, sentence[:26]), ("error", "The destination was moved."))
        self.assertFalse(ConnectionTest.objects.exists())


class ConfirmationTests(ButtonTestCase):
    def move(self) -> None:
        """Have one who may not confirm lead the source elsewhere."""
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)

    def test_an_admin_of_the_organization_confirms(self):
        self.assertNotContains(self.client.get(self.page), "Confirm credentials")
        self.move()
        self.assertContains(self.client.get(self.page), "Confirm credentials")
        level, _ = self.told("confirm-credentials")
        self.assertEqual(level, "success")
        self.assertEqual(self.stored()["credentials_status"], "set")
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))

    def test_nobody_else_does_not_even_a_superuser(self):
        self.move()
        self.client = admin_client(self.loner)
        response = self.client.get(self.page)
        self.assertContains(response, "an admin or owner of Acme confirms them")
        self.assertNotContains(response, "Confirm credentials")
        self.assertEqual(
            self.told("confirm-credentials"),
            ("error", "Only an admin or owner may confirm secrets."),
        )
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_what_was_not_looked_at_is_not_confirmed(self):
        self.move()
        seen = self.stored()["version"]
        self.data_source.apply_changes({"host": "evil.example.com"}, user=self.editor)
        level, sentence = self.told("confirm-credentials", version=seen)
        self.assertEqual(level, "error")
        self.assertIn("host: moved.example.com → evil.example.com", sentence)
        self.assertEqual(self.stored()["credentials_status"], "unconfirmed")

    def test_a_host_key_is_confirmed_if_it_was_looked_at(self):
        changes = {"use_ssh_tunnel": True}
        self.data_source.apply_changes(changes, user=self.admin)
        result = {"ok": False, "version": self.data_source.version, "code": "X", "stages": []}
        key = {"key": HOST_KEY, "fingerprint": "SHA256:…"}
        DataSource.objects.filter(pk=self.data_source.pk).record_test(
            result | {"ssh_host_key": key}, version=self.data_source.version
        )
        response = self.client.get(self.page)
        self.assertContains(response, "The SSH server showed a host key that nobody has confirmed")
        level, _ = self.told("confirm-host-key", fingerprint="SHA256:other")
        self.assertEqual(level, "error")
        self.assertIsNone(self.stored()["ssh_host_key"])
        shown = response.context["host_key"]
        self.assertEqual(self.told("confirm-host-key", fingerprint=shown)[0], "success")
        self.assertEqual(self.stored()["ssh_host_key"], HOST_KEY)
        response = self.client.get(self.page)
        self.assertContains(response, "Host key of the SSH server:")
        self.assertNotContains(response, "Confirm host key")

    def test_beside_a_form_that_was_refused_there_is_nothing_to_confirm(self):
        self.data_source.apply_changes({"use_ssh_tunnel": True}, user=self.admin)
        overtaken = filled_in(self.client, self.page)
        self.move()
        version = self.stored()["version"]
        DataSource.objects.filter(pk=self.data_source.pk).record_test(
            {"ok": False, "version": version, "code": "X", "ssh_host_key": {"key": HOST_KEY}},
            version=version,
        )
        invalid = filled_in(self.client, self.page, host="other.example.com", port=0)
        for form, shown_host in ((overtaken, "db.example.com"), (invalid, "other.example.com")):
            with self.subTest(shown_host):
                response = self.client.post(self.page, form)
                self.assertContains(response, f'name="host" value="{shown_host}"')
                self.assertNotContains(response, "Confirm ")
                self.assertNotContains(response, 'name="version"')
                self.assertContains(response, "Open it again")
        response = self.client.get(self.page)
        self.assertContains(response, "Confirm credentials")
        self.assertContains(response, "Confirm host key")


class RestoreTests(ButtonTestCase):
    def test_brings_a_version_back(self):
        version = self.stored()["version"]
        self.data_source.apply_changes({"port": 1, "host": "x"}, user=self.admin)
        level, sentence = self.told("restore", to=version)
        self.assertEqual(level, "success")
        self.assertTrue(sentence.startswith(f"Version {version} is restored, as version"))
        self.assertEqual((self.stored()["port"], self.stored()["host"]), (5432, "db.example.com"))
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("restore", self.admin))
        level, sentence = self.told("restore", to=self.stored()["version"])
        self.assertEqual(level, "info")

    def test_is_refused_if_somebody_else_has_changed_it_since(self):
        seen = self.stored()["version"]
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        before = self.stored()
        level, sentence = self.told("restore", to=1, version=seen)
        self.assertEqual(level, "error")
        self.assertIn("port: 5432 → 1", sentence)
        self.assertEqual(self.stored(), before)

    def test_says_what_cannot_be_had_any_more(self):
        version = self.stored()["version"]
        self.data_source.apply_changes({"name": "New"}, user=self.admin)
        DataSource.objects.create(
            workspace=self.workspace, name="Production PostgreSQL", type="csv"
        )
        before = self.stored()
        for to, sentence in (
            (version, f"Version {version} cannot be restored: The workspace has a data source of"),
            (99, "There is no such version."),
            ("x", "There is no such version."),
        ):
            with self.subTest(to=to):
                level, told = self.told("restore", to=to)
                self.assertEqual((level, told[: len(sentence)]), ("error", sentence))
                self.assertEqual(self.stored(), before)


class PermissionTests(ButtonTestCase):
    def test_those_who_may_only_look_see_no_button_and_press_none(self):
        self.data_source.apply_changes({"host": "moved.example.com"}, user=self.editor)
        client = self.staff("view_datasource")
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

    def test_those_who_may_not_look_see_nothing(self):
        client = self.staff()
        pages = [f"{self.pages}{page}/" for page in ("change", "history", "schema")]
        for page in (*pages, OVERVIEW):
            with self.subTest(page=page):
                self.assertEqual(client.get(page).status_code, 403)
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.press(button, client).status_code, 403)

    def test_strangers_are_asked_to_log_in(self):
        for page in (f"{self.pages}history/", f"{self.pages}schema/", OVERVIEW):
            with self.subTest(page=page):
                response = self.client_class().get(page)
                self.assertEqual(response.status_code, 302)
                self.assertIn("/admin/login/", response["Location"])
        for button in BUTTONS:
            with self.subTest(button=button):
                response = self.client_class().post(f"{self.pages}{button}/")
                self.assertIn("/admin/login/", response["Location"])

    def test_buttons_are_pressed_not_followed(self):
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.client.get(f"{self.pages}{button}/").status_code, 405)

    def test_buttons_need_the_token_of_the_page(self):
        client = admin_client(self.admin, enforce_csrf_checks=True)
        for button in BUTTONS:
            with self.subTest(button=button):
                self.assertEqual(self.press(button, client).status_code, 403)

    def test_a_data_source_that_is_gone_is_404(self):
        for pk in (self.data_source.pk + 1, 10**30):
            for page in ("schema/", "history/"):
                with self.subTest(pk=pk, page=page):
                    response = self.client.get(f"{ADMIN_PAGES}{pk}/{page}")
                    self.assertEqual(response.status_code, 404)
            with self.subTest(pk=pk):
                response = self.client.post(f"{ADMIN_PAGES}{pk}/test-connection/")
                self.assertEqual(response.status_code, 404)
