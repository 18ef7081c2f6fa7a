"""Data sources in the Django admin."""

from typing import Any

from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client, filled_in

URL = "postgresql://reader:hunter2@db/x"


class AdminTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        self.page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

    def form(self, page: str, **values: Any) -> dict[str, Any]:
        return filled_in(self.client, page, **values)

    def test_pages_open(self):
        for page in (ADMIN_PAGES, f"{ADMIN_PAGES}?q=prod", f"{ADMIN_PAGES}add/", self.page):
            with self.subTest(page=page):
                self.assertEqual(self.client.get(page).status_code, 200)

    def test_a_change_is_one_of_the_history(self):
        response = self.client.post(self.page, self.form(self.page, port=5433, tags="a,b"))
        self.assertRedirects(response, ADMIN_PAGES)
        self.assertEqual((self.stored()["port"], self.stored()["tags"]), (5433, ["a", "b"]))
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))
        self.assertEqual(revision.request_id, response["X-Request-ID"])
        self.assertEqual(
            revision.changes,
            {"port": {"from": 5432, "to": 5433}, "tags": {"from": [], "to": ["a", "b"]}},
        )

    def test_saving_what_is_shown_changes_nothing(self):
        before = self.stored()
        self.client.post(self.page, self.form(self.page))
        self.assertEqual(self.stored(), before)

    def test_creates_with_a_first_revision(self):
        values = {"name": "Lake", "type": "csv", "workspace": self.workspace.pk}
        page = f"{ADMIN_PAGES}add/"
        response = self.client.post(page, self.form(page, _save="Save", **values))
        data_source = DataSource.objects.get(name="Lake")
        # There one goes on with its credentials.
        self.assertRedirects(response, f"{ADMIN_PAGES}{data_source.pk}/change/")
        self.assertEqual(data_source.organization, self.acme)
        self.assertEqual(data_source.created_by, self.admin)
        (revision,) = data_source.revisions.all()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))

    def test_says_on_the_page_what_is_invalid(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        before = self.stored()
        for values in ({"port": 0}, {"name": "taken"}, {"use_ssh_tunnel": True}, {"host": "a b"}):
            with self.subTest(values=values):
                response = self.client.post(self.page, self.form(self.page, **values))
                self.assertEqual(response.status_code, 200)
                self.assertTrue(response.context["adminform"].form.errors)
                self.assertEqual(self.stored(), before)

    def test_refuses_a_form_that_somebody_else_has_overtaken(self):
        stale = self.form(self.page, description="Mine")
        self.call("patch", self.path, {"host": "moved.example.com"}, self.editor)
        before = self.stored()
        response = self.client.post(self.page, stale)
        self.assertContains(response, "changed this data source meanwhile")
        self.assertEqual(self.stored(), before)
        fresh = self.form(self.page, description="Mine")
        self.assertRedirects(self.client.post(self.page, fresh), ADMIN_PAGES)
        self.assertEqual(self.stored()["host"], "moved.example.com")

    def test_shows_no_metadata_that_it_refuses(self):
        self.data_source.apply_changes({"metadata": {"team": "blue"}}, user=self.admin)
        for metadata in (
            '{"db_password": "hunter2"}',
            '{"password": "hunter2"',
            '["hunter2"]',
            '{"hunter2":' * 3_000,
        ):
            with self.subTest(metadata=metadata[:30]):
                response = self.client.post(self.page, self.form(self.page, metadata=metadata))
                self.assertContains(response, "blue")
                self.assertNotContains(response, "hunter2")
                self.assertEqual(self.stored()["metadata"], {"team": "blue"})

    def test_takes_a_password_and_never_shows_it(self):
        for url, port in (
            ("postgresql://reader:hunter2@db/x", 5433),
            ("postgresql://reader:hunter2@db/x", 0),
            ("postgresql://reader:hunter2@db:port/x", 5433),
            ("postgresql://reader:hunter2@[db/x", 5433),
            ("postgresql://reader:hunter2@d℀b/x", 5433),
            ("postgresql://reader@db/x?password=hunter2", 0),
        ):
            with self.subTest(url=url, port=port):
                values = self.form(self.page, connection_string=url, port=port)
                response = self.client.post(self.page, values, follow=True)
                self.assertEqual(response.status_code, 200)
                self.assertNotContains(response, "hunter2")
        for page in (ADMIN_PAGES, self.page, f"{ADMIN_PAGES}{self.data_source.pk}/history/"):
            self.assertNotContains(self.client.get(page), "hunter2")
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        self.assertEqual(data_source.connection_string, "postgresql://reader@db/x")
        self.assertEqual(data_source.credentials.open(), {"password": "hunter2"})

    def test_gives_the_same_revision_as_the_API_and_the_shell(self):
        changes = {"port": 5433, "name": "Moved", "tags": ["a"], "connection_string": URL}
        revisions = []
        for way in ("admin", "api", "shell"):
            data_source = DataSource.objects.create(
                workspace=self.workspace, name=way, type="postgresql", host="db", port=5432
            )
            if way == "admin":
                page = f"{ADMIN_PAGES}{data_source.pk}/change/"
                values = self.form(page, **changes | {"tags": "a"})
                self.assertRedirects(self.client.post(page, values), ADMIN_PAGES)
            elif way == "api":
                path = f"/data-sources/{data_source.pk}"
                response = self.call("patch", path, changes, self.admin)
                self.assertEqual(response.status_code, 200)
            else:
                data_source.apply_changes(changes, user=self.admin)
            revision = data_source.revisions.first()
            self.assertEqual(revision.origin, way)
            changed = {**revision.changes, "name": revision.changes["name"]["to"]}
            revisions.append((revision.version, revision.changed_by, changed))
            DataSource.objects.filter(pk=data_source.pk).delete()
        self.assertEqual(revisions[1:], revisions[:1] * 2)
        self.assertNotIn("hunter2", str(revisions))
