"""What becomes of the jobs when a worker, or the database, does not stay."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import uuid
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
from datasources.connection_tests import starting as requests
from datasources.connection_tests import tasks
from datasources.connection_tests.models import KEPT_FOR, ConnectionTest
from datasources.connection_tests.testing import (
    PATIENCE_SECONDS,
    Worker,
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

# A worker that is gone is missed after 20 seconds, looked for every 10; then its job is run.
TAKEN_OVER_WITHIN_SECONDS = 60
# Deferred as the web process does it, in a database that is not that of the tests.
DEFER = """
INSERT INTO procrastinate_jobs (queue_name, task_name, args)
VALUES ('tests', 'test_connection', jsonb_build_object('test_id', gen_random_uuid()))
"""
ASK = """
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
    """Listen, and let nobody wait for `accept` for ever."""
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

    def ask(self, connection_timeout=5):
        """Ask for a test of a server that says nothing."""
        changes = {"host": "127.0.0.1", "port": self.server.getsockname()[1]}
        changes |= {"database_name": "shop", "connection_timeout": connection_timeout}
        self.data_source.apply_changes(changes, user=self.owner)
        response = self.call("post", f"{self.path}/test", user=self.editor)
        self.assertEqual(response.status_code, 202, response.content)
        return ConnectionTest.objects.get(pk=response.json()["data"]["test_id"])

    def accept(self):
        """Return when a child has connected."""
        client, _ = self.server.accept()
        self.addCleanup(client.close)

    def jobs(self):
        """Give the status and the attempts of every test's job."""
        return self.sql(
            "SELECT status::text, attempts FROM procrastinate_jobs"
            " WHERE task_name = 'test_connection'"
        )

    def test_the_job_of_a_killed_worker_is_done_once_by_another_one(self):
        with Worker() as killed:
            test = self.ask()
            self.accept()
            self.assertEqual(self.jobs(), [("doing", 0)])
            family = psutil.Process(killed.process.pid).children(recursive=True)
            with Worker() as other:
                killed.process.kill()
                killed.process.wait()
                wait_for(test, TAKEN_OVER_WITHIN_SECONDS)
                other.stop()  # it finishes what it has in hand
        self.assertEqual((test.outcome or {}).get("code"), "DEADLINE")
        self.assertEqual(self.jobs(), [])
        finished_at = test.finished_at
        test.refresh_from_db()
        self.assertEqual(test.finished_at, finished_at)
        self.assertEqual(self.shown()["last_test"]["test_id"], str(test.pk))
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        self.assertEqual(alive, [])

    def test_a_lost_job_is_run_again(self):
        test = self.ask()
        lose_job("test_connection", attempts=jobs.ATTEMPTS_MAX - 2)
        run_jobs()
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "EGRESS_DENIED")

    def test_a_job_that_has_killed_its_workers_is_given_up(self):
        test = self.ask()
        lose_job("test_connection", attempts=jobs.ATTEMPTS_MAX - 1)
        run_jobs()
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "DRIVER_CRASHED")
        self.assertEqual(test.ciphertext, b"")
        self.assertEqual(self.shown()["last_test"]["code"], "DRIVER_CRASHED")
        self.assertEqual(self.jobs(), [("failed", jobs.ATTEMPTS_MAX)])

    def test_a_test_that_cannot_be_run_is_given_up_after_some_attempts(self):
        test = self.ask()
        at_once = RetryStrategy(max_attempts=jobs.ATTEMPTS_MAX - 1)
        with (
            mock.patch.object(tasks.test_connection, "retry_strategy", at_once),
            mock.patch(
                "datasources.connections.sandbox.attempt.attempt_in_child",
                side_effect=OSError("no process"),
            ) as attempt,
        ):
            run_jobs()
        self.assertEqual(attempt.call_count, jobs.ATTEMPTS_MAX)
        test.refresh_from_db()
        self.assertEqual((test.outcome or {}).get("code"), "DRIVER_CRASHED")

    def test_who_has_few_tests_finds_a_place_while_others_have_many(self):
        with mock.patch.object(requests, "EXPRESS_MAX", 0):
            many = [self.ask(connection_timeout=300).pk for _ in range(2)]
        few = self.ask(connection_timeout=1)
        with Worker(WORKER_CONCURRENCY="3") as worker:
            wait_for(few, PATIENCE_SECONDS)
            self.assertEqual((few.outcome or {}).get("code"), "DEADLINE")
            self.assertEqual(ConnectionTest.objects.running().filter(pk__in=many).count(), 2)
            self.sql("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
            for fork_server in psutil.Process(worker.process.pid).children():
                for child in fork_server.children():
                    child.kill()

    def test_old_tests_are_deleted(self):
        old, young = self.ask(), self.ask()
        requested_at = timezone.now() - KEPT_FOR - timedelta(seconds=1)
        ConnectionTest.objects.filter(pk=old.pk).update(requested_at=requested_at)
        tasks.delete_old_tests.configure(queueing_lock=str(uuid.uuid4())).defer(timestamp=0)
        run_jobs()
        self.assertEqual([test.pk for test in ConnectionTest.objects.all()], [young.pk])

    def test_a_worker_that_is_told_to_stop_ends_well_and_leaves_no_process(self):
        for signum in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signum), Worker() as stopped:
                family = psutil.Process(stopped.process.pid).children(recursive=True)
                self.assertTrue(family)
                stopped.process.send_signal(signum)
                self.assertEqual(stopped.process.wait(PATIENCE_SECONDS), 0)
                _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
                self.assertEqual(alive, [])

    def test_a_worker_that_is_told_to_stop_finishes_what_it_has_in_hand(self):
        with Worker() as stopped:
            test = self.ask(connection_timeout=1)
            self.accept()
            self.assertEqual(stopped.stop(), 0)
        test.refresh_from_db()
        self.assertEqual(test.outcome["code"], "DEADLINE")

    def test_what_takes_too_long_to_finish_is_left_to_the_next_worker(self):
        test = self.ask(connection_timeout=300)

        async def stop_midway():
            work = asyncio.create_task(worker.Command().work())
            await asyncio.to_thread(self.accept)
            found = psutil.Process().children(recursive=True)
            os.kill(os.getpid(), signal.SIGTERM)
            await work
            await sync_to_async(connections.close_all)()
            return found

        egress = override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8"))
        with egress, mock.patch.object(worker, "GRACEFUL_SECONDS", 0.1):
            family = asyncio.run(stop_midway())
        self.assertEqual(self.jobs(), [("todo", 1)])
        test.refresh_from_db()
        self.assertIsNone(test.finished_at)
        forkserver_only = [one for one in family if one.is_running()]
        self.assertLess(len(forkserver_only), len(family))


class DatabaseRestartTests(SimpleTestCase):
    """A worker on a database of its own, that is restarted."""

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

    def check_that_it_works(self):
        with psycopg.connect(self.url, autocommit=True) as database:
            database.execute(DEFER)
        wait_until(
            self.url,
            "NOT EXISTS (SELECT FROM procrastinate_jobs WHERE task_name = 'test_connection')",
        )
        self.assertIsNone(self.worker.process.poll())

    def test_a_restart_of_the_database_does_not_end_a_worker(self):
        self.check_that_it_works()
        for _ in range(2):
            self.database.restart()
            self.check_that_it_works()

    def test_a_worker_waits_for_a_database_that_is_away(self):
        self.check_that_it_works()
        self.database.stop()
        with self.assertRaises(subprocess.TimeoutExpired):
            self.worker.process.wait(5)
        self.database.restart()
        self.check_that_it_works()

    def test_a_test_that_ends_while_the_database_is_away_is_run_again(self):
        with silent_server() as server:
            self.manage("shell", "-c", ASK.format(port=server.getsockname()[1]))
            client, _ = server.accept()
            self.database.stop()
            while client.recv(1024):  # until the child has hung up
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
