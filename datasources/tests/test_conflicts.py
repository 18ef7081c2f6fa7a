"""Tests of preconditions: `version` in the body, `error.conflict` and `?allow_disjoint=true`."""

from typing import Any
from unittest import mock

from jsonschema import Draft202012Validator

from datasources import preconditions
from datasources.models import DataSource, DataSourceRevision
from datasources.testing import DataSourceTestCase
from organizations.models import Organization
from organizations.testing import sql

NO_VERSIONS: tuple[Any, ...] = (0, -1, True, False, "3", 3.0, 1.5, None, [], {}, 10**30, 2**63)
OBSERVED = {
    "status": "error",
    "last_test": {"ok": True},
    "schema_status": "failed",
    "schema_refreshed_at": "2024-01-01T00:00:00Z",
    "schema_next_refresh_at": "2024-01-01T00:00:00Z",
    "updated_at": "2024-01-01T00:00:00Z",
    "updated_by_user_id": 0,
}


class ConflictTestCase(DataSourceTestCase):
    def patch(
        self, body: Any, if_match: str | None = None, query: str = "", user: Any = None
    ) -> Any:
        headers = {} if if_match is None else {"If-Match": if_match}
        return self.call("patch", f"{self.path}{query}", body, user or self.admin, headers=headers)

    def change(self, **changes: Any) -> None:
        """Change fields as another writer; that is one version more."""
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        assert data_source.apply_changes(changes, user=self.editor)

    def enter(self, **credentials: str | None) -> None:
        """Enter credentials as another writer."""
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        data_source.set_credentials(credentials, user=self.editor)

    def conflict(self, response: Any) -> Any:
        return self.assert_error(response, 412, "PRECONDITION_FAILED")["conflict"]


