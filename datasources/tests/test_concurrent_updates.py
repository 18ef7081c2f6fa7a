"""Tests of PATCH from many concurrent clients, each on its own database connection."""

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection, transaction
from django.test import TransactionTestCase

from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin

THREADS = 8
ROUNDS = 200
# Seconds after which a thread stops waiting for a thread that failed.
BARRIER_TIMEOUT = 60
# One field for each thread, so that no update overwrites another.
NUMBER_FIELDS = (
    ("port", 1_000),
    ("ssh_port", 2_000),
    ("ssh_local_port", 3_000),
    ("query_timeout", 4_000),
    ("schema_refresh_interval", 5_000),
)
TEXT_FIELDS = ("description", "database_name", "schema_name")


class ConcurrentUpdateTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def test_concurrent_updates_of_different_fields_are_all_stored(self):
        """8 threads, 200 rounds; all threads start each round together."""
        lost: list[str] = []
        start = threading.Barrier(THREADS, timeout=BARRIER_TIMEOUT)
        end = threading.Barrier(THREADS, timeout=BARRIER_TIMEOUT)

        def write(index: int) -> None:
            for round_number in range(ROUNDS):
                if index < len(NUMBER_FIELDS):
                    field, base = NUMBER_FIELDS[index]
                    value: Any = base + round_number
                else:
                    field = TEXT_FIELDS[index - len(NUMBER_FIELDS)]
                    value = f"{round_number}"
                start.wait()
                response = self.call("patch", self.path, {field: value}, self.editor)
                if response.status_code != 200:
                    lost.append(f"{field}: {response.json()}")
                end.wait()
                if self.stored()[field] != value:
                    lost.append(f"{field} in round {round_number}")

        self.run_threads(write)
        self.assertEqual(lost, [])
        row = self.stored()
        self.assertEqual(row["version"], 1 + THREADS * ROUNDS)
        versions = self.data_source.revisions.values_list("version", flat=True)
        self.assertEqual([*versions], [*range(row["version"], 0, -1)])

    def test_one_of_many_concurrent_updates_with_if_match_wins(self):
        statuses: list[int] = []
        start = threading.Barrier(THREADS, timeout=BARRIER_TIMEOUT)

        def write(index: int) -> None:
            start.wait()
            response = self.call(
                "patch", self.path, {"port": 1000 + index}, self.editor, headers={"If-Match": '"1"'}
            )
            statuses.append(response.status_code)

        self.run_threads(write)
        self.assertEqual(sorted(statuses), [200] + [412] * (THREADS - 1))
        self.assertEqual(self.stored()["version"], 2)

    def test_concurrent_updates_that_contradict_each_other_are_not_both_stored(self):
        """One update clears ssh_host, the other switches the tunnel on: one of them is 400."""
        start = threading.Barrier(2, timeout=BARRIER_TIMEOUT)
        bodies = ({"ssh_host": None}, {"use_ssh_tunnel": True})
        for _ in range(20):
            self.data_source.apply_changes(
                {"use_ssh_tunnel": False, "ssh_host": "bastion", "ssh_username": "me"},
                user=self.editor,
            )
            statuses: list[int] = []

            def write(index: int, statuses: list[int] = statuses) -> None:
                start.wait()
                response = self.call("patch", self.path, bodies[index], self.editor)
                statuses.append(response.status_code)

            self.run_threads(write, count=2)
            self.assertEqual(sorted(statuses), [200, 400])
            row = self.stored()
            self.assertFalse(row["use_ssh_tunnel"] and row["ssh_host"] is None)

    def test_one_of_many_concurrent_creates_gets_the_name(self):
        start = threading.Barrier(THREADS, timeout=BARRIER_TIMEOUT)
        statuses: list[int] = []

        def write(index: int) -> None:
            start.wait()
            body = {"name": "Wanted by all", "type": "csv"}
            statuses.append(self.call("post", "/data-sources", body, self.editor).status_code)

        self.run_threads(write)
        self.assertEqual(sorted(statuses), [201] + [400] * (THREADS - 1))

    def test_update_is_404_if_the_row_is_deleted_while_it_waits(self):
        waiting = threading.Thread(target=self.patch_and_store_response)
        with transaction.atomic():
            DataSource.objects.for_update().get(pk=self.data_source.pk)
            waiting.start()
            self.wait_for_lock(waiting)
            DataSource.objects.get(pk=self.data_source.pk).delete()
        waiting.join()
        self.assert_error(self.response, 404, "NOT_FOUND")

    def patch_and_store_response(self) -> None:
        self.response = self.call("patch", self.path, {"port": 5433}, self.editor)
        connection.close()

    def run_threads(self, target: Callable[[int], None], count: int = THREADS) -> None:
        """Run `target(index)` in threads; an exception in one fails the test."""
        failures: list[BaseException] = []

        def run(index: int) -> None:
            try:
                target(index)
            except BaseException as failure:
                failures.append(failure)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
