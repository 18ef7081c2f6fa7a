"""Tests of PATCH /api/v1/data-sources/{data_source_id} over HTTP."""

import re
from typing import Any

from django.utils import timezone

from datasources.models import DataSource
from datasources.testing import SEED_REQUEST, SEED_RESPONSE, DataSourceTestCase
from organizations.models import Membership, Role, User
from organizations.testing import sql


class UpdateDataSourceTests(DataSourceTestCase):
    def patch(self, data: Any, user: User | None = None, **extra: Any) -> Any:
        return self.call("patch", self.path, data, user or self.editor, **extra)

    def test_response_of_patch_matches_the_example_of_the_document(self):
        started_at = timezone.now()
        response = self.patch(SEED_REQUEST, self.owner)
        self.assertEqual(response.status_code, 200)
        body = response.json()
        # What changed is beside what the document has.
        self.assertEqual(body.keys(), SEED_RESPONSE.keys() | {"changes"})
        self.assertEqual(body["message"], SEED_RESPONSE["message"])
        ids = {
            "id": self.data_source.pk,
            "organization_id": self.acme.pk,
            "workspace_id": self.workspace.pk,
            "updated_by_user_id": self.owner.pk,
        }
        for field, value in SEED_RESPONSE["data"].items():
            with self.subTest(field=field):
                if field == "updated_at":
                    updated_at = self.read_time(body["data"][field])
                    self.assertTrue(started_at <= updated_at <= timezone.now())
                else:
                    self.assertEqual(body["data"][field], ids.get(field, value))

    def test_response_of_patch_equals_the_response_of_get(self):
        response = self.patch(SEED_REQUEST)
        self.assertEqual(
            response.json()["data"], self.call("get", self.path, user=self.viewer).json()["data"]
        )

    def test_patch_leaves_other_fields_unchanged(self):
        before = self.stored()
        self.patch({"port": 5433})
        changed = {"port", "version", "history_bytes", "updated_at", "updated_by_id"}
        after = self.stored()
        self.assertEqual({field for field in before if before[field] != after[field]}, changed)

    def test_patch_takes_two_statements(self):
        with self.statements() as captured:
            self.assertEqual(self.patch(SEED_REQUEST).status_code, 200)
        self.assertEqual(len(sql(captured)), 2, sql(captured))
        select, write = sql(captured)
        self.assertIn("FOR NO KEY UPDATE", select)
        update, _, insert = write.partition(" WHERE ")
        columns = {*re.findall(r'"(\w+)" = ', update)}
        bookkeeping = {
            "version",
            "has_changed_within_version",
            "history_bytes",
            "updated_at",
            "updated_by_id",
        }
        self.assertEqual(columns, {*SEED_REQUEST, *bookkeeping})
        self.assertIn("datasourcerevision", insert)

    def test_patch_with_an_equal_value_sets_updated_at_and_updated_by(self):
        before = self.stored()
        response = self.patch({"port": 5432})
        after = self.stored()
        self.assertEqual(response.status_code, 200)
        self.assertGreater(after["updated_at"], before["updated_at"])
        self.assertEqual(after["updated_by_id"], self.editor.pk)
        self.assertEqual(after["version"], 1)
        self.assertEqual(self.data_source.revisions.count(), 1)

    def test_patch_with_an_empty_object_changes_nothing(self):
        before = self.stored()
        with self.statements() as captured:
            self.assertEqual(self.patch({}).status_code, 200)
        self.assertEqual(len(sql(captured)), 1)
        self.assertEqual(self.stored(), before)

    def test_patch_accepts_the_body_of_get(self):
        before = self.stored()
        shown = self.call("get", self.path, user=self.editor).json()["data"]
        self.assertEqual(self.patch(shown).status_code, 200)
        after = self.stored()
        self.assertEqual(after["version"], 1)
        audit = {"updated_at": None, "updated_by_id": None, "has_changed_within_version": None}
        self.assertEqual(before | audit, after | audit)
        self.assertEqual(self.patch(self.shown() | {"port": 5433}).status_code, 200)
        self.assertEqual(self.stored()["port"], 5433)

    def test_null_clears_nullable_fields(self):
        for field in ("host", "port", "database_name", "schema_name", "ssh_port"):
            with self.subTest(field=field):
                self.assertEqual(self.patch({field: None}).status_code, 200)
                self.assertIsNone(self.stored()[field])

    def test_unknown_fields_are_named_with_the_nearest_known_field(self):
        response = self.assert_refused({"hst": "db", "no_such_thing": 1}, "hst", "no_such_thing")
        details = response.json()["error"]["details"]
        self.assertEqual(details["hst"], ["Unknown field. Did you mean host?"])
        self.assertEqual(details["no_such_thing"], ["Unknown field."])

    def test_unknown_fields_may_have_any_name(self):
        for name in ("non_field_errors", "__all__", "detail", "None", "", " ", "é"):
            with self.subTest(name=name):
                error = self.assert_refused({name: 1}, name).json()["error"]
                self.assertEqual(error["details"][name], ["Unknown field."])

    def test_read_only_fields_are_reported_after_many_unknown_fields(self):
        body = {**{f"u{number}": 1 for number in range(80)}, "id": 999, "password": "x"}
        details = self.patch(body).json()["error"]["details"]
        self.assertLessEqual({"u0", "id", "password"}, details.keys())
        self.assertLess(len(details), 60)

    def test_names_of_secrets_are_refused_with_the_credentials_endpoint(self):
        endpoint = f"Use PUT /api/v1/data-sources/{self.data_source.pk}/credentials."
        for field, value in (
            ("password", "hunter2"),
            ("metadata", {"db_password": "hunter2"}),
            ("connection_string", "postgresql://db/x?api_key=hunter2"),
        ):
            with self.subTest(field=field):
                details = self.assert_refused({field: value}, field).json()["error"]["details"]
                self.assertTrue(details[field][0].endswith(endpoint), details)

    def test_credential_fields_are_refused_with_their_endpoint(self):
        for field in (
            *("password", "username", "ssh_private_key", "token", "service_account_json"),
            *("pwd", "api_key", "dbPassword", "credentials"),
        ):
            with self.subTest(field=field):
                response = self.assert_refused({field: "hunter2"}, field)
                self.assertIn("/credentials", response.json()["error"]["details"][field][0])
                self.assertNotIn("hunter2", response.content.decode())

    def test_changed_values_of_read_only_fields_are_refused(self):
        version_as = {"true": True, "float": 1.0, "text": "1"}
        cases = [("version", value) for value in version_as.values()] + [
            ("id", 999),
            ("organization_id", self.globex.pk),
            ("workspace_id", self.globex.workspaces.get().pk),
            ("type", "mysql"),
            ("status", "error"),
            ("credentials_status", "set"),
            ("created_at", "2020-01-01T00:00:00Z"),
            ("updated_at", "2020-01-01T00:00:00Z"),
            ("created_by_user_id", None),
            ("updated_by_user_id", self.stranger.pk),
        ]
        for field, value in cases:
            with self.subTest(field=field, value=value):
                self.assert_refused({field: value, "port": 5433}, field)

    def test_all_invalid_fields_are_reported_at_once(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        self.assert_refused(
            {
                "name": "taken",
                "port": 0,
                "host": "a b",
                "tags": ["a", "a"],
                "nme": 1,
                "use_ssh_tunnel": True,
            },
            *("name", "port", "host", "tags", "nme", "ssh_host", "ssh_username"),
        )

    def test_taken_name_is_refused_ignoring_case(self):
        DataSource.objects.create(workspace=self.workspace, name="Ärger", type="csv")
        for name in ("Ärger", "ärger", "ÄRGER", "  ärger "):
            with self.subTest(name=name):
                self.assert_refused({"name": name}, "name")
        self.assertEqual(self.patch({"name": self.data_source.name.upper()}).status_code, 200)

    def test_name_may_be_taken_in_another_workspace(self):
        other = self.acme.workspaces.create(name="Staging")
        DataSource.objects.create(workspace=other, name="Shared name", type="csv")
        self.assertEqual(self.patch({"name": "Shared name"}).status_code, 200)

    def test_tunnel_fields_are_checked_after_the_update(self):
        self.assert_refused({"use_ssh_tunnel": True}, "ssh_host", "ssh_username")
        tunnel = {"use_ssh_tunnel": True, "ssh_host": "bastion.example.com", "ssh_username": "me"}
        self.assertEqual(self.patch(tunnel).status_code, 200)
        self.assert_refused({"ssh_host": None}, "ssh_host")
        self.assertEqual(self.patch({"use_ssh_tunnel": False, "ssh_host": None}).status_code, 200)

    def test_patch_needs_no_reachable_source(self):
        self.assertEqual(self.patch({"host": "no-such-host.invalid", "port": 1}).status_code, 200)

    def test_unknown_query_parameter_is_refused_with_the_nearest_known(self):
        response = self.call("patch", f"{self.path}?dryrun=true", {"port": 5433}, self.editor)
        error = self.assert_error(response, 400, "BAD_REQUEST", "dryrun")
        self.assertIn("dry_run", error["details"]["dryrun"][0])
        self.assertEqual(self.stored()["port"], 5432)

    def test_metadata_and_tags_keep_large_numbers_and_order(self):
        metadata = {"n": 12345678901234567890123, "f": 1.5, "big": 1e300, "z": [1, {"a": None}]}
        self.assertEqual(self.patch({"metadata": metadata, "tags": ["b", "a"]}).status_code, 200)
        shown = self.call("get", self.path, user=self.viewer).json()["data"]
        self.assertEqual(shown["metadata"]["n"], 12345678901234567890123)
        self.assertEqual(float(shown["metadata"]["big"]), 1e300)
        self.assertEqual(shown["tags"], ["b", "a"])
        self.patch({"metadata": metadata})
        self.assertEqual(self.stored()["version"], 2)

    def test_negative_zero_is_stored_as_zero(self):
        for _ in range(2):
            self.patch(b'{"metadata": {"zero": -0.0}}')
        self.assertEqual(self.stored()["version"], 2)
        self.assertEqual(str(self.stored()["metadata"]["zero"]), "0.0")

    def test_true_and_1_differ_in_metadata(self):
        self.patch({"metadata": {"flag": 1}})
        self.patch({"metadata": {"flag": True}})
        self.assertIs(self.stored()["metadata"]["flag"], True)

    # Preconditions

    def test_patch_with_stale_if_match_changes_nothing(self):
        for if_match in ('"2"', 'W/"1"', '"x"', '"1x"', '"1-gzip"', '"01"', '"2", W/"1"'):
            with self.subTest(if_match=if_match):
                response = self.patch({"port": 5433}, headers={"If-Match": if_match})
                self.assert_error(response, 412, "PRECONDITION_FAILED")
                self.assertEqual(response["ETag"], '"1"')
                self.assertEqual(self.stored()["port"], 5432)

    def test_patch_with_current_if_match_succeeds(self):
        for if_match in ('"1"', '"7", "2"', "*"):
            with self.subTest(if_match=if_match):
                version = self.stored()["version"]
                response = self.patch({"port": 6000 + version}, headers={"If-Match": if_match})
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response["ETag"], f'"{version + 1}"')

    def test_body_is_checked_before_the_precondition(self):
        response = self.patch({"port": 0}, headers={"If-Match": '"9"'})
        self.assert_error(response, 400, "BAD_REQUEST", "port")

    def test_patch_with_stale_if_match_is_not_compared_with_the_stored_row(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        stale = {"If-Match": '"9"'}
        for body in (
            {"name": "TAKEN"},
            {"use_ssh_tunnel": True},
            {"id": self.data_source.pk + 1},
            self.shown() | {"version": 9},
        ):
            with self.subTest(body=body):
                response = self.patch(body, headers=stale)
                self.assert_error(response, 412, "PRECONDITION_FAILED")

    def test_invalid_patch_is_400_at_any_version(self):
        for body, field in (({"port": 0}, "port"), ({"nmae": "x"}, "nmae")):
            with self.subTest(body=body):
                response = self.patch(body | {"id": 0}, headers={"If-Match": '"9"'})
                error = self.assert_error(response, 400, "BAD_REQUEST", field)
                self.assertEqual([*error["details"]], [field])

    def test_message_of_a_stale_if_match_names_both_versions(self):
        response = self.patch({"port": 5433}, headers={"If-Match": '"9"'})
        error = self.assert_error(response, 412, "PRECONDITION_FAILED")
        self.assertEqual(error["message"], 'Version 1 is current; If-Match named "9".')

    # Dry run

    def test_dry_run_stores_nothing(self):
        before = self.stored()
        response = self.call("patch", f"{self.path}?dry_run=true", SEED_REQUEST, self.editor)
        body = response.json()
        self.assertEqual(response.status_code, 200)
        self.assertEqual(body["data"]["name"], "Updated PostgreSQL")
        self.assertEqual(body["changes"]["port"], {"from": 5432, "to": 5433})
        self.assertEqual(body["changes"].keys(), SEED_REQUEST.keys())
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.data_source.revisions.count(), 1)

    def test_dry_run_refuses_invalid_values(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        for body, field in (({"port": 0}, "port"), ({"name": "TAKEN"}, "name")):
            with self.subTest(field=field):
                response = self.call("patch", f"{self.path}?dry_run=true", body, self.editor)
                self.assert_error(response, 400, "BAD_REQUEST", field)

    def test_invalid_values_of_dry_run_are_refused(self):
        for value in ("1", "yes", "", "True", "true&dry_run=false"):
            with self.subTest(value=value):
                path = f"{self.path}?dry_run={value}"
                response = self.call("patch", path, {"port": 5433}, self.editor)
                self.assert_error(response, 400, "BAD_REQUEST", "dry_run")
                self.assertEqual(self.stored()["port"], 5432)

    # Merge patch

    def test_json_body_replaces_metadata_whole(self):
        self.patch({"metadata": {"a": 1, "b": {"c": 2}}})
        self.patch({"metadata": {"d": 4}})
        self.assertEqual(self.stored()["metadata"], {"d": 4})

    def test_merge_patch_merges_metadata(self):
        self.patch({"metadata": {"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2]}})
        response = self.merge(b'{"metadata": {"a": null, "b": {"c": 9}, "e": [3]}, "port": 5433}')
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.stored()["metadata"], {"b": {"c": 9, "d": 3}, "e": [3]})
        self.assertEqual(self.stored()["port"], 5433)

    def test_merged_metadata_is_checked(self):
        self.patch({"metadata": {"text": "x" * 65_000}})
        for body in (b'{"metadata": {"more": "%s"}}' % (b"y" * 1000), b'{"metadata": {"pwd": 1}}'):
            with self.subTest(body=body[:20]):
                self.assert_error(self.merge(body), 400, "BAD_REQUEST", "metadata")
        self.assert_error(self.merge(b'{"metadata": null}'), 400, "BAD_REQUEST", "metadata")
        deep = b'{"metadata": ' + b'{"a":' * 800 + b"1" + b"}" * 800 + b"}"
        self.assert_error(self.merge(deep), 400, "BAD_REQUEST", "metadata")
        self.assertEqual(self.stored()["version"], 2)

    # Roles

    def test_editors_admins_and_owners_may_update(self):
        for user in (self.editor, self.admin, self.owner):
            with self.subTest(user=user.username):
                self.assertEqual(self.patch({"description": user.username}, user).status_code, 200)
                self.assertEqual(self.stored()["updated_by_id"], user.pk)

    def test_viewers_may_not_update(self):
        before = self.stored()
        self.assert_error(self.patch({"port": 5433}, self.viewer), 403, "FORBIDDEN")
        self.assertEqual(self.stored(), before)

    def test_users_without_an_organization_may_not_update(self):
        self.assert_error(self.patch({"port": 5433}, self.loner), 403, "FORBIDDEN")

    def test_data_sources_of_other_organizations_are_404(self):
        before = self.stored()
        other = self.patch({"port": 5433}, self.stranger)
        missing = self.call("patch", "/data-sources/999999", {"port": 5433}, self.stranger)
        self.assert_error(other, 404, "NOT_FOUND")
        self.assert_error(missing, 404, "NOT_FOUND")
        errors = [response.json()["error"] for response in (other, missing)]
        for error in errors:
            error.pop("request_id")
        self.assertEqual(*errors)
        self.assertEqual(self.stored(), before)

    def test_only_the_role_in_the_organization_of_the_data_source_counts(self):
        Membership.objects.create(user=self.viewer, organization=self.globex, role=Role.OWNER)
        self.assert_error(self.patch({"port": 5433}, self.viewer), 403, "FORBIDDEN")

    def test_malformed_ids_are_404(self):
        for text in ("abc", "-1", "0", "1.5", "١", "9223372036854775808", "9" * 400, "1%00", "+1"):
            with self.subTest(id=text):
                path = f"/data-sources/{text}"
                response = self.call("patch", path, {"port": 5433}, self.editor)
                self.assert_error(response, 404, "NOT_FOUND")

    def test_checks_of_patch_run_in_the_order_of_the_contract(self):
        bad: dict[str, Any] = {"data": b"{", "content_type": "text/plain"}
        anonymous = self.call("patch", "/data-sources/999999", **bad)
        self.assert_error(anonymous, 401, "UNAUTHORIZED")
        loner = self.call("patch", "/data-sources/999999", user=self.loner, **bad)
        self.assert_error(loner, 403, "FORBIDDEN")
        missing = self.call("patch", "/data-sources/999999", user=self.viewer, **bad)
        self.assert_error(missing, 404, "NOT_FOUND")
        viewer = self.call("patch", self.path, user=self.viewer, **bad)
        self.assert_error(viewer, 403, "FORBIDDEN")
        media_type = self.call("patch", self.path, user=self.editor, **bad)
        self.assert_error(media_type, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_too_large_body_is_refused_after_role_and_media_type(self):
        large: dict[str, Any] = {"data": b" " * (1024 * 1024 + 1)}
        missing = self.call("patch", "/data-sources/999999", user=self.editor, **large)
        self.assert_error(missing, 404, "NOT_FOUND")
        viewer = self.call("patch", self.path, user=self.viewer, **large)
        self.assert_error(viewer, 403, "FORBIDDEN")
        text = self.call("patch", self.path, user=self.editor, content_type="text/plain", **large)
        self.assert_error(text, 415, "UNSUPPORTED_MEDIA_TYPE")
        editor = self.call("patch", self.path, user=self.editor, **large)
        self.assert_error(editor, 413, "PAYLOAD_TOO_LARGE")

    def merge(self, body: bytes) -> Any:
        return self.patch(body, content_type="application/merge-patch+json")

    def assert_refused(self, body: Any, *fields: str) -> Any:
        """Assert that a body is 400 for exactly these fields and changes nothing."""
        before = self.stored()
        response = self.patch(body)
        self.assert_error(response, 400, "BAD_REQUEST", *fields)
        self.assertEqual(self.stored(), before)
        return response