class BodyVersionTests(ConflictTestCase):
    def test_get_body_can_be_sent_back_after_its_author_was_deleted(self):
        author = self.make_user("author", self.acme, "editor")
        self.data_source = DataSource.objects.create(
            workspace=self.workspace,
            name="Of the author",
            type="csv",
            created_by=author,
            updated_by=author,
        )
        self.path = f"/data-sources/{self.data_source.pk}"
        body = self.shown() | {"port": 5433}
        creator = "created_by_user_id"
        self.assert_error(self.patch(body | {creator: author.pk + 1}), 400, "BAD_REQUEST", creator)
        author.delete()
        for odd in ("author", 0, 1.0, True):
            self.assert_error(self.patch(body | {creator: odd}), 400, "BAD_REQUEST", creator)
        self.assert_error(self.patch({creator: body[creator]}), 400, "BAD_REQUEST", creator)
        response = self.patch(body)
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual([*response.json()["changes"]], ["port"])

    def test_get_body_can_be_edited_and_sent_back_after_a_test(self):
        body = self.shown()
        result = {"ok": False, "version": 1}
        DataSource.objects.filter(pk=self.data_source.pk).record_test(result, version=1)
        response = self.patch(body | {"port": 5433})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual([*response.json()["changes"]], ["port"])
        self.assertEqual(self.stored()["status"], "error")

    def test_observed_fields_are_ignored_with_the_stored_version(self):
        for name, value in OBSERVED.items():
            for odd in (value, None, {"deep": [1]}, 7):
                with self.subTest(name=name, value=odd):
                    before = self.stored()[name.replace("_user_id", "_id")]
                    response = self.patch({"version": 1, name: odd})
                    self.assertEqual(response.status_code, 200, response.content)
                    self.assertEqual(response.json()["changes"], {})
                    self.assertEqual(self.stored()[name.replace("_user_id", "_id")], before)

    def test_observed_fields_must_be_equal_without_a_version(self):
        for name, value in OBSERVED.items():
            with self.subTest(name=name):
                self.assert_error(self.patch({name: value}), 400, "BAD_REQUEST", name)
                self.assertEqual(self.patch({name: self.shown()[name]}).status_code, 200)
                with_header = self.patch({name: value}, '"1"')
                self.assert_error(with_header, 400, "BAD_REQUEST", name)

    def test_other_read_only_fields_must_be_equal_with_the_stored_version(self):
        for name, value in (
            *(("id", 0), ("organization_id", 0), ("workspace_id", 0), ("type", "csv")),
            *(("ssh_host_key", "x"), ("credentials_status", "set"), ("created_by_user_id", 0)),
            ("created_at", "2024-01-01T00:00:00Z"),
        ):
            with self.subTest(name=name):
                refused = self.patch({"version": 1, name: value})
                self.assert_error(refused, 400, "BAD_REQUEST", name)

    def test_another_version_is_412_and_changes_nothing(self):
        self.change(port=5433)
        before = self.stored()
        for version in (1, 3, 2**63 - 1):
            for body in ({"description": "new"}, {}, {"id": 0}, {"name": "new", **OBSERVED}):
                with self.subTest(version=version, body=body):
                    response = self.patch({"version": version, **body})
                    error = self.assert_error(response, 412, "PRECONDITION_FAILED")
                    self.assertEqual(response["ETag"], '"2"')
                    self.assertEqual(
                        error["message"],
                        f"Version 2 is current; version in the body is {version}.",
                    )
        self.assertEqual(self.stored(), before)

    def test_fault_that_needs_no_stored_row_is_400_whatever_the_version(self):
        for version in (1, 2):
            refused = self.patch({"version": version, "port": 0})
            self.assert_error(refused, 400, "BAD_REQUEST", "port")

    def test_body_version_that_is_no_version_is_400_with_other_faults(self):
        for version in NO_VERSIONS:
            with self.subTest(version=version):
                refused = self.patch({"version": version, "port": 0}, '"9"')
                self.assert_error(refused, 400, "BAD_REQUEST", "port", "version")
        self.assertEqual(self.patch(b'{"version": 1e0}').status_code, 400)

    def test_version_is_400_in_a_create(self):
        body = {"name": "New", "type": "csv", "version": 1}
        response = self.call("post", "/data-sources", body, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "version")

    def test_drafts_compare_version_as_any_read_only_field(self):
        self.change(port=5433)
        for version in (1, 3, None):
            body = {"based_on": self.data_source.pk, "version": version}
            response = self.call("post", "/data-sources/test", body, self.editor)
            self.assert_error(response, 400, "BAD_REQUEST", "version")

    def test_version_and_if_match_must_both_hold(self):
        self.change(port=5433)
        for version, if_match, status in (
            *((2, '"2"', 200), (2, "*", 200), (2, '"1"', 412), (1, '"2"', 412)),
            *((1, "*", 412), (1, '"1"', 412), (2, 'W/"2"', 412), (2, "2", 400)),
        ):
            with self.subTest(version=version, if_match=if_match):
                response = self.patch({"version": version}, if_match)
                self.assertEqual(response.status_code, status, response.content)

    def test_version_counts_as_if_match_where_that_is_required(self):
        Organization.objects.filter(pk=self.acme.pk).update(requires_if_match=True)
        self.assert_error(self.patch({}), 428, "PRECONDITION_REQUIRED")
        self.assert_error(self.patch({"version": "1"}), 400, "BAD_REQUEST", "version")
        self.assertEqual(self.patch({"version": 1}).status_code, 200)
        self.assertEqual(self.patch({"version": 1}, "*").status_code, 200)
        self.assert_error(self.patch({"version": 2}), 412, "PRECONDITION_FAILED")

    def test_merge_patch_body_has_a_version_too(self):
        for body, status in ((b'{"version": 1}', 200), (b'{"version": 2}', 412)):
            response = self.call(
                "patch", self.path, body, self.admin, content_type="application/merge-patch+json"
            )
            self.assertEqual(response.status_code, status)

    def test_version_takes_no_extra_statement(self):
        with self.statements() as captured:
            self.assertEqual(self.patch({"version": 1, "port": 5433}).status_code, 200)
        self.assertEqual(len(sql(captured)), 2, captured.captured_queries)


