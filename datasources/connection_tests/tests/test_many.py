"""Tests of `POST /data-sources/test` with ids: each as its own request would be answered."""

from typing import Any
from unittest import mock

from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.bulk.testing import ManyTestCase
from datasources.connection_tests import throttling
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.models import DataSource
from organizations.models import Membership
from organizations.sign_in.models import RequestCount
from organizations.testing import sql

PATH = "/data-sources/test"


class ManyTestsTests(ManyTestCase):
    source_count = 12
    source_values = {"type": "csv", "file_path": "a.csv"}

    def start(self, *ids: Any, user: Any = None, query: str = "", **options: Any) -> Any:
        return self.call("post", f"{PATH}{query}", {"ids": [*ids]}, user or self.editor, **options)

    def results(self, response: Any, status: int = 202) -> list[dict[str, Any]]:
        return super().results(response, status)

    def own(self, pk: int, **options: Any) -> dict[str, Any]:
        """Return the error of the data source's own test request."""
        response = self.call("post", f"/data-sources/{pk}/test", **options)
        error: dict[str, Any] = response.json()["error"]
        return {"id": pk, "status": response.status_code, "error": error}

    def assert_alike(self, result: dict[str, Any], own: dict[str, Any]) -> None:
        for one in (result, own):
            del one["error"]["request_id"]
        self.assertEqual(result, own)

    def test_tests_are_started_in_the_order_asked(self):
        ids = [self.sources[2].pk, self.sources[0].pk]
        response = self.start(*ids)
        results = self.results(response)
        self.assertEqual([[*result] for result in results], [["id", "status", "data"]] * 2)
        self.assertEqual(
            [(result["id"], result["status"]) for result in results], [(pk, 202) for pk in ids]
        )
        for result in results:
            self.assertEqual([*result["data"]], ["test_id"])
            test = ConnectionTest.objects.get(pk=result["data"]["test_id"])
            self.assertEqual((test.data_source_id, test.version), (result["id"], 1))
            self.assertEqual((test.requested_by, test.organization), (self.editor, self.acme))
            self.assertEqual(test.open().file_path, f"{self.acme.pk}/a.csv")
            shown = self.call("get", f"/connection-tests/{test.pk}", user=self.viewer)
            self.assertEqual(shown.json()["data"]["data_source_id"], result["id"])
        jobs = ProcrastinateJob.objects.order_by("id")
        self.assertEqual(
            [(job.args["test_id"], job.queue_name, job.priority) for job in jobs],
            [(results[n]["data"]["test_id"], "express", -n) for n in range(2)],
        )

    def test_later_tests_use_the_queue_and_priority_of_their_own_requests(self):
        ids = [source.pk for source in self.sources[:6]]
        for pk in ids:
            self.call("post", f"/data-sources/{pk}/test", user=self.editor)
        alone = [*ProcrastinateJob.objects.order_by("id").values_list("queue_name", "priority")]
        ConnectionTest.objects.all().delete()
        ProcrastinateJob.objects.all().delete()
        self.results(self.start(*ids))
        together = ProcrastinateJob.objects.order_by("id").values_list("queue_name", "priority")
        self.assertEqual([*together], alone)

    def test_each_refusal_is_that_of_its_own_request(self):
        unconfirmed = self.data_source
        unconfirmed.set_credentials({"password": "hunter2"}, user=self.owner)
        unconfirmed.apply_changes({"host": "moved.example.com"}, user=self.editor)
        good = self.sources[0].pk
        ids = [unconfirmed.pk, self.foreign.pk, good, 999_999, 2**63]
        results = self.results(self.start(*ids))
        self.assertEqual([result["status"] for result in results], [409, 404, 202, 404, 404])
        self.assertEqual(results[0]["error"]["code"], "CREDENTIALS_UNCONFIRMED")
        for result in (results[0], results[1], results[3], results[4]):
            self.assert_alike(result, self.own(result["id"], user=self.editor))
        [refused, _] = self.results(self.start(good, 999_999, user=self.viewer))
        self.assert_alike(refused, self.own(good, user=self.viewer))
        self.assertEqual(ConnectionTest.objects.count(), 1)

    def test_each_test_counts_in_the_limit_of_its_organization(self):
        ids = [self.sources[n].pk for n in range(4)]
        ids.insert(1, self.foreign.pk)
        with mock.patch.multiple(ConnectionTestThrottle, limit=3, seconds=86_400):
            statuses = [one["status"] for one in self.results(self.start(*ids, user=self.both))]
            self.assertEqual(statuses, [202, 202, 202, 202, 429])
            [result] = self.results(self.start(self.sources[5].pk))
            own = self.own(self.sources[5].pk, user=self.editor)
            for one in (result, own):
                one["error"]["message"] = one["error"]["message"].partition(" Expected")[0]
            self.assert_alike(result, own)
        counted = RequestCount.objects.filter(kind="test").values_list("caller", "requests")
        self.assertEqual({*counted}, {(str(self.acme.pk), 3), (str(self.globex.pk), 1)})
        self.assertEqual(ConnectionTest.objects.count(), 4)

    def test_no_more_tests_run_at_a_time_than_with_their_own_requests(self):
        with mock.patch.object(throttling, "RUNNING_MAX", 3):
            results = self.results(self.start(*(source.pk for source in self.sources[:5])))
            self.assertEqual([one["status"] for one in results], [202, 202, 202, 429, 429])
            self.assert_alike(results[3], self.own(self.sources[3].pk, user=self.editor))
        self.assertEqual(RequestCount.objects.get(kind="test").requests, 3)

    def test_statements_do_not_grow_with_the_number_of_tests(self):
        for source in self.sources:
            with_password = DataSource(workspace=self.workspace, name=f"P{source.pk}", type="mysql")
            with_password.save()
            with_password.set_credentials({"password": "hunter2"}, user=self.owner)
        ids = [*DataSource.objects.filter(type="mysql").values_list("pk", flat=True)]
        counts = []
        for some in (ids[:2], ids):
            with self.statements() as captured:
                self.results(self.start(*some))
            counts.append(len(sql(captured)))
        self.assertEqual(counts[0], counts[1])
        self.assertLessEqual(counts[0], 9)
        test = ConnectionTest.objects.latest("requested_at")
        self.assertEqual(test.open().secrets["password"], "hunter2")

    def test_repeated_request_with_a_key_starts_no_second_test(self):
        ids = [self.sources[0].pk, self.foreign.pk, 999_999]
        options: dict[str, Any] = {"user": self.both, "headers": {"Idempotency-Key": "k"}}
        first, again = self.start(*ids, **options), self.start(*ids, **options)
        self.assertEqual((again.status_code, again.content), (202, first.content))
        self.assertEqual(again["Idempotency-Replayed"], "true")
        self.assertEqual(ConnectionTest.objects.count(), 2)
        Membership.objects.get(user=self.both, organization=self.globex).delete()
        self.assert_error(self.start(*ids, **options), 404, "NOT_FOUND")

    def test_malformed_requests_are_400_and_name_the_place(self):
        good = self.sources[0].pk
        for body, *places in (
            ({"ids": []}, "ids"),
            ({"ids": None}, "ids"),
            ({"ids": good}, "ids"),
            ({"ids": [*range(1, 202)]}, "ids"),
            (
                {"ids": [good, "1", True, 0, -1, 1.0, None, good]},
                *(f"ids[{n}]" for n in range(1, 8)),
            ),
            ({"ids": [good], "type": "csv"}, "ids"),
            ({"ids": [good], "x": 1}, "ids"),
        ):
            with self.subTest(body=body):
                response = self.call("post", PATH, body, self.editor)
                self.assert_error(response, 400, "BAD_REQUEST", *places)
                response = self.call("post", PATH, body, self.loner)
                self.assert_error(response, 403, "FORBIDDEN")
        for query in ("?wait=1", "?wait=0", "?wait=x"):
            error = self.assert_error(self.start(good, query=query), 400, "BAD_REQUEST", "wait")
            self.assertIn("/connection-tests/", error["details"]["wait"][0])
        response = self.start(good, headers={"If-Match": '"1"'})
        self.assert_error(response, 400, "BAD_REQUEST", "If-Match")
        self.assertFalse(ConnectionTest.objects.exists())

    def test_media_type_and_roles_of_drafts_are_checked_as_before(self):
        for user, status in ((self.loner, 403), (self.viewer, 403), (self.editor, 400)):
            self.assertEqual(self.call("post", PATH, b"[", user).status_code, status)
        response = self.call("post", PATH, b"{}", self.editor, content_type="text/plain")
        self.assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")
        self.assert_error(self.start(999_999, user=self.loner), 403, "FORBIDDEN")
        response = self.call("post", PATH, {"ids": [1]})
        self.assert_error(response, 401, "UNAUTHORIZED")
