"""Tests of updates of many data sources from concurrent clients, each on its own connection."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

from django.db import connection, transaction
from django.test import TransactionTestCase

from datasources.bulk.testing import PATH, ManyTestMixin
from datasources.models import DataSource, DataSourceRevision
from organizations import writing
from organizations.testing import blocked_connections
from rivergen.testing.deadlocks import deadlock_once

THREADS = 8
ROUNDS = 12
TIMEOUT_SECONDS = 60


class ConcurrencyTests(ManyTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def run_all(self, *works: Callable[[], Any]) -> list[Any]:
        """Run functions in threads that start together; return what they return."""
        start = threading.Barrier(len(works), timeout=TIMEOUT_SECONDS)

        def run(work: Callable[[], Any]) -> Any:
            start.wait()
            try:
                return work()
            finally:
                connection.close()

        with ThreadPoolExecutor(len(works)) as pool:
            return [*pool.map(run, works)]

    def test_calls_that_name_the_same_rows_in_any_order_never_deadlock(self):
        def work(number: int) -> Callable[[], Counter[int]]:
            def send() -> Counter[int]:
                random, statuses = Random(number), Counter[int]()
                for _ in range(ROUNDS):
                    ids = random.sample([source.pk for source in self.sources], 4)
                    if number % 4 == 3:
                        path = f"{PATH}/{ids[0]}"
                        response = self.call("patch", path, {"max_retries": 3}, self.editor)
                    else:
                        updates = [
                            {"id": pk, "query_timeout": random.randrange(9) + 1} for pk in ids
                        ]
                        response = self.update_many(*updates)
                    statuses[response.status_code] += 1
                return statuses

            return send

        with mock.patch.object(writing, "ATTEMPTS", 1):  # a deadlock would be 503
            statuses = sum(self.run_all(*map(work, range(THREADS))), Counter[int]())
        self.assertEqual(statuses, {200: THREADS * ROUNDS})
        for source in self.sources:
            versions = DataSourceRevision.objects.filter(data_source=source)
            numbers = [*versions.values_list("version", flat=True)]
            self.assertEqual(numbers, [*range(numbers[0], 0, -1)])

    @contextmanager
    def waiting_for(self, source: DataSource, send: Callable[[], Any]) -> Iterator[Future[Any]]:
        """Lock a row, and yield when `send`, in a thread, waits for it; then let it go on."""

        def run() -> Any:
            try:
                return send()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool, transaction.atomic():
            DataSource.objects.for_update().get(pk=source.pk)
            sent = pool.submit(run)
            while not blocked_connections():
                self.assertFalse(sent.done())
            yield sent

    def assert_unlocked(self, source: DataSource) -> None:
        """Assert that no other transaction has locked a row."""
        rows = DataSource.objects.select_for_update(nowait=True, of=("self",))
        with transaction.atomic():
            rows.get(pk=source.pk)

    def test_rows_are_locked_in_the_order_of_their_ids(self):
        lowest, *_, highest = self.sources
        updates = [{"id": highest.pk, "port": 1}, {"id": lowest.pk, "port": 1}]
        with self.waiting_for(lowest, lambda: self.update_many(*updates)) as sent:
            self.assert_unlocked(highest)
        self.assertEqual(self.statuses(sent.result()), [200, 200])

    def test_removing_an_organization_locks_rows_in_the_order_of_their_ids(self):
        first, last = self.sources[0], self.sources[-1]
        first.apply_changes({"name": "zzz"}, user=self.owner)
        path = f"/organizations/{self.acme.pk}"
        self.data_source.delete()
        with self.waiting_for(first, lambda: self.call("delete", path, user=self.owner)) as sent:
            self.assert_unlocked(last)
        self.assertEqual(sent.result().status_code, 204)

    def test_row_that_is_deleted_while_the_call_waits_is_404_in_its_place(self):
        one, two = self.sources[:2]
        updates = [{"id": two.pk, "port": 1}, {"id": one.pk, "port": 1}]
        with self.waiting_for(
            one, lambda: self.update_many(*updates, query="?atomic=false")
        ) as sent:
            DataSource.objects.get(pk=one.pk).delete()
        self.assertEqual(self.statuses(sent.result()), [200, 404])

    def test_calls_that_take_each_others_names_are_retried_after_the_deadlock(self):
        one, two, three, four, _ = (source.pk for source in self.sources)

        def send(*updates: Any) -> Callable[[], Any]:
            return lambda: self.update_many(*updates).status_code

        for number in range(ROUNDS):
            x, y = f"x{number}", f"y{number}"
            statuses = self.run_all(
                send({"id": one, "name": x}, {"id": two, "name": y}),
                send({"id": three, "name": y}, {"id": four, "name": x}),
            )
            self.assertEqual(sorted(statuses), [200, 409])

    def test_call_is_retried_after_a_deadlock(self):
        with deadlock_once() as failed:
            response = self.update_many(*({"id": one.pk, "port": 1} for one in self.sources))
        self.assertTrue(failed)
        self.assertEqual(self.statuses(response), [200] * 5)
        self.assertEqual(self.versions(), [2] * 5)
