"""`GET` with `If-None-Match`: 304 only if the data source reads as it did under this ETag."""

from collections.abc import Callable
from typing import Any

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.failures import Code
from datasources.connections.outcome import no_outcome
from datasources.models import DataSource, DataSourceRevision
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue_due
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client, filled_in
from organizations.models import User
from organizations.testing import sql


class ConditionalGetTests(DataSourceTestCase):
    def get(self, if_none_match: str | None = None, method: str = "get") -> Any:
        headers = {} if if_none_match is None else {"If-None-Match": if_none_match}
        return self.call(method, self.path, user=self.viewer, headers=headers)

    def reread(self) -> DataSource:
        return DataSource.objects.get(pk=self.data_source.pk)

    def assert_is_sent_again_after(self, change: Callable[[], object]) -> None:
        """Assert that the data source is 304 before the change and 200 after it, with one ETag."""
        first = self.get()
        self.assertEqual(self.get(first["ETag"]).status_code, 304)
        change()
        again = self.get(first["ETag"])
        self.assertEqual((again.status_code, again["ETag"]), (200, first["ETag"]))
        self.assertNotEqual(again.json(), first.json())
        # The tag now stands for two states, and a client may have either.
        self.assertEqual(self.get(again["ETag"]).status_code, 200)
        self.assertEqual(self.get("*").status_code, 200)
        response = self.call(
            "patch",
            self.path,
            {"port": 5433},
            self.editor,
            headers={"If-Match": first["ETag"]},
        )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.get(response["ETag"]).status_code, 304)

    def test_unchanged_data_source_is_304_without_a_body(self):
        etag = self.get()["ETag"]
        for sent in (etag, f"W/{etag}", f'"0", {etag}', f' "0" ,\t{etag}', "*"):
            for method in ("get", "head"):
                with self.subTest(sent=sent, method=method), self.statements() as captured:
                    response = self.get(sent, method)
                    self.assertEqual((response.status_code, response.content), (304, b""))
                    self.assertEqual(
                        (response["ETag"], response["Cache-Control"]), (etag, "no-store")
                    )
                    self.assertNotIn("Content-Length", response)
                self.assertEqual(len(sql(captured)), 1)
        for sent in ('"0"', 'W/"0"', "1", "", '"*"', f'"{etag}"', '"1-gzip"', '"01"', "W/1"):
            with self.subTest(sent=sent):
                self.assertEqual(self.get(sent).status_code, 200)

    def test_connection_test_makes_it_200(self):
        def finish_test() -> None:
            data_source = self.reread()
            test = ConnectionTest.objects.request(
                data_source.configuration({}), of=data_source, is_stored=True
            )
            test.finish(no_outcome(Code.TCP_REFUSED))

        self.assert_is_sent_again_after(finish_test)

    def test_connection_test_of_an_earlier_version_leaves_it_304(self):
        data_source = self.reread()
        test = ConnectionTest.objects.request(
            data_source.configuration({}), of=data_source, is_stored=True
        )
        etag = self.call("patch", self.path, {"port": 5433}, self.editor)["ETag"]
        test.finish(no_outcome(Code.TCP_REFUSED))
        self.assertEqual(self.get(etag).status_code, 304)

    def test_requested_refresh_makes_it_200(self):
        self.assert_is_sent_again_after(
            lambda: self.call("post", f"{self.path}/schema/refresh", user=self.editor)
        )

    def test_finished_refresh_makes_it_200(self):
        [running] = SchemaRefresh.objects.start([self.reread()])
        # A new version begins while the refresh runs.
        self.call("patch", self.path, {"description": "New"}, self.editor)
        self.assert_is_sent_again_after(lambda: running.finish(Code.TCP_REFUSED))

    def test_refresh_with_a_schema_makes_it_200(self):
        self.assert_is_sent_again_after(
            lambda: refresh(self.reread(), table("orders", column("id")))
        )

    def test_scheduled_refresh_makes_it_200(self):
        self.call("patch", self.path, {"schema_auto_refresh": True}, self.editor)
        self.assert_is_sent_again_after(enqueue_due)

    def test_lost_refresh_makes_it_200(self):
        SchemaRefresh.objects.start([self.reread()])
        self.call("patch", self.path, {"description": "New"}, self.editor)

        def end_lost_refreshes() -> None:
            for lost in SchemaRefresh.objects.lost():
                lost.finish(Code.DRIVER_CRASHED)

        self.assert_is_sent_again_after(end_lost_refreshes)

    def test_update_that_changes_no_value_makes_it_200(self):
        for path, body in (
            (self.path, {"port": 5432}),
            (self.path, {"name": " Production PostgreSQL "}),
            (f"{self.path}/credentials", {"username": None}),
        ):
            with self.subTest(body=body):
                self.assert_is_sent_again_after(
                    lambda path=path, body=body: self.call("patch", path, body, self.editor)
                )
                self.call("patch", self.path, {"port": 5432}, self.owner)

    def test_credentials_that_change_no_value_make_it_200(self):
        self.reread().set_credentials({"username": "reader"}, user=self.owner)
        self.assert_is_sent_again_after(
            lambda: self.reread().set_credentials({"username": "reader"}, user=self.editor)
        )

    def test_restored_version_without_changes_reads_as_before(self):
        etag = self.get()["ETag"]
        path = f"{self.path}/history/1/restore"
        self.assertEqual(self.call("post", path, user=self.admin).status_code, 200)
        self.assertEqual(self.get(etag).status_code, 304)

    def test_requests_that_change_nothing_leave_it_304(self):
        etag = self.get()["ETag"]
        for method, path, body, status in (
            ("patch", self.path, {}, 200),
            ("patch", f"{self.path}?dry_run=true", {"port": 5432}, 200),
            ("patch", f"{self.path}?dry_run=true", {"port": 1}, 200),
            ("patch", self.path, {"port": 0}, 400),
            ("patch", f"{self.path}/credentials", {}, 200),
        ):
            with self.subTest(path=path, body=body):
                response = self.call(method, path, body, self.editor)
                self.assertEqual(response.status_code, status)
                self.assertEqual(self.get(etag).status_code, 304)

    def test_deleted_author_makes_it_200(self):
        deletions: dict[str, Callable[[User], object]] = {
            "instance": lambda user: user.delete(),
            "queryset": lambda user: User.objects.filter(pk=user.pk).delete(),
            "admin": lambda user: admin_client(self.admin).post(
                f"/admin/organizations/user/{user.pk}/delete/", {"post": "yes"}
            ),
        }
        for name, delete in deletions.items():
            for role in ("created_by", "updated_by", "both"):
                with self.subTest(name, role=role):
                    author = self.make_user(f"{name}-{role}", self.acme, "editor")
                    created_by = self.owner if role == "updated_by" else author
                    updated_by = self.owner if role == "created_by" else author
                    self.data_source = DataSource.objects.create(
                        workspace=self.workspace,
                        name=f"{name} {role}",
                        type="csv",
                        created_by=created_by,
                        updated_by=updated_by,
                    )
                    self.path = f"/data-sources/{self.data_source.pk}"
                    self.assert_is_sent_again_after(lambda: delete(author))  # noqa: B023

    def test_deleted_users_leave_what_they_did_not_write_304(self):
        etag = self.get()["ETag"]
        User.objects.filter(pk__in=[self.editor.pk, self.loner.pk]).delete()
        self.assertEqual(self.get(etag).status_code, 304)

    def test_admin_form_that_changes_nothing_leaves_a_truthful_answer(self):
        staff = admin_client(self.admin)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        before = self.get()
        staff.post(page, filled_in(staff, page))
        again = self.get(before["ETag"])
        if again.status_code == 304:
            self.assertEqual(self.get().json(), before.json())

    def test_created_in_bulk_begins_as_304(self):
        [created] = DataSource.objects.bulk_create(
            [DataSource(workspace=self.workspace, name="New", type="csv")]
        )
        self.path = f"/data-sources/{created.pk}"
        self.assertEqual(self.get('"1"').status_code, 304)
        self.assertEqual(DataSourceRevision.objects.filter(data_source=created).count(), 1)
