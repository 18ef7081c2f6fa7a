"""Tests of create, list, get, delete, history and restore of data sources over HTTP."""

from unittest import mock

from django.db import transaction
from rest_framework.serializers import ModelSerializer

from datasources.models import DataSource, DataSourceRevision
from datasources.models.querysets import UnrecordedChangeError
from datasources.testing import DataSourceTestCase
from organizations.testing import sql


class DataSourceTests(DataSourceTestCase):
    def test_create_defaults_to_the_first_workspace_and_the_port_of_the_type(self):
        response = self.call("post", "/data-sources", {"name": "n", "type": "mysql"}, self.editor)
        self.assertEqual(response.status_code, 201)
        data = response.json()["data"]
        self.assertEqual((data["port"], data["workspace_id"]), (3306, self.workspace.pk))
        self.assertEqual(data["created_by_user_id"], self.editor.pk)
        self.assertEqual(response["Location"], f"/api/v1/data-sources/{data['id']}")

    def test_create_is_refused_for_viewers_and_in_other_organizations(self):
        body = {"name": "n", "type": "csv"}
        count = DataSource.objects.count()
        self.assert_error(self.call("post", "/data-sources", body), 401, "UNAUTHORIZED")
        for user in (self.viewer, self.loner):
            response = self.call("post", "/data-sources", body, user)
            self.assert_error(response, 403, "FORBIDDEN")
        elsewhere = body | {"workspace_id": self.workspace.pk}
        response = self.call("post", "/data-sources", elsewhere, self.stranger)
        self.assert_error(response, 400, "BAD_REQUEST", "workspace_id")
        response = self.call("post", "/data-sources", {"typ": "csv"}, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "name", "type", "typ")
        self.assertEqual(DataSource.objects.count(), count)

    def test_create_and_draft_refuse_secrets_and_name_the_credentials_endpoint(self):
        endpoint = "Use PUT /api/v1/data-sources/{data_source_id}/credentials."
        body = {"name": "n", "type": "mysql", "metadata": {"token": "hunter2"}}
        for path in ("/data-sources", "/data-sources/test"):
            with self.subTest(path=path):
                response = self.call("post", path, body, self.editor)
                self.assert_error(response, 400, "BAD_REQUEST", "metadata")
                [sentence] = response.json()["error"]["details"]["metadata"]
                self.assertTrue(sentence.endswith(endpoint), sentence)

    def test_get_takes_one_statement_and_honours_if_none_match(self):
        with self.statements() as captured:
            response = self.call("get", self.path, user=self.viewer)
        self.assertEqual((response.status_code, len(sql(captured))), (200, 1))
        again = self.call(
            "get", self.path, user=self.viewer, headers={"If-None-Match": response["ETag"]}
        )
        self.assertEqual((again.status_code, again.content), (304, b""))

    def test_list_takes_two_statements_and_filters_visible_data_sources(self):
        DataSource.objects.create(
            workspace=self.workspace, name="Orders", type="csv", tags=["a", "b"]
        )
        with self.statements() as captured:
            response = self.call("get", "/data-sources", user=self.viewer)
        self.assertEqual(len(sql(captured)), 2)
        names = [row["name"] for row in response.json()["data"]]
        self.assertEqual(names, ["Orders", "Production PostgreSQL"])
        self.assertEqual(self.call("get", "/data-sources", user=self.stranger).json()["data"], [])
        for query, expected in (
            ("type=csv", ["Orders"]),
            ("tag=a&tag=b", ["Orders"]),
            ("tag=a&tag=c", []),
            ("search=order", ["Orders"]),
            ("search=DB.EXAMPLE", ["Production PostgreSQL"]),
            ("updated_after=2999-01-01T00:00:00Z", []),
            ("updated_before=2999-01-01T00:00:00%2B23:44&type=csv", ["Orders"]),
            (f"workspace_id={self.workspace.pk}&type=csv", ["Orders"]),
            (f"organization_id={self.globex.pk}", []),
            (f"organization_id={'9' * 18}", []),
            ("search=", ["Orders", "Production PostgreSQL"]),
            ("status=error", []),
            ("credentials_status=set", []),
        ):
            with self.subTest(query=query):
                rows = self.call("get", f"/data-sources?{query}", user=self.viewer).json()["data"]
                self.assertEqual([row["name"] for row in rows], expected)
        for query in (
            *("type=x", "type=", "updated_after=2024-01-01", "status="),
            *("workspace_id=x", "workspace_id=", "workspace_id=1_0", "workspace_id=1.0"),
            *("organization_id=%2B1", "organization_id=%D9%A1", f"organization_id={'9' * 19}"),
            *("tag=%00", "tag=", f"tag={'t' * 65}", "search=%00", f"search={'s' * 101}"),
        ):
            with self.subTest(query=query):
                response = self.call("get", f"/data-sources?{query}", user=self.viewer)
                self.assert_error(response, 400, "BAD_REQUEST", query.partition("=")[0])

    def test_serializer_fields_are_built_once(self):
        calls = (
            ("get", self.path, None),
            ("get", "/data-sources", None),
            ("patch", self.path, {"port": 1}),
            ("get", f"{self.path}/history", None),
        )
        for call in calls:
            self.assertEqual(self.call(*call, self.editor).status_code, 200)
        with mock.patch.object(ModelSerializer, "build_field") as build:
            for call in calls:
                self.assertEqual(self.call(*call, self.editor).status_code, 200)
        build.assert_not_called()

    def test_only_admins_delete_data_sources(self):
        self.assert_error(self.call("delete", self.path, user=self.editor), 403, "FORBIDDEN")
        response = self.call("delete", self.path, user=self.admin)
        self.assertEqual((response.status_code, response.content), (204, b""))
        self.assert_error(self.call("get", self.path, user=self.admin), 404, "NOT_FOUND")

    def test_history_shows_author_and_changes_and_can_be_restored(self):
        self.call(
            "patch", self.path, {"port": 1}, self.editor, headers={"X-Request-ID": "change-1"}
        )
        self.data_source.apply_changes({"port": 2, "host": "other"}, user=self.admin)
        history = self.call("get", f"{self.path}/history", user=self.viewer).json()["data"]
        self.assertEqual([entry["version"] for entry in history], [3, 2, 1])
        self.assertEqual([entry["origin"] for entry in history], ["shell", "api", "shell"])
        self.assertEqual(history[1]["changes"], {"port": {"from": 5432, "to": 1}})
        self.assertEqual([entry["request_id"] for entry in history[:2]], ["", "change-1"])
        self.assertEqual(history[1]["changed_by_user_id"], self.editor.pk)

        path = f"{self.path}/history/1/restore"
        self.assert_error(self.call("post", path, user=self.editor), 403, "FORBIDDEN")
        response = self.call("post", path, user=self.admin)
        data = response.json()["data"]
        self.assertEqual((data["port"], data["host"], data["version"]), (5432, "db.example.com", 4))
        self.assertEqual(self.data_source.revisions.first().origin, "restore")
        for version in ("0", "5", "x", "9" * 30):
            missing = self.call("post", f"{self.path}/history/{version}/restore", user=self.admin)
            self.assert_error(missing, 404, "NOT_FOUND")

    def test_restore_is_409_if_the_name_has_been_taken(self):
        self.call("patch", self.path, {"name": "New"}, self.editor)
        DataSource.objects.create(
            workspace=self.workspace, name="production postgresql", type="csv"
        )
        response = self.call("post", f"{self.path}/history/1/restore", user=self.admin)
        self.assert_error(response, 409, "CONFLICT")
        self.assertEqual(self.stored()["name"], "New")

    def test_unknown_parameters_and_bodies_are_refused(self):
        self.call("patch", self.path, {"port": 1}, self.editor)
        before = self.stored()
        restore = f"{self.path}/history/1/restore"
        body = {"name": "n", "type": "csv"}
        for method, path, data in (
            ("delete", f"{self.path}?dry_run=true", None),
            ("post", f"{restore}?dry_run=true", None),
            ("post", "/data-sources?dry_run=true", body),
            ("patch", f"{self.path}?dryrun=true", {"port": 2}),
        ):
            with self.subTest(method=method, path=path):
                response = self.call(method, path, data, self.owner)
                self.assert_error(response, 400, "BAD_REQUEST", path.partition("?")[2][:-5])
        for method, path in (("delete", self.path), ("post", restore)):
            for data, media_type, status in (
                (b"x", "text/plain", 415),
                (b"{", "application/json", 400),
                (b'{"a": 1}', "application/json", 400),
                (b" " * (1024 * 1024 + 1), "application/json", 413),
            ):
                with self.subTest(method=method, status=status):
                    response = self.call(method, path, data, self.owner, content_type=media_type)
                    self.assertEqual(response.status_code, status)
        self.assertEqual(self.stored(), before)
        self.assertEqual(DataSource.objects.count(), 1)
        self.assertEqual(self.call("post", restore, b"{}", self.owner).status_code, 200)

    def test_data_source_cannot_be_changed_without_a_revision(self):
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        data_source.port = 1
        for change in (
            data_source.save,
            lambda: DataSource.objects.update(port=1),
            lambda: DataSource.objects.bulk_update([data_source], ["port"]),
        ):
            with self.assertRaises(UnrecordedChangeError), transaction.atomic():
                change()
        self.assertEqual(self.stored()["port"], 5432)
        self.assertEqual(DataSourceRevision.objects.count(), 1)

    def test_only_members_of_an_organization_list_the_source_types(self):
        response = self.call("get", "/data-source-types", user=self.viewer)
        types = {entry["type"]: entry for entry in response.json()["data"]}
        self.assertEqual({*types}, {*DataSource.Type.values})
        self.assertTrue(types["postgresql"]["driver_installed"])
        self.assertIn("password", types["postgresql"]["credential_fields"])
        self.assertEqual(types["csv"]["credential_fields"], [])
        links = dict.fromkeys(("next", "next_cursor", "previous", "previous_cursor"))
        self.assertEqual(response.json()["pagination"], links | {"page_size": len(types)})
        self.assert_error(self.call("get", "/data-source-types", user=self.loner), 403, "FORBIDDEN")