class ConflictTests(ConflictTestCase):
    def test_412_tells_what_came_after_the_version_that_was_named(self):
        self.change(port=5433, description="New")
        self.enter(password="hunter2")
        self.change(tags=["a"])
        history = self.call("get", f"{self.path}/history?page_size=3", user=self.viewer).json()
        conflict = self.conflict(self.patch({"port": 5434, "name": "New"}, '"1"'))
        members = ("version", "changed_at", "changed_by_user_id", "origin")
        self.assertEqual(
            conflict,
            {
                "version": 4,
                "changed_since": [
                    {name: entry[name] for name in members} | {"fields": [*entry["changes"]]}
                    for entry in reversed(history["data"])
                ],
                "overlapping": ["port"],
            },
        )
        self.assertNotIn("hunter2", str(conflict))

    def test_version_that_never_was_has_no_changes_since(self):
        self.change(port=5433)
        for if_match in ('"0"', '"3"', '"99"', '"x"', '"1-gzip"', 'W/"1"', '"01"', '"-1"', '""'):
            with self.subTest(if_match=if_match):
                conflict = self.conflict(self.patch({"port": 1}, if_match))
                self.assertEqual(conflict, {"version": 2, "changed_since": [], "overlapping": []})
        self.assertEqual(self.conflict(self.patch({"version": 9}))["changed_since"], [])

    def test_oldest_of_several_versions_counts(self):
        for port in range(5433, 5436):
            self.change(port=port)
        for if_match, version, first in (
            *(('"3", "2"', None, 3), ('"99", "2"', None, 3), ('"x", "1", W/"3"', None, 2)),
            *(('"3"', 2, 3), ('"2"', 3, 3), ('"4"', 2, 3), ("*", 3, 4)),
        ):
            with self.subTest(if_match=if_match, version=version):
                body = {} if version is None else {"version": version}
                conflict = self.conflict(self.patch(body, if_match))
                self.assertEqual(conflict["changed_since"][0]["version"], first)

    def test_message_says_which_version_is_current_and_what_was_wrong(self):
        self.change(port=5433)
        for if_match, words in (
            ('"1"', 'Version 2 is current; If-Match named "1".'),
            ('W/"2"', "A weak tag (W/) never matches."),
            ('"2-gzip"', "This is not an ETag of a version."),
        ):
            with self.subTest(if_match=if_match):
                error = self.assert_error(self.patch({}, if_match), 412, "PRECONDITION_FAILED")
                self.assertIn(words, error["message"])
                self.assertTrue(error["message"].startswith("Version 2 is current; "))

    def test_50_versions_are_listed_and_all_are_compared(self):
        self.change(description="First")
        for number in range(50):
            self.change(port=6000 + number)
        conflict = self.conflict(self.patch({"description": "x", "name": "y"}, '"2"'))
        self.assertNotIn("truncated", conflict)
        self.assertEqual(len(conflict["changed_since"]), 50)
        self.assertEqual(conflict["overlapping"], [])
        self.change(description="Last")
        conflict = self.conflict(self.patch({"description": "x", "name": "y"}, '"2"'))
        self.assertIs(conflict["truncated"], True)
        self.assertEqual([one["version"] for one in conflict["changed_since"]], [*range(3, 53)])
        self.assertEqual(conflict["overlapping"], ["description"])

    def test_large_changes_are_not_loaded(self):
        for number in range(3):
            self.change(metadata={"text": str(number) * 60_000})
        with self.statements() as captured:
            response = self.patch({"metadata": {}}, '"1"')
        self.assertEqual(self.conflict(response)["overlapping"], ["metadata"])
        self.assertEqual(len(sql(captured)), 2)
        self.assertNotIn('"changes" FROM', str(sql(captured)))
        self.assertLess(len(response.content), 2_000)

    def test_fields_that_no_longer_exist_are_listed(self):
        self.change(port=5433)
        changes = {"gone": {"from": 1, "to": 2}}
        DataSourceRevision.objects.filter(version=2).update(changes=changes)
        conflict = self.conflict(self.patch({"port": 1}, '"1"'))
        self.assertEqual(conflict["changed_since"][0]["fields"], ["gone"])
        self.assertEqual(conflict["overlapping"], [])

    def test_every_endpoint_that_knows_versions_tells_the_conflict(self):
        self.enter(password="a")
        self.enter(password="b", username="reader")
        for method, path, body, overlapping in (
            ("get", "", None, []),
            ("get", "/credentials", None, []),
            ("put", "/credentials", {"ssh_password": "x"}, ["username", "password"]),
            ("patch", "/credentials", {"password": "x", "ssh_password": "y"}, ["password"]),
            ("delete", "/credentials", None, ["username", "password"]),
            ("post", "/credentials/confirm", None, []),
            ("post", "/ssh-host-key/confirm", {"fingerprint": "SHA256:x"}, []),
            ("post", "/history/1/restore", None, []),
            ("delete", "", None, []),
        ):
            with self.subTest(method=method, path=path):
                stale = {"If-Match": '"2"'}
                response = self.call(method, f"{self.path}{path}", body, self.admin, headers=stale)
                conflict = self.conflict(response)
                self.assertEqual([one["version"] for one in conflict["changed_since"]], [3])
                self.assertEqual(sorted(conflict["overlapping"]), sorted(overlapping))

    def test_get_with_if_match_is_judged_before_if_none_match(self):
        self.change(port=5433)
        headers = {"If-Match": '"1"', "If-None-Match": '"2"'}
        response = self.call("get", self.path, user=self.viewer, headers=headers)
        self.conflict(response)

    def test_strangers_learn_nothing_from_a_precondition(self):
        response = self.patch({"port": 1}, '"9"', user=self.stranger)
        self.assert_error(response, 404, "NOT_FOUND")


