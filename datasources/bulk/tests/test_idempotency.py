"""Tests of Idempotency-Key with updates of many data sources: the key covers the whole call."""

from typing import Any

from datasources.bulk.testing import ManyTestCase
from datasources.models import DataSource
from organizations.idempotency.models import IdempotencyRecord, KeptAnswers
from organizations.models import Membership, Organization

EACH = "?atomic=false"
KEY = {"Idempotency-Key": "k"}


class IdempotencyTests(ManyTestCase):
    def keyed(self, *updates: Any, key: str = "k", **options: Any) -> Any:
        return self.update_many(*updates, headers={"Idempotency-Key": key}, **options)

    def test_repeated_call_is_answered_with_the_same_bytes_and_changes_nothing(self):
        pk = [source.pk for source in self.sources]
        for query, updates in (
            ("", [{"id": pk[0], "port": 1}, {"id": pk[1], "port": 1}]),
            (EACH, [{"id": pk[0], "port": 2}, {"id": pk[1], "port": 0}, {"id": 999_999}]),
            (EACH, [{"id": pk[0], "port": 3}, {"id": pk[1], "name": "S4"}]),
        ):
            with self.subTest(query=query, updates=updates):
                first = self.keyed(*updates, query=query, key=f"{updates}"[:99])
                self.assertEqual(first.status_code, 200, first.content)
                DataSource.objects.get(pk=pk[0]).apply_changes({"port": 9}, user=self.owner)
                before = self.versions()
                again = self.keyed(*updates, query=query, key=f"{updates}"[:99])
                self.assertEqual((again.status_code, again.content), (200, first.content))
                self.assertEqual(again["Idempotency-Replayed"], "true")
                self.assertEqual(self.versions(), before)

    def test_key_of_another_call_is_422(self):
        one = {"id": self.sources[0].pk, "port": 1}
        self.keyed(one)
        self.assert_error(self.keyed({**one, "port": 2}), 422, "IDEMPOTENCY_KEY_REUSED")
        self.assert_error(self.keyed(one, query=EACH), 422, "IDEMPOTENCY_KEY_REUSED")

    def test_refused_atomic_call_is_made_again_under_the_same_key(self):
        updates = [{"id": self.sources[0].pk, "port": 1}, {"id": self.sources[1].pk, "name": "S4"}]
        self.assertEqual(self.keyed(*updates).status_code, 409)
        self.sources[4].apply_changes({"name": "Other"}, user=self.owner)
        self.assertEqual(self.statuses(self.keyed(*updates)), [200, 200])
        self.assertEqual(self.versions()[:2], [2, 2])

    def test_dry_run_stores_nothing_and_is_answered_again(self):
        source = self.sources[0]
        source.apply_changes({"metadata": {"text": "x" * 20_000}}, user=self.owner)
        dry = "?dry_run=true"
        updates = [{"id": source.pk, "port": 1}, {"id": self.sources[1].pk, "name": "S4"}]
        first, again = (self.keyed(*updates, query=f"{dry}&atomic=false") for _ in range(2))
        self.assertEqual((again.status_code, again["Idempotency-Replayed"]), (200, "true"))
        self.assertEqual(self.statuses(again), self.statuses(first))
        self.assertIsNone(IdempotencyRecord.objects.get().body)
        self.assertEqual(self.versions(), [2, 1, 1, 1, 1])

    def test_answer_about_several_organizations_is_only_for_members_of_all(self):
        for left in (self.acme, self.globex):
            ids = [self.sources[0].pk, self.foreign.pk]
            for order in (ids, ids[::-1]):
                with self.subTest(left=left, order=order):
                    updates = [{"id": pk, "description": f"{left}{order}"} for pk in order]
                    key = f"{left} {order}"
                    options: dict[str, Any] = {"key": key, "user": self.both}
                    first = self.keyed(*updates, **options)
                    self.assertEqual(self.keyed(*updates, **options).content, first.content)
                    membership = Membership.objects.get(user=self.both, organization=left)
                    membership.delete()
                    again = self.keyed(*updates, **options)
                    self.assert_error(again, 404, "NOT_FOUND")
                    membership.pk = None
                    membership.save()
                    self.assertEqual(self.keyed(*updates, **options).content, first.content)

    def test_answer_counts_in_the_quota_of_the_first_organization(self):
        self.keyed(
            {"id": 999_999},
            {"id": self.foreign.pk, "port": 1},
            {"id": self.sources[0].pk, "port": 1},
            query=EACH,
            user=self.both,
        )
        [kept] = KeptAnswers.objects.all()
        self.assertEqual((kept.organization, kept.user), (self.globex, self.both))
        Organization.objects.filter(pk=self.globex.pk).update(quota_kept_answer_bytes=100)
        update = {"id": self.foreign.pk, "port": 2}
        response = self.keyed(update, key="other", user=self.both)
        self.assert_error(response, 409, "QUOTA_EXCEEDED", "kept_answer_bytes")
        self.assertEqual(DataSource.objects.get(pk=self.foreign.pk).port, 1)

    def test_call_that_finds_nothing_is_stored_for_an_organization_of_the_caller(self):
        first, again = (self.keyed({"id": 999_999}, query=EACH) for _ in range(2))
        self.assertEqual((again.content, again["Idempotency-Replayed"]), (first.content, "true"))
        self.assertEqual(IdempotencyRecord.objects.get().organization, self.acme)
