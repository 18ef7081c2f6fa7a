"""Tests of workers and their jobs when a worker, or the database, stops or is killed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from unittest import mock
from urllib.parse import quote

import psutil
import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, connections
from django.test import SimpleTestCase, TransactionTestCase, override_settings
from django.utils import timezone
from procrastinate import RetryStrategy

from datasources import jobs
from datasources.connection_tests import starting, tasks
from datasources.connection_tests.models import KEPT_FOR, ConnectionTest
from datasources.connection_tests.testing import (
    PATIENCE_SECONDS,
    Worker,
    defer_periodic,
    lose_job,
    run_jobs,
    wait_until,
)
from datasources.connection_tests.waiting import wait_for
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.management.commands import worker
from datasources.testing import DataSourceTestMixin
from rivergen.egress.rules import parse_rules

# A dead worker is noticed after 20 seconds, checked every 10; then its job is retried.
TAKEN_OVER_WITHIN_SECONDS = 60
# Defers a job as the web process does, in a database other than the test database.
DEFER = """
INSERT INTO procrastinate_jobs (queue_name, task_name, args)
VALUES ('tests', 'test_connection', jsonb_build_object('test_id', gen_random_uuid()))
"""
REQUEST_TEST = """
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.tasks import test_connection
from datasources.models import DataSource
from organizations.models import Organization, User
acme = Organization.objects.create(name="Acme", slug="acme")
olivia = User.objects.create_user("olivia")
source = DataSource.objects.create(
    organization=acme, name="Silent", type="mysql", host="127.0.0.1", port={port},
    database_name="shop", connection_timeout=2,
)
test = ConnectionTest.objects.request(
    source.configuration({{}}), of=source, is_stored=True, user=olivia
)
test_connection.defer(test_id=str(test.pk))
"""


def silent_server():
    """Return a listener that answers nothing; `accept` times out."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE_SECONDS)
    return listener


class WorkerTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self):
        self.make_world()
        self.server = self.enterContext(silent_server())
        self.sql("DELETE FROM procrastinate_jobs")

    def sql(self, statement, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def request_test(self, connection_timeout=5):
        """Request a test of the silent server, and return it."""
        changes = {"host": "127.0.0.1", "port": self.server.getsockname()[1]}
        changes |= {"database_name": "shop", "connection_timeout": connection_timeout}
        self.data_source.apply_changes(changes, user=self.owner)
        response = self.call("post", f"{self.path}/test", user=self.editor)
        self.assertEqual(response.status_code, 202, response.content)
        return ConnectionTest.objects.get(pk=response.json()["data"]["test_id"])

    def accept_connection(self):
        """Return when a sandbox has connected to the silent server."""
        client, _ = self.server.accept()
        self.addCleanup(client.close)

    def job_states(self):
        """Return status and attempts of the jobs of connection tests."""
        return self.sql(
            "SELECT status::text, attempts FROM procrastinate_jobs"
            " WHERE task_name = 'test_connection'"
        )

    def test_job_of_a_killed_worker_is_run_once_by_another_worker(self):
        with Worker() as killed:
            test = self.request_test()
            self.accept_connection()
            self.assertEqual(self.job_states(), [("doing", 0)])
            family = psutil.Process(killed.process.pid).children(recursive=True)
            with Worker() as other:
                killed.process.kill()
                killed.process.wait()
                wait_for(test, TAKEN_OVER_WITHIN_SECONDS)
                other.stop()  # a stopped worker finishes its running job first
        self.assertEqual((test.outcome or {}).get("code"), "DEADLINE")
        self.assertEqual(self.job_states(), [])
        finished_at = test.finished_at
        test.refresh_from_db()
        self.assertEqual(test.finished_at, finished_at)
        self.assertEqual(self.shown()["last_test"]["test_id"], str(test.pk))
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        self.assertEqual(alive, [])

    def test_lost_job_is_retried(self):
        test = self.request_test()
        lose_job("test_connection", attempts=jobs.ATTEMPTS_MAX - 2)
        run_jobs()
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "EGRESS_DENIED")

    def test_job_that_killed_its_workers_fails_after_the_last_attempt(self):
        test = self.request_test()
        lose_job("test_connection", attempts=jobs.ATTEMPTS_MAX - 1)
        run_jobs()
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "DRIVER_CRASHED")
        self.assertEqual(test.ciphertext, b"")
        self.assertEqual(self.shown()["last_test"]["code"], "DRIVER_CRASHED")
        self.assertEqual(self.job_states(), [("failed", jobs.ATTEMPTS_MAX)])

    def test_job_that_raises_fails_after_the_last_attempt(self):
        test = self.request_test()
        immediately = RetryStrategy(max_attempts=jobs.ATTEMPTS_MAX - 1)
        with (
            mock.patch.object(tasks.test_connection, "retry_strategy", immediately),
            mock.patch(
                "datasources.connections.sandbox.attempt.attempt_in_child",
                side_effect=OSError("no process"),
            ) as attempt,
        ):
            run_jobs()
        self.assertEqual(attempt.call_count, jobs.ATTEMPTS_MAX)
        test.refresh_from_db()
        self.assertEqual((test.outcome or {}).get("code"), "DRIVER_CRASHED")

    def test_express_test_gets_a_slot_while_many_tests_run(self):
        with mock.patch.object(starting, "EXPRESS_MAX", 0):
            many = [self.request_test(connection_timeout=300).pk for _ in range(2)]
        few = self.request_test(connection_timeout=5)
        with Worker(WORKER_CONCURRENCY="3") as worker:
            wait_for(few, PATIENCE_SECONDS)
            self.assertEqual((few.outcome or {}).get("code"), "DEADLINE")
            self.assertEqual(ConnectionTest.objects.running().filter(pk__in=many).count(), 2)
            self.sql("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
            for fork_server in psutil.Process(worker.process.pid).children():
                for child in fork_server.children():
                    child.kill()

    def test_worker_deletes_old_tests(self):
        old, young = self.request_test(), self.request_test()
        requested_at = timezone.now() - KEPT_FOR - timedelta(seconds=1)
        ConnectionTest.objects.filter(pk=old.pk).update(requested_at=requested_at)
        defer_periodic(tasks.delete_old_tests)
        run_jobs()
        self.assertEqual([test.pk for test in ConnectionTest.objects.all()], [young.pk])

    def test_stopped_worker_exits_with_0_and_leaves_no_process(self):
        for signum in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signum), Worker() as stopped:
                family = psutil.Process(stopped.process.pid).children(recursive=True)
                self.assertTrue(family)
                stopped.process.send_signal(signum)
                self.assertEqual(stopped.process.wait(PATIENCE_SECONDS), 0)
                _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
                self.assertEqual(alive, [])

    def test_stopped_worker_finishes_its_running_job(self):
        with Worker() as stopped:
            test = self.request_test(connection_timeout=5)
            self.accept_connection()
            self.assertEqual(stopped.stop(), 0)
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "DEADLINE")

    def test_stopped_worker_requeues_a_job_that_takes_too_long(self):
        test = self.request_test(connection_timeout=300)

        async def stop_midway():
            work = asyncio.create_task(worker.Command().work())
            await asyncio.to_thread(self.accept_connection)
            found = psutil.Process().children(recursive=True)
            os.kill(os.getpid(), signal.SIGTERM)
            await work
            await sync_to_async(connections.close_all)()
            return found

        egress = override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8"))
        with egress, mock.patch.object(worker, "GRACEFUL_SECONDS", 0.1):
            family = asyncio.run(stop_midway())
        self.assertEqual(self.job_states(), [("todo", 1)])
        test.refresh_from_db()
        self.assertIsNone(test.finished_at)
        fork_server = [process for process in family if process.is_running()]
        self.assertLess(len(fork_server), len(family))