class DisjointTests(ConflictTestCase):
    def disjoint(self, body: Any, if_match: str | None = '"1"', more: str = "") -> Any:
        return self.patch(body, if_match, f"?allow_disjoint=true{more}")

    def test_update_of_other_fields_than_were_changed_passes(self):
        self.change(port=5433)
        self.enter(password="hunter2")
        self.change(tags=["a"])
        response = self.disjoint({"description": "Mine", "metadata": {"a": 1}})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(response["ETag"], '"5"')
        self.assertEqual({*response.json()["changes"]}, {"description", "metadata"})
        stored = self.stored()
        self.assertEqual((stored["port"], stored["tags"]), (5433, ["a"]))
        by_body = self.disjoint({"name": "Mine", "version": 4}, None)
        self.assertEqual(by_body.status_code, 200, by_body.content)

    def test_without_the_parameter_it_is_412_that_says_nothing_overlaps(self):
        self.change(port=5433)
        for query in ("", "?allow_disjoint=false"):
            conflict = self.conflict(self.patch({"description": "Mine"}, '"1"', query))
            self.assertEqual(conflict["overlapping"], [])

    def test_fields_that_clash(self):
        for changed, named, overlapping in (
            ({"port": 5433}, {"port": 1}, ["port"]),
            ({"port": 5434}, {"port": 5434}, ["port"]),
            ({"port": 5435}, {"host": "x", "name": "y"}, ["host"]),
            ({"port": 5436}, {"type": "postgresql", "ssh_host_key": None}, []),
            ({"host": "x"}, {"connection_string": None, "tags": []}, ["connection_string"]),
            ({"use_ssh_tunnel": True, "ssh_host": "a", "ssh_username": "b"}, {"port": 1}, ["port"]),
            ({"connection_string": "postgresql://x/y"}, {"ssh_port": 23}, ["ssh_port"]),
            ({"metadata": {"a": 1}}, {"metadata": {"b": 1}}, ["metadata"]),
            ({"tags": ["a"]}, {"tags": ["b"], "metadata": {}}, ["tags"]),
            ({"database_name": "x"}, {"schema_name": "y", "file_path": "z", "host": "h"}, []),
        ):
            with self.subTest(changed=changed, named=named):
                self.data_source.refresh_from_db()
                before = self.data_source.version
                self.change(**changed)
                response = self.disjoint(named, f'"{before}"')
                if overlapping:
                    self.assertEqual(self.conflict(response)["overlapping"], overlapping)
                    self.assertEqual(self.stored()["version"], before + 1)
                    message = response.json()["error"]["message"]
                    self.assertIn(f"Changed since: {', '.join(overlapping)}.", message)
                else:
                    self.assertEqual(response.status_code, 200, response.content)

    def test_connection_string_clashes_with_secrets(self):
        self.enter(password="hunter2")
        url = "postgresql://reader:mine@db.example.com/production"
        conflict = self.conflict(self.disjoint({"connection_string": url}))
        self.assertEqual(conflict["overlapping"], ["connection_string"])
        self.assertEqual(self.disjoint({"host": "x"}).status_code, 200)

    def test_merge_of_other_members_of_metadata_clashes(self):
        self.change(metadata={"a": 1})
        response = self.call(
            "patch",
            f"{self.path}?allow_disjoint=true",
            b'{"metadata": {"b": 1}}',
            self.admin,
            content_type="application/merge-patch+json",
            headers={"If-Match": '"1"'},
        )
        self.assertEqual(self.conflict(response)["overlapping"], ["metadata"])

    def test_whole_get_body_clashes_with_any_change(self):
        body = self.shown()
        for changed in ({"port": 5433}, {"tags": ["a"]}):
            self.change(**changed)
            self.assertTrue(self.conflict(self.disjoint(body, None))["overlapping"])

    def test_get_body_without_what_was_changed_passes(self):
        body = self.shown()
        DataSource.objects.filter(pk=self.data_source.pk).record_test({"ok": False}, version=1)
        self.change(tags=["a"])
        del body["tags"]
        response = self.disjoint(body | {"port": 5433}, None)
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual([*response.json()["changes"]], ["port"])

    def test_read_only_field_that_was_changed_since_clashes(self):
        body = {"version": 1, "credentials_status": "unset", "description": "Mine"}
        self.enter(password="hunter2")
        conflict = self.conflict(self.disjoint(body, None))
        self.assertEqual(conflict["overlapping"], ["credentials_status"])

    def test_version_that_never_was_is_412(self):
        for body, if_match in (
            *(({"name": "x"}, '"9"'), ({"name": "x"}, 'W/"1"'), ({"name": "x"}, '"1-gzip"')),
            *(
                ({"name": "x", "version": 9}, None),
                ({"name": "x", "version": 1}, '"9"'),
                ({}, '"9"'),
            ),
        ):
            with self.subTest(body=body, if_match=if_match):
                self.conflict(self.disjoint(body, if_match))

    def test_both_preconditions_must_allow_the_update(self):
        self.change(port=5433)
        self.change(tags=["a"])
        both = self.disjoint({"version": 2, "port": 1}, '"1"')
        self.assertEqual(self.conflict(both)["overlapping"], ["port"])
        both = self.disjoint({"version": 1, "port": 1}, '"3"')
        self.assertEqual(self.conflict(both)["overlapping"], ["port"])
        self.assertEqual(self.disjoint({"version": 1, "name": "x"}, '"2"').status_code, 200)

    def test_without_a_version_it_is_400_that_names_what_is_missing(self):
        for if_match in (None, "*"):
            for required in (False, True):
                Organization.objects.filter(pk=self.acme.pk).update(requires_if_match=required)
                response = self.disjoint({"port": 1}, if_match)
                error = self.assert_error(response, 400, "BAD_REQUEST", "allow_disjoint")
                self.assertIn("If-Match", str(error["details"]))
        refused = self.disjoint({"version": "1"}, None)
        self.assert_error(refused, 400, "BAD_REQUEST", "version")

    def test_values_other_than_true_and_false_are_400(self):
        for value in ("", "1", "True", "yes"):
            refused = self.patch({}, '"1"', f"?allow_disjoint={value}")
            self.assert_error(refused, 400, "BAD_REQUEST", "allow_disjoint")

    def test_other_endpoints_refuse_the_parameter_and_say_why(self):
        for method, path, body in (
            *(("get", self.path, None), ("delete", self.path, None), ("post", "/data-sources", {})),
            *(("get", "/data-sources", None), ("get", "/me", None)),
            ("put", f"{self.path}/credentials", {"username": "x"}),
            ("post", f"{self.path}/history/1/restore", None),
        ):
            with self.subTest(method=method, path=path):
                response = self.call(method, f"{path}?allow_disjoint=true", body, self.admin)
                error = self.assert_error(response, 400, "BAD_REQUEST", "allow_disjoint")
                self.assertIn("PATCH", str(error["details"]))

    def test_dry_run_is_judged_as_the_update_would_be(self):
        self.change(port=5433)
        self.conflict(self.disjoint({"port": 1}, more="&dry_run=true"))
        passed = self.disjoint({"name": "x"}, more="&dry_run=true")
        self.assertEqual([*passed.json()["changes"]], ["name"])
        self.assertEqual(self.stored()["version"], 2)

    def test_verify_is_judged_before_anything_is_tested(self):
        self.change(port=5433)
        self.conflict(self.disjoint({"port": 1}, more="&verify=true"))

    def test_current_values_are_the_ones_that_are_checked(self):
        self.change(use_ssh_tunnel=True, ssh_host="a", ssh_username="b")
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        taken = self.disjoint({"name": "taken"})
        self.assert_error(taken, 400, "BAD_REQUEST", "name")

    def test_update_takes_two_statements_and_with_a_stale_version_one_more(self):
        self.change(port=5433)
        for field, if_match, statements in (("name", '"2"', 2), ("description", '"1"', 3)):
            with self.subTest(if_match=if_match), self.statements() as captured:
                response = self.disjoint({field: "Mine"}, if_match)
                self.assertEqual(response.status_code, 200, response.content)
            self.assertEqual(len(sql(captured)), statements, captured.captured_queries)

    def test_all_since_is_compared_when_the_list_is_truncated(self):
        with mock.patch.object(preconditions, "CHANGED_SINCE_MAX", 2):
            for port in range(5433, 5437):
                self.change(port=port)
            self.change(tags=["a"])
            self.conflict(self.disjoint({"tags": ["b"]}))
            self.assertEqual(self.disjoint({"name": "x"}).status_code, 200)

    def test_retry_with_a_key_gets_the_answer_of_the_first(self):
        self.change(port=5433)
        headers = {"If-Match": '"1"', "Idempotency-Key": "one"}
        path = f"{self.path}?allow_disjoint=true"
        first = self.call("patch", path, {"name": "x"}, self.admin, headers=headers)
        self.assertEqual(first.status_code, 200)
        self.change(name="y")
        again = self.call("patch", path, {"name": "x"}, self.admin, headers=headers)
        self.assertEqual(again.json(), first.json())
        self.assertEqual(self.stored()["name"], "y")
        other = self.call("patch", self.path, {"name": "x"}, self.admin, headers=headers)
        self.assert_error(other, 422, "IDEMPOTENCY_KEY_REUSED")


class DescriptionTests(ConflictTestCase):
    def test_answers_are_as_openapi_describes_them(self):
        document = self.call("get", "/openapi.json").json()
        self.change(port=5433)
        for response, name in (
            (self.patch({"port": 1}, '"1"'), "PreconditionFailedResponse"),
            (self.patch({"port": 1}, '"99"'), "PreconditionFailedResponse"),
            (self.patch({"port": 1}), "DataSourceChangeResponse"),
            (self.patch({}), "DataSourceChangeResponse"),
        ):
            with self.subTest(response=response.content):
                schema = {"$ref": f"#/components/schemas/{name}"}
                components = {"components": document["components"]}
                Draft202012Validator(schema | components).validate(response.json())

    def test_update_describes_its_preconditions(self):
        document = self.call("get", "/openapi.json").json()
        update = document["paths"]["/api/v1/data-sources/{data_source_id}"]["patch"]
        parameters = str(update["parameters"]) + str(document["components"]["parameters"])
        self.assertIn("allow_disjoint", parameters)
        for name in ("DataSourceUpdate", "DataSourceMergePatch"):
            version = document["components"]["schemas"][name]["properties"]["version"]
            self.assertEqual((version["format"], version["minimum"]), ("int64", 1))
