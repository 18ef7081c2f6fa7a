"""Tests of killed web processes: under load, each request with a key takes effect once."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from threading import Lock
from typing import Any

import psutil
from django.test import TransactionTestCase

from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from organizations.idempotency.models import IdempotencyRecord
from organizations.testing import bearer
from rivergen.testing.gunicorn import gunicorn

CLIENTS = 6
# Updates of each client, and data sources that it creates.
REQUESTS = 40
KILLS = 12
TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 0.02


class Killer:
    """Kills all web processes repeatedly, after a number of answers each time."""

    def __init__(self, master: int) -> None:
        self._master = psutil.Process(master)
        self._answers = 0
        self._lock = Lock()
        self.kills = 0
        self.interrupted = 0

    def count_answer(self) -> None:
        """Count an answer, and kill the web processes if it is time."""
        with self._lock:
            self._answers += 1
            if self._answers % (2 * CLIENTS * REQUESTS // KILLS) == 0:
                for worker in self._master.children():
                    os.kill(worker.pid, signal.SIGKILL)
                self.kills += 1

    def count_interruption(self) -> None:
        """Count a request whose connection was closed without an answer."""
        with self._lock:
            self.interrupted += 1


class KilledWebTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        self.token = bearer(self.editor)

    def test_each_request_with_an_idempotency_key_takes_effect_once(self):
        with gunicorn(RATE_LIMIT_USER="1000000/min") as (web, self.port):
            self.killer = Killer(web.pid)
            with ThreadPoolExecutor(CLIENTS) as pool:
                answers = [
                    one for client in pool.map(self.send_all, range(CLIENTS)) for one in client
                ]
        number = CLIENTS * REQUESTS
        self.assertGreaterEqual(self.killer.kills, KILLS)
        self.assertGreater(self.killer.interrupted, 0)
        statuses = [status for status, _ in answers]
        self.assertEqual(
            (statuses.count(200), statuses.count(201)), (number, number), set(statuses)
        )
        # The answers match the database: each version and each data source exists once.
        changed = [body["data"]["version"] for status, body in answers if status == 200]
        self.assertEqual(sorted(changed), [*range(2, number + 2)])
        self.assertEqual(self.data_source.revisions.count(), number + 1)
        created = {body["data"]["id"] for status, body in answers if status == 201}
        stored = DataSource.objects.exclude(pk=self.data_source.pk).values_list("pk", flat=True)
        self.assertEqual((len(created), created), (number, {*stored}))
        self.assertEqual(IdempotencyRecord.objects.count(), 2 * number)

    def send_all(self, client: int) -> list[tuple[int, Any]]:
        """Send the requests of one client in sequence, and return the answers."""
        answers = []
        for number in range(REQUESTS):
            name = f"{client} {number}"
            for method, path, body in (
                ("PATCH", self.path, {"description": name}),
                ("POST", "/data-sources", {"name": name, "type": "csv"}),
            ):
                answers.append(self.send_until_answered(method, path, body, key=f"{method} {name}"))
        return answers

    def send_until_answered(self, method: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        """Send a request again until it is answered, and return status and body."""
        while True:
            try:
                status, answer = self.send(method, path, body, key)
            except (OSError, HTTPException):
                self.killer.count_interruption()
                continue
            if answer.get("error", {}).get("code") != "IDEMPOTENCY_KEY_IN_USE":
                self.killer.count_answer()
                return status, answer
            time.sleep(PAUSE_SECONDS)  # shorter than `Retry-After`, to keep the load up

    def send(self, method: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        """Send a request once on a new connection, and return status and body."""
        http = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Authorization": self.token,
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            http.request(method, f"/api/v1{path}", json.dumps(body), headers)
            response = http.getresponse()
            return response.status, json.loads(response.read())
        finally:
            http.close()
