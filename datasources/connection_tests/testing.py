"""Helpers of tests that run jobs: a real worker process, or jobs run in this process."""

import os
import subprocess
import sys
import threading
import uuid
from typing import Any

import psycopg
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector

from datasources import jobs
from datasources.testing import DataSourceTestMixin
from organizations.models import User
from rivergen.testing.services import url_of

PATIENCE_SECONDS = 30
# A valid host key, which no server has.
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1vZGVsLWtleS1vZi1ub2JvZHktYXQtYWxsLSEh"


class Worker:
    """A context manager that runs `manage.py worker` on the test database.

    The worker may connect to 127.0.0.0/8, where the servers of the tests listen.
    """

    def __init__(self, **environment: str) -> None:
        self._environment = {
            "DATABASE_URL": url_of(connection.settings_dict["NAME"]),
            "EGRESS_ALLOW": "127.0.0.0/8",
            **environment,
        }
        self.log: list[str] = []
        self._ready = threading.Event()

    def __enter__(self) -> "Worker":
        started_at = timezone.now().isoformat()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            cwd=settings.BASE_DIR,
            env={**os.environ, **self._environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        if not self._ready.wait(PATIENCE_SECONDS) or self.process.poll() is not None:
            raise RuntimeError("The worker does not start:\n" + "".join(self.log))
        # "Ready" is logged before the first heartbeat is stored.
        registered = "EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat >= '{}')"
        wait_until(self._environment["DATABASE_URL"], registered.format(started_at))
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Terminate the worker as an operator does, and return its exit status."""
        self.process.terminate()
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "Ready" in line:
                self._ready.set()
        self._ready.set()


@async_to_sync
async def run_jobs() -> None:
    """Run all waiting jobs in this process."""
    assert isinstance(app.connector, DjangoConnector)
    with app.replace_connector(app.connector.get_worker_connector()) as worker_app:
        async with worker_app.open_async():
            await worker_app.run_worker_async(
                wait=False, install_signal_handlers=False, listen_notify=False
            )


def wait_until(database_url: str, condition: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when an SQL expression is true. Raises psycopg.Error if that takes too long."""
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute(
            f"""
            DO $$
            DECLARE deadline timestamptz := clock_timestamp() + interval '{seconds} s';
            BEGIN
                WHILE NOT ({condition}) LOOP
                    IF clock_timestamp() > deadline THEN
                        RAISE 'It took too long.';
                    END IF;
                    PERFORM pg_sleep(0.1);
                    COMMIT;
                END LOOP;
            END $$
            """
        )


def defer_periodic(task: Any) -> None:
    """Enqueue a periodic task, even if a worker has enqueued it already by its schedule."""
    task.configure(queueing_lock=str(uuid.uuid4())).defer(timestamp=0)


def lose_job(task_name: str, attempts: int) -> None:
    """Make a job look as if `attempts` workers had been killed while they ran it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', attempts = %s, worker_id = NULL"
            " WHERE task_name = %s",
            [attempts, task_name],
        )
    defer_periodic(jobs.retry_stalled_jobs)


class WorkerTestCase(DataSourceTestMixin, TransactionTestCase):
    """A test case with a running worker."""

    worker: Worker

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.worker = cls.enterClassContext(Worker())

    def setUp(self) -> None:
        self.make_world()

    def run_test(
        self, path: str | None = None, body: Any = None, user: User | None = None, status: int = 200
    ) -> Any:
        """Run a connection test over HTTP, and return its result."""
        target = f"{path or self.path}/test?wait=30"
        response = self.call("post", target, body, user or self.editor)
        assert response.status_code == status, response.content
        return response.json()["data"]
