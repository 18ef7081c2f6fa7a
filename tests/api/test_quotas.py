"""Quotas of an organization: data sources, bytes of what is stored, workspaces, members."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TransactionTestCase, override_settings

from datasources.connection_tests.models import ConnectionTest
from datasources.credentials.testing import CredentialTestCase
from datasources.models import DataSource, DataSourceRevision
from datasources.models.changing import REVISION_BYTES
from datasources.schemas.snapshots.models import SchemaContent
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, DataSourceTestMixin, admin_client
from organizations.exceptions import QuotaExceeded
from organizations.idempotency.models import IdempotencyRecord, KeptAnswers
from organizations.models import Membership, Organization, User, Workspace

CREATORS = 8
BARRIER_TIMEOUT = 60
LARGE = {"text": "x" * 2_000}


class QuotaMixin(DataSourceTestMixin):
    """Requests that need room, and what a refusal looks like."""

    def create(self, name: str, **fields: Any) -> Any:
        body = {"name": name, "type": "csv", **fields}
        return self.call("post", "/data-sources", body, self.editor)

    def patch(self, body: Any, query: str = "", **options: Any) -> Any:
        return self.call("patch", f"{self.path}{query}", body, self.editor, **options)

    def assert_quota(self, response: Any, name: str, limit: int) -> None:
        error = self.assert_error(response, 409, "QUOTA_EXCEEDED", name)
        assert f"at most {limit:,} " in error["details"][name][0], error
        assert "operator" in error["message"], error

    def count(self) -> int:
        return DataSource.objects.filter(organization=self.acme).count()


class SchemaQuotaTests(QuotaMixin, DataSourceTestCase):
    def read(self, *names: str) -> dict[str, Any]:
        """Refresh the schema, which has tables of these names; return the refresh."""
        refresh(self.data_source, *(table(name, column("id")) for name in names))
        path = f"{self.path}/schema/refresh"
        shown: dict[str, Any] = self.call("get", path, user=self.editor).json()["data"]
        return shown

    def test_refresh_beyond_the_quota_fails_and_keeps_what_was_read(self):
        self.assertTrue(self.read("a")["ok"])
        used = SchemaContent.bytes_by_organization()[self.acme.pk]
        with override_settings(QUOTA_SCHEMA_BYTES=used):
            self.assertTrue(self.read("a")["ok"])
            self.assertEqual(self.read("b")["code"], "SCHEMA_QUOTA_EXCEEDED")
            self.assertEqual(SchemaContent.objects.get().keys(), [("public", "a")])
            Organization.objects.filter(pk=self.acme.pk).update(quota_schema_bytes=used * 10)
            self.assertTrue(self.read("b")["ok"])


@override_settings(QUOTA_DATA_SOURCES=3)
class DataSourceQuotaTests(QuotaMixin, DataSourceTestCase):
    def test_create_beyond_the_quota_is_409_and_stores_nothing(self):
        for name in ("Second", "Third"):
            self.assertEqual(self.create(name).status_code, 201)
        self.assert_quota(self.create("Fourth"), "data_sources", 3)
        self.assertEqual(self.count(), 3)
        self.assertFalse(DataSourceRevision.objects.filter(changes__name__to="Fourth").exists())

    def test_quota_is_checked_after_400_and_frees_with_a_deletion(self):
        for name in ("Second", "Third"):
            self.create(name)
        self.assert_error(self.create("second"), 400, "BAD_REQUEST", "name")
        self.assert_error(self.create("Fourth", port=0), 400, "BAD_REQUEST", "port")
        path = f"/data-sources/{DataSource.objects.get(name='Third').pk}"
        self.assertEqual(self.call("delete", path, user=self.admin).status_code, 204)
        self.assertEqual(self.create("Fourth").status_code, 201)

    def test_other_organizations_do_not_count(self):
        for number in range(3):
            workspace = self.globex.workspaces.get()
            DataSource.objects.create(workspace=workspace, name=f"G{number}", type="csv")
        self.assertEqual(self.create("Second").status_code, 201)

    def test_shell_and_bulk_create_obey_the_quota(self):
        made = [DataSource(workspace=self.workspace, name=f"B{n}", type="csv") for n in range(3)]
        with self.assertRaises(QuotaExceeded):
            DataSource.objects.bulk_create(made)
        self.assertEqual(self.count(), 1)
        DataSource.objects.bulk_create(made[:2])
        with self.assertRaises(QuotaExceeded):
            DataSource(workspace=self.workspace, name="One more", type="csv").save()
        self.assertEqual(self.count(), 3)

    def test_declarations_report_the_quota_and_apply_nothing(self):
        body = {"data_sources": [{"name": f"D{n}", "type": "csv"} for n in range(3)]}
        for query in ("", "?dry_run=true"):
            response = self.call("post", f"/data-sources/apply{query}", body, self.editor)
            self.assert_quota(response, "data_sources", 3)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "sources.yaml"
            file.write_text(json.dumps({"organization": "acme", **body}))
            for options in ([], ["--plan"]):
                with self.assertRaisesRegex(CommandError, "at most 3 data sources.*\nNothing"):
                    call_command("apply_data_sources", str(file), *options, stdout=StringIO())
        self.assertEqual(self.count(), 1)

    def test_admin_shows_the_quota_and_stores_nothing(self):
        client = admin_client(self.owner)
        for name in ("Second", "Third"):
            self.create(name)
        form: Any = client.get(f"{ADMIN_PAGES}add/").context["adminform"].form
        shown = {name: form[name].value() for name in form.fields}
        values = {name: value for name, value in shown.items() if value not in (None, False)}
        values |= {"name": "Fourth", "type": "csv", "workspace": self.workspace.pk}
        response = client.post(f"{ADMIN_PAGES}add/", values, follow=True)
        self.assertContains(response, "Nothing was saved. The organization may have at most 3 data")
        self.assertEqual(self.count(), 3)

    def test_own_quota_of_an_organization_overrides_the_default(self):
        Organization.objects.filter(pk=self.acme.pk).update(quota_data_sources=1)
        self.assert_quota(self.create("Second"), "data_sources", 1)
        Organization.objects.filter(pk=self.acme.pk).update(quota_data_sources=4)
        self.assertEqual([self.create(name).status_code for name in "abcd"], [201, 201, 201, 409])
        Organization.objects.filter(pk=self.acme.pk).update(quota_data_sources=0)
        self.assertEqual(self.patch({"port": 1}).status_code, 200)

    def test_staff_set_the_quota_on_the_page_of_the_organization(self):
        client = admin_client(self.owner)
        page = f"/admin/organizations/organization/{self.acme.pk}/change/"
        data = {"name": "Acme", "slug": "acme", "quota_data_sources": "7"}
        for prefix, rows in (
            ("memberships", self.acme.memberships.values("id", "user", "role")),
            ("workspaces", self.acme.workspaces.values("id", "name")),
        ):
            data |= {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": len(rows)}
            for number, row in enumerate(rows):
                data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
        self.assertEqual(client.post(page, data).status_code, 302)
        self.acme.refresh_from_db()
        self.assertEqual((self.acme.quota_data_sources, self.acme.quota_history_bytes), (7, None))
        response = self.call(
            "patch", f"/organizations/{self.acme.pk}", {"quota_data_sources": 9}, self.owner
        )
        self.assert_error(response, 400, "BAD_REQUEST", "quota_data_sources")


class ConcurrentCreationTests(QuotaMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def at_once(self, create: Any) -> list[Any]:
        """Call `create` with different numbers in many threads at once; return the results."""
        start = Barrier(CREATORS, timeout=BARRIER_TIMEOUT)

        def run(number: int) -> Any:
            start.wait()
            try:
                return create(number)
            finally:
                connection.close()

        with ThreadPoolExecutor(CREATORS) as pool:
            return [*pool.map(run, range(CREATORS))]

    @override_settings(QUOTA_DATA_SOURCES=4)
    def test_concurrent_creators_never_exceed_the_quota(self):
        def create(number: int) -> int:
            if number % 2:
                return int(self.create(f"New {number}").status_code)
            made = DataSource(workspace=self.workspace, name=f"New {number}", type="csv")
            try:
                DataSource.objects.bulk_create([made])
            except QuotaExceeded:
                return 409
            return 201

        statuses = self.at_once(create)
        self.assertEqual(sorted(statuses), [201] * 3 + [409] * (CREATORS - 3))
        self.assertEqual(self.count(), 4)

    @override_settings(QUOTA_WORKSPACES=3)
    def test_concurrent_creators_of_workspaces_never_exceed_the_quota(self):
        path = f"/organizations/{self.acme.pk}/workspaces"

        def create(number: int) -> int:
            body = {"name": f"New {number}"}
            return int(self.call("post", path, body, self.admin).status_code)

        self.assertEqual(sorted(self.at_once(create)), [201] * 2 + [409] * (CREATORS - 2))
        self.assertEqual(Workspace.objects.filter(organization=self.acme).count(), 3)

    @override_settings(QUOTA_MEMBERS=6)
    def test_concurrent_members_never_exceed_the_quota(self):
        count = self.acme.memberships.count()
        users = [User.objects.create_user(f"new-{number}") for number in range(CREATORS)]

        def add(number: int) -> bool:
            try:
                self.acme.add_member(users[number], "viewer")
            except QuotaExceeded:
                return False
            return True

        self.assertEqual(sum(self.at_once(add)), 6 - count)
        self.assertEqual(Membership.objects.filter(organization=self.acme).count(), 6)


@override_settings(QUOTA_HISTORY_BYTES=20_000)
class HistoryQuotaTests(QuotaMixin, DataSourceTestCase):
    def fill(self) -> None:
        """Change the data source until it is refused."""
        for number in range(20):
            response = self.patch({"metadata": {**LARGE, "n": number, "m": "y" * (number % 2)}})
            if response.status_code == 409:
                return
            self.assertEqual(response.status_code, 200)
            self.patch({"metadata": {}})

    def test_history_bytes_are_those_of_all_revisions(self):
        self.create("Other", metadata={"a": "é" * 100})
        self.patch({"port": 5433, "metadata": LARGE})
        self.patch({"port": 5434})
        self.patch({})
        self.patch({"port": 5434})
        for data_source in DataSource.objects.all():
            sizes = [
                len(json.dumps(one.changes, ensure_ascii=False, separators=(",", ":")).encode())
                for one in data_source.revisions.all()
            ]
            expected = sum(sizes) + REVISION_BYTES * len(sizes)
            self.assertEqual(data_source.history_bytes, expected)

    def test_update_beyond_the_quota_is_409_and_changes_nothing(self):
        self.fill()
        before, count = self.stored(), self.data_source.revisions.count()
        self.assertLessEqual(before["history_bytes"], 20_000)
        self.assertGreater(before["history_bytes"], 17_000)
        body = {"metadata": {"text": "z" * 3_000}, "port": 1}
        for query in ("", "?dry_run=true"):
            self.assert_quota(self.patch(body, query), "history_bytes", 20_000)
        self.assertEqual((self.stored(), self.data_source.revisions.count()), (before, count))
        self.assertEqual(self.patch({}).status_code, 200)

    def test_quota_is_checked_after_412_and_before_a_connection_is_tried(self):
        self.fill()
        body = {"metadata": {"text": "z" * 3_000}}
        stale = self.patch(body, headers={"If-Match": '"1"'})
        self.assert_error(stale, 412, "PRECONDITION_FAILED")
        self.assert_quota(self.patch(body, "?verify=true"), "history_bytes", 20_000)
        self.assertFalse(ConnectionTest.objects.exists())

    def test_restore_create_and_declarations_count(self):
        self.fill()
        self.assert_quota(self.create("New", metadata=LARGE), "history_bytes", 20_000)
        other = 1 if self.stored()["metadata"] else 2
        path = f"{self.path}/history/{other}/restore"
        self.assert_quota(self.call("post", path, user=self.admin), "history_bytes", 20_000)
        entry = {"name": "Production PostgreSQL", "metadata": {"text": "z" * 3_000}}
        body = {"data_sources": [entry]}
        response = self.call("post", "/data-sources/apply", body, self.editor)
        self.assert_quota(response, "history_bytes", 20_000)

    def test_all_data_sources_of_the_organization_count_together(self):
        other = DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        self.fill()
        response = self.call("patch", f"/data-sources/{other.pk}", {"metadata": LARGE}, self.editor)
        self.assert_quota(response, "history_bytes", 20_000)
        self.data_source.delete()
        response = self.call("patch", f"/data-sources/{other.pk}", {"metadata": LARGE}, self.editor)
        self.assertEqual(response.status_code, 200)

    def test_own_quota_of_an_organization_overrides_the_default(self):
        Organization.objects.filter(pk=self.acme.pk).update(quota_history_bytes=4_000)
        self.assertEqual(self.patch({"metadata": LARGE}).status_code, 200)
        self.assert_quota(self.patch({"metadata": {}}), "history_bytes", 4_000)

    @override_settings(QUOTA_HISTORY_BYTES=10**9)
    def test_small_changes_take_no_more_statements_than_without_a_quota(self):
        with self.statements() as captured:
            self.patch({"port": 5433})
        self.assertFalse([q for q in captured.captured_queries if "SUM(" in q["sql"]])

    def test_admin_shows_the_quota_of_history(self):
        self.fill()
        client = admin_client(self.owner)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        form: Any = client.get(page).context["adminform"].form
        shown = {name: form[name].value() for name in form.fields}
        values = {name: value for name, value in shown.items() if value not in (None, False)}
        values["description"] = "d" * 5_000
        before = self.stored()
        response = client.post(page, values, follow=True)
        self.assertContains(response, "Nothing was saved. The organization may have at most 20,000")
        self.assertEqual(self.stored(), before)


@override_settings(QUOTA_HISTORY_BYTES=20_000)
class CredentialHistoryTests(QuotaMixin, CredentialTestCase):
    def test_credentials_set_in_a_loop_end_at_the_quota(self):
        statuses = []
        for number in range(120):
            body = {"password": f"p{number}", "username": f"u{number}"}
            path = f"{self.path}/credentials"
            statuses.append(self.call("put", path, body, self.editor).status_code)
        self.assertEqual({*statuses}, {200, 409})
        self.assertLessEqual(self.stored()["history_bytes"], 20_000)


class KeptAnswerQuotaTests(QuotaMixin, DataSourceTestCase):
    def keyed(self, key: str, body: Any, query: str = "", **options: Any) -> Any:
        return self.patch(body, query, headers={"Idempotency-Key": key}, **options)

    def kept(self) -> int:
        """Return the bytes of the stored bodies."""
        return sum(len(one.body or b"") for one in IdempotencyRecord.objects.all())

    @override_settings(QUOTA_KEPT_ANSWER_BYTES=10_000)
    def test_request_with_a_key_beyond_the_quota_is_409_and_changes_nothing(self):
        statuses = [self.keyed(f"k{n}", {"port": 6_000 + n}).status_code for n in range(10)]
        count = statuses.count(200)
        self.assertTrue(2 < count < 8, statuses)
        self.assertEqual(self.stored()["port"], 6_000 + count - 1)
        self.assert_quota(self.keyed("new", {"port": 1}), "kept_answer_bytes", 10_000)
        self.assertEqual(self.stored()["port"], 6_000 + count - 1)
        # What was stored is still replayed, and requests without a key go on.
        for number in range(count):
            replay = self.keyed(f"k{number}", {"port": 6_000 + number})
            self.assertEqual(replay["Idempotency-Replayed"], "true")
        self.assertEqual(self.patch({"port": 2}).status_code, 200)
        self.assert_error(self.keyed("new", {"port": 0}), 400, "BAD_REQUEST", "port")

    @override_settings(QUOTA_KEPT_ANSWER_BYTES=100)
    def test_quota_of_kept_answers_is_checked_before_a_connection_is_tried(self):
        response = self.keyed("k", {"port": 1}, "?verify=true")
        self.assert_quota(response, "kept_answer_bytes", 100)
        self.assertFalse(ConnectionTest.objects.exists())

    @override_settings(QUOTA_KEPT_ANSWER_BYTES=10_000)
    def test_answers_of_all_members_count_and_those_of_former_ones_do_not(self):
        for number in range(3):
            self.keyed(f"k{number}", {"port": 6_000 + number})
        headers = {"Idempotency-Key": "k"}
        statuses = []
        for number in range(6):
            sent = {"Idempotency-Key": f"a{number}"}
            body = {"port": 7_000 + number}
            statuses.append(
                self.call("patch", self.path, body, self.admin, headers=sent).status_code
            )
        self.assertIn(409, statuses)
        Membership.objects.get(user=self.editor, organization=self.acme).remove()
        self.assertFalse(KeptAnswers.objects.filter(user=self.editor).exists())
        response = self.call("patch", self.path, {"port": 1}, self.admin, headers=headers)
        self.assertEqual(response.status_code, 200)

    @override_settings(QUOTA_KEPT_ANSWER_BYTES=10_000)
    def test_own_quota_of_an_organization_overrides_the_default(self):
        Organization.objects.filter(pk=self.acme.pk).update(quota_kept_answer_bytes=100)
        self.assert_quota(self.keyed("a", {"port": 1}), "kept_answer_bytes", 100)
        Organization.objects.filter(pk=self.acme.pk).update(quota_kept_answer_bytes=10**9)
        for number in range(8):
            self.assertEqual(self.keyed(f"k{number}", {"port": 1 + number}).status_code, 200)

    def test_answers_count_until_they_are_deleted(self):
        self.keyed("a", {"port": 1})
        [kept] = KeptAnswers.objects.all()
        self.assertEqual((kept.organization, kept.user), (self.acme, self.editor))
        IdempotencyRecord.delete_outdated()
        self.assertTrue(KeptAnswers.objects.exists())
        with connection.cursor() as cursor:
            for table in (KeptAnswers, IdempotencyRecord):
                column = "hour" if table is KeptAnswers else "stored_at"
                cursor.execute(
                    f"UPDATE {table._meta.db_table} SET {column} = {column} - interval '26 hours'"
                )
        with override_settings(QUOTA_KEPT_ANSWER_BYTES=3_000):
            self.assertEqual(self.keyed("b", {"port": 2}).status_code, 200)
        IdempotencyRecord.delete_outdated()
        self.assertEqual(KeptAnswers.objects.count(), 1)
        self.assertEqual(IdempotencyRecord.objects.get().key, "b")

    def test_large_answers_of_updates_that_change_nothing_are_not_kept(self):
        self.patch({"metadata": {"text": "x" * 20_000}})
        dry = "?dry_run=true"
        for number, (body, query) in enumerate(
            [({}, ""), ({"port": 5432}, ""), ({"port": 1}, dry), ({"metadata": {}}, dry)] * 5
        ):
            self.assertEqual(self.keyed(f"k{number}", body, query).status_code, 200)
        self.assertEqual(IdempotencyRecord.objects.count(), 20)
        self.assertLess(self.kept(), 1_000)

    def test_restore_that_changes_nothing_keeps_no_large_answer(self):
        self.patch({"metadata": {"text": "x" * 20_000}})
        path = f"{self.path}/history/2/restore"
        sent = {"user": self.admin, "headers": {"Idempotency-Key": "k"}}
        first, again = (self.call("post", path, **sent) for _ in range(2))
        self.assertEqual(first.content, again.content)
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual((again["ETag"], self.kept()), ('"2"', 0))

    def test_replay_of_an_answer_that_was_not_kept_shows_the_current_state_and_changes_nothing(
        self,
    ):
        self.patch({"metadata": {"text": "x" * 20_000}})
        first, again = (self.keyed("k", {"port": 5432}) for _ in range(2))
        self.assertNotIn("Idempotency-Replayed", first)
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual((again.status_code, again.content), (200, first.content))
        self.assertEqual(
            (again["ETag"], again["Content-Type"]), (first["ETag"], first["Content-Type"])
        )
        self.patch({"port": 5433})
        before = self.stored()
        later = self.keyed("k", {"port": 5432})
        self.assertEqual((later["Idempotency-Replayed"], later["ETag"]), ("true", '"3"'))
        self.assertEqual(later.json()["data"]["port"], 5433)
        self.assertEqual(self.stored(), before)
        self.assert_error(self.keyed("k", {"port": 1}), 422, "IDEMPOTENCY_KEY_REUSED")
        stale = self.keyed("k", {"port": 5432}, "?verify=true")
        self.assert_error(stale, 422, "IDEMPOTENCY_KEY_REUSED")
        DataSource.objects.get(pk=self.data_source.pk).delete()
        self.assert_error(self.keyed("k", {"port": 5432}), 404, "NOT_FOUND")

    def test_replay_of_a_large_dry_run_is_another_dry_run(self):
        self.patch({"metadata": {"text": "x" * 20_000}})
        dry = "?dry_run=true"
        first, again = (self.keyed("k", {"port": 1}, dry) for _ in range(2))
        self.assertEqual((again.status_code, again["ETag"]), (200, first["ETag"]))
        self.assertEqual(again.json()["changes"], first.json()["changes"])
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(self.stored()["port"], 5432)

    def test_large_plan_of_declarations_is_not_kept_and_made_again(self):
        entries = [{"name": f"D{n}", "type": "csv"} for n in range(80)]
        self.call("post", "/data-sources/apply", {"data_sources": entries[1:]}, self.editor)
        path, headers = "/data-sources/apply?dry_run=true", {"Idempotency-Key": "k"}
        first, again = (
            self.call("post", path, {"data_sources": entries}, self.editor, headers=headers)
            for _ in range(2)
        )
        self.assertEqual((again.status_code, again.content), (200, first.content))
        self.assertEqual((again["Idempotency-Replayed"], self.kept()), ("true", 0))
        self.assertFalse(DataSource.objects.filter(name="D0").exists())

    def test_declarations_whose_changes_are_too_large_to_show_are_400(self):
        made = [
            DataSource(workspace=self.workspace, name=f"D{n}", type="csv", metadata=metadata)
            for n in range(70)
            for metadata in [{"text": "x" * 65_000}]
        ]
        DataSource.objects.bulk_create(made)
        entries = [{"name": one.name, "metadata": {}} for one in made]
        for query in ("", "?dry_run=true"):
            body = {"data_sources": entries}
            response = self.call("post", f"/data-sources/apply{query}", body, self.editor)
            self.assert_error(response, 400, "BAD_REQUEST", "data_sources")
        self.assertEqual(DataSource.objects.filter(metadata={}).count(), 1)
        body = {"data_sources": entries[:50]}
        response = self.call("post", "/data-sources/apply", body, self.editor)
        self.assertEqual(response.status_code, 200)

    def test_large_answer_of_a_change_is_replayed_as_it_was(self):
        self.patch({"metadata": {"text": "x" * 20_000}})
        first = self.keyed("k", {"port": 1})
        self.patch({"port": 2})
        self.assertEqual(self.keyed("k", {"port": 1}).content, first.content)
