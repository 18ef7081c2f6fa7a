"""Tests of concurrent schedulers, refreshes, prunes and deletions, each on its own connection."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

from django.db import connection, connections, transaction
from django.test import TransactionTestCase
from django.utils import timezone

from datasources.connection_tests.testing import PATIENCE_SECONDS
from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas import tasks
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.snapshots.content import pack
from datasources.schemas.snapshots.models import SchemaContent, SchemaSnapshot, store_content
from datasources.schemas.snapshots.pruning import prune
from datasources.schemas.tasks import enqueue_due
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestMixin
from organizations.testing import blocked_connections

SOURCES = 300
# The key of an advisory lock.
GATE = 77
CONTENT = pack([(table("orders", column("id")), None)])


class ConcurrencyTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        self.pool = self.enterContext(ThreadPoolExecutor())

    def start(self, run: Callable[..., Any], *arguments: Any) -> Future:
        """Run a function in another thread, on its own connection."""

        def run_and_close() -> Any:
            try:
                return run(*arguments)
            finally:
                connections.close_all()

        return self.pool.submit(run_and_close)

    def wait_until_blocked(self, future: Future) -> None:
        """Return when another connection waits for a lock."""
        while not blocked_connections():
            if future.done():
                self.fail(f"It did not wait for the lock: {future.result()}")

    def store_unused(self) -> SchemaContent:
        with transaction.atomic():
            return store_content(self.acme.pk, CONTENT)

    def make_due(self, number: int) -> None:
        DataSource.objects.bulk_create(
            DataSource(
                workspace=self.workspace,
                organization=self.acme,
                name=f"Due {index}",
                type="csv",
                schema_auto_refresh=True,
                schema_next_refresh_at=timezone.now(),
            )
            for index in range(number)
        )

    def test_two_concurrent_schedulers_enqueue_each_source_once(self) -> None:
        self.make_due(SOURCES)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")
        start = threading.Barrier(2, timeout=PATIENCE_SECONDS)

        def schedule_once() -> int:
            start.wait()
            return enqueue_due()

        with mock.patch.object(tasks, "ENQUEUED_AT_ONCE", 20):
            counts = [
                future.result() for future in [self.start(schedule_once), self.start(schedule_once)]
            ]
        self.assertEqual(sum(counts), SOURCES)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(DISTINCT args ->> 'data_source_id') FROM procrastinate_jobs"
                " WHERE task_name = 'refresh_schema'"
            )
            self.assertEqual(cursor.fetchone(), (SOURCES, SOURCES))

    def test_scheduler_skips_a_locked_data_source(self) -> None:
        self.make_due(2)
        changed = DataSource.objects.filter(schema_auto_refresh=True).earliest("pk")
        with transaction.atomic():
            DataSource.objects.for_update().get(pk=changed.pk)
            self.assertEqual(self.start(enqueue_due).result(PATIENCE_SECONDS), 1)
        self.assertEqual(enqueue_due(), 1)

    def test_two_concurrent_refreshes_store_the_same_schema_once(self) -> None:
        other = DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        running = SchemaRefresh.objects.start([self.data_source, other])
        with transaction.atomic():
            running[0].finish(Code.OK, self.data_source, CONTENT)
            future = self.start(running[1].finish, Code.OK, other, CONTENT)
            self.wait_until_blocked(future)
        future.result()
        self.assertEqual((SchemaSnapshot.objects.count(), SchemaContent.objects.count()), (2, 1))

    def test_prune_keeps_unused_schema_content_while_a_refresh_reuses_it(self) -> None:
        unused = self.store_unused()
        [running] = SchemaRefresh.objects.start([self.data_source])
        with transaction.atomic():
            running.finish(Code.OK, self.data_source, CONTENT)
            self.assertEqual(self.start(prune).result(PATIENCE_SECONDS), (0, 0))
        self.assertEqual(SchemaSnapshot.objects.get().content_id, unused.pk)

    def test_prune_looks_again_after_it_has_locked_an_unused_content(self) -> None:
        """A snapshot is stored after prune has begun to look, and before it locks the content."""
        unused = self.store_unused()
        [running] = SchemaRefresh.objects.start([self.data_source])

        def wait_before_locking(execute: Any, sql: str, *arguments: Any) -> Any:
            # The statement sees the rows as they were when it began to wait.
            if "SKIP LOCKED" in sql:
                gate = f"WHERE (SELECT pg_advisory_xact_lock({GATE})) IS NOT NULL AND"
                sql = sql.replace("WHERE", gate, 1)
            return execute(sql, *arguments)

        def prune_slowly() -> tuple[int, int]:
            with connection.execute_wrapper(wait_before_locking):
                return prune()

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [GATE])
            future = self.start(prune_slowly)
            self.wait_until_blocked(future)
        running.finish(Code.OK, self.data_source, CONTENT)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        self.assertEqual(future.result(PATIENCE_SECONDS), (0, 0))
        self.assertEqual(SchemaSnapshot.objects.get().content_id, unused.pk)

    def test_schema_content_deleted_by_a_concurrent_prune_is_stored_again(self) -> None:
        unused = self.store_unused()
        [running] = SchemaRefresh.objects.start([self.data_source])
        with transaction.atomic():
            self.assertEqual(prune(), (0, 1))
            future = self.start(running.finish, Code.OK, self.data_source, CONTENT)
            self.wait_until_blocked(future)
        future.result()
        content = SchemaSnapshot.objects.get().content
        self.assertNotEqual(content.pk, unused.pk)
        self.assertEqual(content.blocks.count(), 1)

    def test_deletion_waits_for_a_refresh_that_is_being_stored(self) -> None:
        refresh(self.data_source, table("old", column("id")))
        [running] = SchemaRefresh.objects.start([self.data_source])
        with transaction.atomic():
            running.finish(Code.OK, self.data_source, CONTENT)
            future = self.start(self.call, "delete", self.path, None, self.admin)
            self.wait_until_blocked(future)
        self.assertEqual(future.result().status_code, 204)
        self.assertFalse(SchemaSnapshot.objects.exists())

    def test_two_concurrent_refresh_requests_start_one_refresh(self) -> None:
        path = f"{self.path}/schema/refresh"
        with transaction.atomic():
            first = self.call("post", path, user=self.editor)
            future = self.start(self.call, "post", path, None, self.admin)
            self.wait_until_blocked(future)
        self.assertEqual(future.result().json()["data"], first.json()["data"])
