"""The form of a data source in the Django admin."""

import re
from threading import Thread
from typing import Any
from unittest import mock

from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import TransactionTestCase

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.connections.testing.private_keys import private_key
from datasources.credentials.testing import PASSWORD, CredentialTestCase
from datasources.models import DataSource
from datasources.testing import (
    ADMIN_PAGES,
    DataSourceTestCase,
    DataSourceTestMixin,
    admin_client,
    filled_in,
)

URL = "postgresql://reader:hunter2@db/x"


class FormTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        self.page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

    def form(self, page: str, **values: Any) -> dict[str, Any]:
        return filled_in(self.client, page, **values)

    def test_admin_pages_of_a_data_source_open(self):
        for page in (ADMIN_PAGES, f"{ADMIN_PAGES}?q=prod", f"{ADMIN_PAGES}add/", self.page):
            with self.subTest(page=page):
                self.assertEqual(self.client.get(page).status_code, 200)

    def test_saving_the_form_records_a_revision(self):
        response = self.client.post(self.page, self.form(self.page, port=5433, tags="a\r\nb\r\n"))
        self.assertRedirects(response, ADMIN_PAGES)
        self.assertEqual((self.stored()["port"], self.stored()["tags"]), (5433, ["a", "b"]))
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))
        self.assertEqual(revision.request_id, response["X-Request-ID"])
        self.assertEqual(
            revision.changes,
            {"port": {"from": 5432, "to": 5433}, "tags": {"from": [], "to": ["a", "b"]}},
        )

    def test_saving_the_form_unchanged_changes_nothing(self):
        odd = {
            "description": "two\nlines \r\nor three\n",
            "database_name": " x ",
            "schema_name": "a\nb",
            "tags": ["a,b", "c d"],
            "metadata": {"a": [1.0, None, {"b": "é"}]},
        }
        for changes in ({}, odd, {"tags": ["a\nb"]}):
            with self.subTest(changes=changes):
                # Not by apply_changes: the tag is older than the rules for tags.
                QuerySet(DataSource).filter(pk=self.data_source.pk).update(**changes)
                before = self.stored()
                form = self.form(self.page)
                # Browsers end the lines of a textarea with CR LF.
                for name, value in form.items():
                    if name in ("description", "tags"):
                        form[name] = "\r\n".join(value.splitlines(keepends=False))
                    elif isinstance(value, str):
                        form[name] = value.replace("\n", "")
                if form.get("description"):
                    form["description"] += "\r\n"
                self.client.post(self.page, form)
                self.assertEqual(self.stored(), before)

    def test_text_that_a_browser_sends_otherwise_than_it_is_stored_is_left_alone(self):
        """Browsers send each line break of a textarea as CR LF, and drop those of an input."""
        for text in (
            "a\rb",
            "\r",
            "a\r\rb",
            "\na",
            "a\n\r",
            "a\u2028b\u0085c",
            " a \r\n ",
            "a\x0cb",
        ):
            stored = {
                "description": text,
                "schema_name": text,
                "database_name": text,
                "ssh_username": text,
                "tags": ["a,b", "c d"],
                "metadata": {"z": 1, "a": {text: text, "é": 10**30, "f": [1.0, 1, 1e-9, 1e300]}},
            }
            self.data_source.apply_changes(stored, user=self.editor)
            before = self.stored()
            form = self.form(self.page)
            for name, value in form.items():
                if isinstance(value, str):
                    is_textarea = name in ("description", "tags", "metadata")
                    form[name] = re.sub("\r\n|\r|\n", "\r\n" if is_textarea else "", value)
            with self.subTest(text):
                self.assertRedirects(self.client.post(self.page, form), ADMIN_PAGES)
                self.assertEqual(self.stored(), before)
                form["port"] = before["port"] % 2 + 1
                self.client.post(self.page, form)
                [changes] = self.data_source.revisions.values_list("changes", flat=True)[:1]
                self.assertEqual([*changes], ["port"])

    def test_metadata_that_is_no_object_is_refused_in_the_form(self):
        before = self.stored()
        add = f"{ADMIN_PAGES}add/"
        new = {"name": "New", "type": "csv", "workspace": self.workspace.pk}
        for text in (
            *("", " ", "null", "[]", '"a"', "5", "true", "{", "{} {}", "NaN", '{"a": NaN}'),
            *('{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}', f'{{"a": {"9" * 5_000}}}'),
        ):
            with self.subTest(text[:20]):
                for page, values in ((self.page, {}), (add, new)):
                    response = self.client.post(page, self.form(page, **values, metadata=text))
                    self.assertEqual(response.status_code, 200)
                    errors = response.context["adminform"].form.errors
                    self.assertEqual([*errors], ["metadata"])
                self.assertEqual(self.stored(), before)
                self.assertEqual(DataSource.objects.count(), 1)
        self.client.post(self.page, self.form(self.page, metadata="{}", port=1))
        self.assertEqual((self.stored()["metadata"], self.stored()["port"]), ({}, 1))

    def test_numbers_in_other_spellings_are_refused_in_the_form(self):
        before = self.stored()
        for text in ("5433.0", "5433.5", "٥٤٣٣", "5_433", "1e3", "0x10", "true"):
            with self.subTest(text):
                response = self.client.post(self.page, self.form(self.page, port=text))
                self.assertContains(response, "Enter a whole number.")
                self.assertEqual(self.stored(), before)

    def test_form_splits_tags_and_description_into_lines(self):
        self.client.post(
            self.page, self.form(self.page, description="a\r\nb", tags=" x \r\n\r\ny,z")
        )
        self.assertEqual(self.stored()["description"], "a\nb")
        self.assertEqual(self.stored()["tags"], ["x", "y,z"])

    def test_creating_a_data_source_records_its_first_revision(self):
        values = {"name": "Lake", "type": "csv", "workspace": self.workspace.pk}
        page = f"{ADMIN_PAGES}add/"
        response = self.client.post(page, self.form(page, _save="Save", **values))
        data_source = DataSource.objects.get(name="Lake")
        # The page of the new data source follows, to enter its credentials.
        self.assertRedirects(response, f"{ADMIN_PAGES}{data_source.pk}/change/")
        self.assertEqual(data_source.organization, self.acme)
        self.assertEqual(data_source.created_by, self.admin)
        (revision,) = data_source.revisions.all()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))

    def test_invalid_form_values_are_shown_again_and_not_stored(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        before = self.stored()
        for values in ({"port": 0}, {"name": "taken"}, {"use_ssh_tunnel": True}, {"host": "a b"}):
            with self.subTest(values=values):
                response = self.client.post(self.page, self.form(self.page, **values))
                self.assertEqual(response.status_code, 200)
                self.assertTrue(response.context["adminform"].form.errors)
                self.assertEqual(self.stored(), before)

    def test_stale_form_is_refused_and_names_the_change(self):
        stale = self.form(self.page, description="Mine")
        self.call("patch", self.path, {"host": "moved.example.com"}, self.editor)
        before = self.stored()
        response = self.client.post(self.page, stale)
        self.assertContains(response, "This data source has changed since you opened it.")
        self.assertContains(response, "host: db.example.com → moved.example.com.")
        self.assertContains(response, "edith, 20")
        self.assertContains(response, "UTC, via api")
        self.assertNotContains(response, "Earlier changes are in the history.")
        self.assertEqual(self.stored(), before)
        fresh = self.form(self.page, description="Mine")
        self.assertRedirects(self.client.post(self.page, fresh), ADMIN_PAGES)
        self.assertEqual(self.stored()["host"], "moved.example.com")

    def test_refused_stale_form_names_the_last_five_changes(self):
        stale = self.form(self.page, description="Mine")
        for port in range(1, 7):
            self.data_source.apply_changes({"port": port}, user=self.editor)
        response = self.client.post(self.page, stale)
        self.assertContains(response, "port: 5 → 6")
        self.assertContains(response, "port: 1 → 2")
        self.assertNotContains(response, "port: 5432 → 1.")
        self.assertContains(response, "Earlier changes are in the history.")

    def test_form_reports_a_name_that_was_taken_concurrently(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        before = self.stored()
        with mock.patch.object(DataSource, "is_name_taken", return_value=False):
            values = self.form(self.page, name="Taken")
            response = self.client.post(self.page, values, follow=True)
        self.assertContains(response, "Nothing was saved. The workspace already has a data source")
        self.assertEqual(self.stored(), before)

    def test_delete_page_counts_revisions_without_listing_them(self):
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/delete/"
        response = self.client.get(page)
        self.assertContains(response, "Revisions: 2")
        self.assertNotContains(response, "version 2")
        self.client.post(page, {"post": "yes"})
        self.assertFalse(DataSource.objects.filter(pk=self.data_source.pk).exists())

    def test_rejected_metadata_is_not_shown_again(self):
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

    def test_errors_in_the_form_name_no_api_path(self):
        for values, text in (
            ({"metadata": '{"db_password": "x"}'}, "Store secrets in the credentials"),
            (
                {"connection_string": "postgresql://db/x?api_key=x"},
                "Store secrets in the credentials",
            ),
            ({"connection_string": "postgresql://reader:***@db/x"}, "mask"),
            ({"use_ssh_tunnel": True}, "ssh_host"),
        ):
            with self.subTest(values=values):
                response = self.client.post(self.page, self.form(self.page, **values))
                self.assertContains(response, text)
                self.assertNotContains(response, "/api/v1")

    def test_a_password_in_the_connection_string_is_stored_and_never_shown(self):
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

    def test_spaces_around_a_pasted_connection_string_are_removed(self):
        for pasted in (f"  {URL}", f"{URL}\n", f"\t{URL} \r\n"):
            with self.subTest(pasted):
                values = self.form(self.page, connection_string=pasted)
                self.assertEqual(self.client.post(self.page, values).status_code, 302)
                self.assertEqual(self.stored()["connection_string"], "postgresql://reader@db/x")

    def test_form_records_the_same_revision_as_the_API_and_the_shell(self):
        changes = {"port": 5433, "name": "Moved", "tags": ["a"], "connection_string": URL}
        revisions = []
        for origin in ("admin", "api", "shell"):
            data_source = DataSource.objects.create(
                workspace=self.workspace, name=origin, type="postgresql", host="db", port=5432
            )
            if origin == "admin":
                page = f"{ADMIN_PAGES}{data_source.pk}/change/"
                values = self.form(page, **changes | {"tags": "a"})
                self.assertRedirects(self.client.post(page, values), ADMIN_PAGES)
            elif origin == "api":
                path = f"/data-sources/{data_source.pk}"
                response = self.call("patch", path, changes, self.admin)
                self.assertEqual(response.status_code, 200)
            else:
                data_source.apply_changes(changes, user=self.admin)
            revision = data_source.revisions.first()
            self.assertEqual(revision.origin, origin)
            changed = {**revision.changes, "name": revision.changes["name"]["to"]}
            revisions.append((revision.version, revision.changed_by, changed))
            DataSource.objects.filter(pk=data_source.pk).delete()
        self.assertEqual(revisions[1:], revisions[:1] * 2)
        self.assertNotIn("hunter2", str(revisions))


class CredentialsTests(CredentialTestCase):
    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        self.page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

    def save(self, **values: Any) -> Any:
        values = filled_in(self.client, self.page, **values)
        return self.client.post(self.page, values, follow=True)

    def secrets(self) -> Any:
        return self.fetch().credentials.open()

    def test_form_has_the_credentials_of_the_type(self):
        form: Any = self.client.get(self.page).context["adminform"].form
        self.assertIn("password", form.fields)
        self.assertNotIn("service_account_json", form.fields)
        form = self.client.get(f"{ADMIN_PAGES}add/").context["adminform"].form
        self.assertTrue(form.fields.keys().isdisjoint(SECRET_FIELDS))

    def test_form_says_which_secrets_are_set_and_never_shows_them(self):
        response = self.client.get(self.page)
        self.assertContains(response, "Credentials: set")
        self.assertContains(response, "Now set. Leave empty to keep the stored value")
        self.assertContains(response, "Now not set.")
        self.assertNotContains(response, PASSWORD)

    def test_saving_credentials_records_a_separate_revision(self):
        version = self.stored()["version"]
        key = private_key()
        pasted = f"  {key}".replace("\n", "\r\n")
        response = self.save(port=5433, username="reader", password="n3w", ssh_private_key=pasted)
        self.assertNotContains(response, "n3w")
        self.assertEqual(self.secrets()["password"], "n3w")
        self.assertEqual(self.secrets()["ssh_private_key"], key)
        self.assertEqual(self.stored()["version"], version + 2)
        self.assertEqual(
            self.newest_changes(),
            {
                "username": {"from": None, "to": "reader"},
                "password": {"from": "set", "to": "set"},
                "ssh_private_key": {"from": "unset", "to": "set"},
            },
        )
        revision = self.data_source.revisions.first()
        self.assertEqual((revision.origin, revision.changed_by), ("admin", self.admin))

    def test_ticked_secrets_are_deleted(self):
        self.save(removed_secrets=["ssh_password"])
        self.assertEqual(self.secrets(), {"password": PASSWORD})
        self.assertEqual(self.newest_changes(), {"ssh_password": {"from": "set", "to": "unset"}})

    def test_an_empty_username_clears_the_stored_one(self):
        self.save(username="reader")
        self.assertEqual(self.stored()["username"], "reader")
        self.save(username="")
        self.assertIsNone(self.stored()["username"])

    def test_a_password_is_sealed_to_the_destination_entered_with_it(self):
        self.save(host="moved.example.com", password="n3w")
        self.assertEqual(self.secrets()["password"], "n3w")

    def test_rejected_credentials_are_explained_and_not_shown(self):
        before = self.stored()
        for values, sentence in (
            ({"password": "********"}, "This is a mask."),
            ({"password": "sup3r" * 20_000}, "Must not be larger"),
            ({"ssh_private_key": "ssh-ed25519 sup3r"}, "This is a public key"),
            ({"password": "sup3r", "port": 0}, "greater than or equal to 1"),
            ({"password": "sup3r\0"}, "Null characters are not allowed"),
            ({"username": "a" * 256}, "at most 255 characters"),
            ({"removed_secrets": ["token"]}, "token is not one of the available choices"),
        ):
            with self.subTest(sentence=sentence):
                response = self.save(**values)
                self.assertContains(response, sentence)
                self.assertNotContains(response, "sup3r")
                self.assertEqual(self.stored(), before)
                self.assertEqual(self.secrets()["password"], PASSWORD)


class ConcurrentFormTests(DataSourceTestMixin, TransactionTestCase):
    def test_a_save_that_waited_for_another_writer_is_refused_as_stale(self):
        self.make_world()
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        client = admin_client(self.admin)
        form = filled_in(client, page, description="Mine")
        responses = []

        def save() -> None:
            try:
                responses.append(client.post(page, form))
            finally:
                connection.close()

        thread = Thread(target=save)
        with transaction.atomic():
            self.data_source.apply_changes({"port": 1}, user=self.editor)
            thread.start()
            self.wait_for_lock(thread)
        thread.join()
        [response] = responses
        self.assertContains(response, "port: 5432 → 1")
        self.assertEqual((self.stored()["port"], self.stored()["description"]), (1, ""))
