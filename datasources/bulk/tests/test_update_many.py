"""Tests of `PATCH /data-sources`: each update as its own PATCH, all of them or each by itself."""

import json
from typing import Any
from unittest import mock

from django.test import override_settings

from datasources.bulk.testing import MERGE_PATCH, PATH, ManyTestCase
from datasources.credentials.models import Credential
from datasources.models import DataSource, DataSourceRevision
from organizations.models import Membership, Organization, User

EACH = "?atomic=false"
DRY = "?dry_run=true"
CONTROL = ("SAVEPOINT", "RELEASE", "ROLLBACK")
# What moves with the clock.
CLOCK = ("updated_at",)


def without_clock(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results without the fields that differ from one moment to the next."""
    shown = json.loads(json.dumps(results))
    for result in shown:
        for name in CLOCK:
            result.get("data", {}).pop(name, None)
        result.get("error", {}).pop("request_id", None)
    return shown


class UpdateManyTests(ManyTestCase):
    def own_patch(self, update: dict[str, Any], query: str = "", **options: Any) -> dict[str, Any]:
        """Return the result that the update has as a PATCH of its own."""
        fields = {name: value for name, value in update.items() if name not in ("id", "if_match")}
        headers = {"If-Match": str(update["if_match"])} if "if_match" in update else {}
        response = self.call(
            "patch",
            f"{PATH}/{update['id']}{query}",
            fields,
            options.pop("user", self.editor),
            headers=headers,
            **options,
        )
        body = response.json()
        result = {"id": update["id"], "status": response.status_code}
        members = {name: body[name] for name in ("data", "changes", "error") if name in body}
        return result | members

    def test_each_update_is_answered_in_the_order_asked(self):
        third, first = self.sources[2], self.sources[0]
        response = self.update_many(
            {"id": third.pk, "port": 1}, {"id": first.pk, "name": "New", "tags": ["a"]}
        )
        body = response.json()
        self.assertEqual([*body], ["success", "data", "message"])
        results = self.results(response)
        self.assertEqual([result["id"] for result in results], [third.pk, first.pk])
        self.assertEqual(
            [[*result] for result in results], [["id", "status", "data", "changes"]] * 2
        )
        self.assertEqual(results[0]["changes"], {"port": {"from": None, "to": 1}})
        self.assertEqual((results[1]["data"]["name"], results[1]["data"]["version"]), ("New", 2))
        self.assertEqual(
            results[1]["data"],
            self.call("get", f"{PATH}/{first.pk}", user=self.viewer).json()["data"],
        )
        self.assertEqual(self.versions(), [2, 1, 2, 1, 1])
        revision = DataSourceRevision.objects.get(data_source=first, version=2)
        self.assertEqual(revision.request_id, response["X-Request-ID"])
        self.assertEqual((revision.origin, revision.changed_by), ("api", self.editor))

    def test_each_update_is_answered_as_its_own_patch(self):
        taken = self.sources[4]
        pk = self.sources[0].pk
        other = self.sources[1].pk
        cases: list[dict[str, Any]] = [
            {"id": pk, "port": 0, "tags": [1]},
            {"id": pk, "pasword": "x", "nmae": "x"},
            {"id": pk, "password": "x"},
            {"id": pk, "name": taken.name},
            {"id": pk, "name": taken.name, "port": 0},
            {"id": pk, "use_ssh_tunnel": True},
            {"id": pk, "if_match": '"7"', "port": 1},
            {"id": pk, "if_match": 'W/"1"', "port": 1},
            {"id": pk, "if_match": "1", "port": 1},
            {"id": pk, "if_match": None, "port": 1},
            {"id": pk, "version": 7, "port": 1},
            {"id": pk, "version": "1", "port": 1},
            {"id": pk, "created_at": "2020-01-01T00:00:00Z"},
            {"id": self.foreign.pk, "port": 1},
            {"id": 999_999, "port": 1},
            {"id": 2**63, "port": 1},
            {"id": pk, "if_match": '"7", "1"', "port": 2},
            {"id": other, "if_match": "*", "port": 3},
            {"id": other},
        ]
        for update in cases:
            with self.subTest(update=update):
                [result] = self.results(self.update_many(update, query=f"{EACH}&dry_run=true"))
                own = self.own_patch(update, DRY)
                if "if_match" in update and own["status"] == 400:
                    self.assertEqual([*result["error"]["details"]], ["if_match"])
                    self.assertEqual(result["status"], 400)
                    continue
                self.assertEqual(without_clock([result]), without_clock([own]))

    def test_viewers_are_403_and_others_404_in_their_place(self):
        Membership.objects.filter(user=self.both, organization=self.acme).update(role="viewer")
        updates = [
            {"id": self.sources[0].pk, "port": 1},
            {"id": self.foreign.pk, "port": 1},
            {"id": 999_999, "port": 1},
        ]
        response = self.update_many(*updates, query=EACH, user=self.both)
        self.assertEqual(self.statuses(response), [403, 200, 404])
        error = self.results(response)[0]["error"]
        self.assertEqual(
            error["message"], self.own_patch(updates[0], user=self.both)["error"]["message"]
        )
        self.assertEqual(self.statuses(self.update_many(updates[0], user=self.viewer), 409), [403])

    def test_later_updates_see_earlier_ones(self):
        first, second = self.sources[:2]
        swap = [
            {"id": first.pk, "name": "Free"},
            {"id": second.pk, "name": first.name},
            {"id": first.pk + 2, "name": second.name},
        ]
        self.assertEqual(self.statuses(self.update_many(*swap)), [200] * 3)
        names = [source.name for source in DataSource.objects.filter(pk__in=[first.pk, second.pk])]
        self.assertEqual({*names}, {"Free", first.name})

    def test_without_atomic_good_updates_are_stored_beside_failed_ones(self):
        taken = self.sources[4].name
        updates = [
            {"id": self.sources[0].pk, "port": 1},
            {"id": self.sources[1].pk, "port": 0},
            {"id": self.sources[2].pk, "name": taken},
            {"id": self.sources[3].pk, "port": 2, "if_match": '"1"'},
        ]
        response = self.update_many(*updates, query=EACH)
        self.assertEqual(self.statuses(response), [200, 400, 400, 200])
        self.assertEqual(
            self.results(response)[2]["error"]["details"]["name"],
            ["The workspace already has a data source with this name."],
        )
        self.assertEqual(self.versions(), [2, 1, 1, 2, 1])

    def test_atomic_call_with_a_failure_is_409_and_changes_nothing(self):
        taken = self.sources[4].name
        updates = [
            {"id": self.sources[0].pk, "port": 1},
            {"id": self.sources[1].pk, "name": taken},
            {"id": self.sources[2].pk, "port": 2},
            {"id": self.sources[3].pk, "port": 0},
        ]
        for query in ("", "?atomic=true"):
            response = self.update_many(*updates, query=query)
            self.assertEqual(self.statuses(response, 409), [424, 400, 424, 400])
            error = response.json()["error"]
            self.assertEqual(error["code"], "CONFLICT")
            self.assertIn("2 of 4", error["message"])
            results = self.results(response, 409)
            self.assertEqual([*results[0]], ["id", "status", "error"])
            self.assertEqual(results[0]["error"]["code"], "NOT_APPLIED")
            self.assertEqual(results[3]["error"]["details"].keys(), {"port"})
            self.assertEqual(self.versions(), [1] * 5)
        self.assertFalse(DataSourceRevision.objects.filter(version=2).exists())

    def test_atomic_call_with_a_failure_reports_later_updates_as_if_it_had_not_been_made(self):
        first, second = self.sources[:2]
        updates = [
            {"id": first.pk, "name": "Free", "if_match": '"9"'},
            {"id": second.pk, "name": first.name},
        ]
        response = self.update_many(*updates)
        self.assertEqual(self.statuses(response, 409), [412, 400])

    def test_dry_run_stores_nothing_and_returns_the_list_of_the_real_run(self):
        taken = self.sources[4].name
        good = [
            {"id": self.sources[0].pk, "port": 1, "name": "Free"},
            {"id": self.sources[1].pk, "name": self.sources[0].name},
            {"id": self.sources[2].pk, "port": None},
            {"id": self.sources[3].pk},
        ]
        bad = [
            *good,
            {"id": self.foreign.pk, "name": taken},
            {"id": self.data_source.pk, "port": 0},
        ]
        bad.append({"id": self.sources[4].pk, "name": "free"})
        for updates, atomic in ((bad, True), (bad, False), (good, True)):
            query = f"?atomic={json.dumps(atomic)}"
            before = [*DataSource.objects.order_by("pk").values()]
            dry = self.update_many(*updates, query=f"{query}&dry_run=true")
            self.assertEqual([*DataSource.objects.order_by("pk").values()], before)
            real = self.update_many(*updates, query=query)
            expected = self.results(real, 409 if atomic and updates is bad else 200)
            self.assertEqual(without_clock(self.results(dry)), without_clock(expected))
            failed = sum(result["status"] not in (200, 424) for result in expected)
            self.assertIn(f"{failed} of {len(updates)} updates would", dry.json()["message"])
            for source in reversed(self.sources):
                stored = DataSource.objects.get(pk=source.pk)
                stored.apply_changes({"name": source.name, "port": source.port}, user=self.owner)

    def test_requires_if_match_asks_each_update_for_a_version(self):
        Organization.objects.filter(pk=self.acme.pk).update(requires_if_match=True)
        pk = [source.pk for source in self.sources]
        response = self.update_many(
            {"id": pk[0], "port": 1},
            {"id": pk[1], "port": 1, "if_match": "*"},
            {"id": pk[2], "port": 1, "if_match": '"1"'},
            {"id": pk[3], "port": 1, "version": 1},
            {"id": self.foreign.pk, "port": 1},
            query=EACH,
            user=self.both,
        )
        self.assertEqual(self.statuses(response), [428, 428, 200, 200, 200])
        self.assertEqual(self.results(response)[0]["error"]["code"], "PRECONDITION_REQUIRED")

    def test_body_of_a_get_can_be_sent_back_with_changes(self):
        bodies = [
            self.call("get", f"{PATH}/{source.pk}", user=self.editor).json()["data"]
            for source in self.sources
        ]
        response = self.update_many(*({**body, "query_timeout": 7} for body in bodies))
        self.assertEqual(self.statuses(response), [200] * 5)
        again = self.update_many(*bodies)
        self.assertEqual(self.statuses(again, 409), [412] * 5)
        conflict = self.results(again, 409)[0]["error"]["conflict"]
        self.assertEqual(conflict["version"], 2)

    def test_merge_patch_merges_the_metadata_of_each(self):
        one, two = self.sources[:2]
        one.apply_changes({"metadata": {"a": 1, "b": 1}}, user=self.owner)
        updates = [
            {"id": one.pk, "metadata": {"b": None, "c": 2}},
            {"id": two.pk, "metadata": {"d": {"e": None, "f": 1}}},
        ]
        body = json.dumps({"updates": updates}).encode()
        response = self.call("patch", PATH, body, self.editor, content_type=MERGE_PATCH)
        shown = [result["data"]["metadata"] for result in self.results(response)]
        self.assertEqual(shown, [{"a": 1, "c": 2}, {"d": {"f": 1}}])

    def test_malformed_calls_are_400_and_name_the_place(self):
        good = {"id": self.sources[0].pk, "port": 1}
        for body, *places in (
            ({}, "updates"),
            ({"updates": None}, "updates"),
            ({"updates": {}}, "updates"),
            ({"updates": []}, "updates"),
            ({"updates": [good], "update": []}, "update"),
            ({"updates": [good], "dry_run": True, "x": 1}, "dry_run", "x"),
            ({"updates": [{"id": number} for number in range(1, 202)]}, "updates"),
            ({"updates": [good, 3, None, [good]]}, "updates[1]", "updates[2]", "updates[3]"),
            ({"updates": [good, {"port": 2}]}, "updates[1].id"),
            ({"updates": [good, {"id": "5"}, {"id": True}]}, "updates[1].id", "updates[2].id"),
            (
                {"updates": [{"id": 0}, {"id": -1}, {"id": 1.0}]},
                *(f"updates[{n}].id" for n in range(3)),
            ),
            ({"updates": [{"id": None}, {"id": 1e300}]}, "updates[0].id"),
            ({"updates": [good, {"id": good["id"]}, good]}, "updates[1].id", "updates[2].id"),
        ):
            for query in ("", EACH, DRY):
                with self.subTest(body=body, query=query):
                    response = self.call("patch", f"{PATH}{query}", body, self.editor)
                    self.assert_error(response, 400, "BAD_REQUEST", *places)
        self.assertEqual(self.versions(), [1] * 5)

    def test_parameters_that_many_do_not_have_are_400_with_a_sentence(self):
        update = {"id": self.sources[0].pk, "port": 1}
        for query, name in (
            ("?verify=true", "verify"),
            ("?verify=false", "verify"),
            ("?allow_disjoint=true", "allow_disjoint"),
            ("?atomic=1", "atomic"),
            ("?dry_run=yes", "dry_run"),
            ("?atomic=true&atomic=false", "atomic"),
            ("?what=1", "what"),
        ):
            with self.subTest(query):
                error = self.assert_error(
                    self.update_many(update, query=query), 400, "BAD_REQUEST", name
                )
                if name in ("verify", "allow_disjoint"):
                    self.assertNotIn("Unknown", error["details"][name][0])
                    self.assertIn("PATCH", error["details"][name][0])
        for header in ('"1"', "*", "1", ""):
            response = self.update_many(update, headers={"If-Match": header})
            error = self.assert_error(response, 400, "BAD_REQUEST", "If-Match")
            self.assertIn("if_match", error["details"]["If-Match"][0])
        self.assertEqual(self.versions(), [1] * 5)

    def test_media_type_membership_and_token_are_checked_for_the_whole_call(self):
        body = json.dumps({"updates": [{"id": self.sources[0].pk, "port": 1}]}).encode()
        for user, content, media, status, code in (
            (None, body, "application/json", 401, "UNAUTHORIZED"),
            (self.loner, body, "application/json", 403, "FORBIDDEN"),
            (self.loner, b"[", "application/json", 403, "FORBIDDEN"),
            (self.editor, body, "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
            (self.editor, b"[", "application/json", 400, "BAD_REQUEST"),
            (self.editor, b"{" + b" " * 2**20 + b"}", "application/json", 413, "PAYLOAD_TOO_LARGE"),
        ):
            with self.subTest(status=status):
                response = self.call("patch", PATH, content, user, content_type=media)
                self.assert_error(response, status, code)
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        for content in (body, b"["):
            response = self.call("patch", PATH, content, self.editor)
            self.assert_error(response, 401, "UNAUTHORIZED")

    def test_ten_updates_take_one_lock_and_one_statement_each(self):
        sources = DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=f"T{number}", type="csv")
            for number in range(10)
        )
        updates = [{"id": source.pk, "description": "new"} for source in sources]
        self.update_many(*updates, query=DRY)  # compiles the statements
        with self.statements() as captured:
            self.assertEqual(self.statuses(self.update_many(*updates)), [200] * 10)
        statements = [query["sql"] for query in captured.captured_queries]
        # The savepoint stands for the transaction of the request: a TestCase has begun one.
        inner = [one for one in statements if one.startswith(CONTROL)]
        self.assertEqual(len(inner), 2, inner)
        self.assertEqual(len(statements), 2 + 1 + 10, statements)
        self.assertIn("FOR NO KEY UPDATE", statements[1])
        self.assertIn("ORDER BY", statements[1])

    @override_settings(QUOTA_HISTORY_BYTES=20_000)
    def test_update_beyond_the_quota_fails_alone_without_atomic(self):
        one, two, three = (source.pk for source in self.sources[:3])
        updates = [
            {"id": one, "port": 1},
            {"id": two, "description": "x" * 9_000, "metadata": {"text": "y" * 15_000}},
            {"id": three, "port": 1},
        ]
        response = self.update_many(*updates, query=EACH)
        self.assertEqual(self.statuses(response), [200, 409, 200])
        self.assertEqual(self.results(response)[1]["error"]["code"], "QUOTA_EXCEEDED")
        self.assertEqual(self.versions(), [2, 1, 2, 1, 1])
        self.assertEqual(DataSource.objects.get(pk=two).description, "")
        for update in updates:
            update["port"] = 2
        response = self.update_many(*updates)
        self.assertEqual(self.statuses(response, 409), [424, 409, 424])
        self.assertEqual(self.versions(), [2, 1, 2, 1, 1])

    def test_secrets_of_a_failed_update_stay_as_they_were(self):
        source, taken = self.sources[0], self.sources[4].name
        source.set_credentials({"password": "hunter2"}, user=self.owner)
        before = [*Credential.objects.values()]
        url = "postgresql://me:other@db.example.com/x"
        updates = [
            {"id": source.pk, "connection_string": url, "name": taken},
            {"id": self.sources[1].pk, "host": "moved.example.com"},
        ]
        response = self.update_many(*updates, query=EACH)
        self.assertEqual(self.statuses(response), [400, 200])
        self.assertEqual([*Credential.objects.values()], before)
        response = self.update_many({"id": source.pk, "host": "moved.example.com"})
        [result] = self.results(response)
        self.assertEqual(result["data"]["credentials_status"], "unconfirmed")

    def test_bug_and_unavailable_database_fail_the_whole_call(self):
        update = {"id": self.sources[0].pk, "port": 1}
        with mock.patch.object(DataSource, "apply_changes", side_effect=RuntimeError):
            self.assert_error(self.update_many(update, query=EACH), 500, "INTERNAL_ERROR")

    def test_integers_of_more_than_64_bits_and_indented_answers_are_rendered(self):
        update = {"id": self.sources[0].pk, "metadata": {"big": 2**70, "x": [1.5]}}
        headers = {"Accept": "application/json; indent=2"}
        for options in ({}, {"headers": headers}):
            [result] = self.results(self.update_many(update, **options))
            self.assertEqual(result["data"]["metadata"], update["metadata"])