class DatabaseRestartTests(SimpleTestCase):
    """Tests of a worker whose database is restarted."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.database = cls.enterClassContext(PostgreSQLServer())
        login = f"{USERNAME}:{quote(PASSWORD, safe='')}"
        cls.url = f"postgresql://{login}@127.0.0.1:{cls.database.port}/{DATABASE}"
        cls.manage("migrate", "--verbosity=0")

    def setUp(self):
        self.worker = self.enterContext(Worker(DATABASE_URL=self.url))

    @classmethod
    def manage(cls, *arguments):
        subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": cls.url},
            check=True,
            timeout=PATIENCE_SECONDS,
            capture_output=True,
        )

    def assert_worker_runs_jobs(self):
        with psycopg.connect(self.url, autocommit=True) as database:
            database.execute(DEFER)
        wait_until(
            self.url,
            "NOT EXISTS (SELECT FROM procrastinate_jobs WHERE task_name = 'test_connection')",
        )
        self.assertIsNone(self.worker.process.poll())

    def test_worker_survives_a_restart_of_the_database(self):
        self.assert_worker_runs_jobs()
        for _ in range(2):
            self.database.restart()
            self.assert_worker_runs_jobs()

    def test_worker_waits_while_the_database_is_down(self):
        self.assert_worker_runs_jobs()
        self.database.stop()
        with self.assertRaises(subprocess.TimeoutExpired):
            self.worker.process.wait(5)
        self.database.restart()
        self.assert_worker_runs_jobs()

    def test_job_that_ends_while_the_database_is_down_is_retried(self):
        with silent_server() as server:
            self.manage("shell", "-c", REQUEST_TEST.format(port=server.getsockname()[1]))
            client, _ = server.accept()
            self.database.stop()
            while client.recv(1024):  # until the sandbox has hung up
                pass
            client.close()
            with self.assertRaises(subprocess.TimeoutExpired):
                self.worker.process.wait(2)
            self.database.restart()
            wait_until(
                self.url,
                "(SELECT finished_at FROM datasources_connectiontest) IS NOT NULL",
                TAKEN_OVER_WITHIN_SECONDS,
            )
        self.assertIsNone(self.worker.process.poll())
