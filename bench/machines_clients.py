"""Clients that send the load of `bench.machines`, and count how often a read is stale.

A writer changes a data source on one web server, and reads it on the other right afterwards.
"""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

HTTP_TIMEOUT_SECONDS = 30
REFRESH_PAUSE_SECONDS = 0.5
POLL_SECONDS = 0.05
AFTER_FAILURE_SECONDS = 0.2
LIST_OF_LATEST = "?ordering=-updated_at&page_size=20"


class Request(NamedTuple):
    """A request that was sent; `status` is 0 without a response."""

    kind: str
    status: int
    seconds: float


class FailedError(Exception):
    """A request failed, and has been counted."""


class Load:
    """Clients that run until they are stopped, and everything they recorded."""

    def __init__(self, ports: Sequence[int], replica_url: str) -> None:
        self.ports = ports
        self.replica_url = replica_url
        self.requests: list[Request] = []
        # By place: how often clients looked for a change, and how often it was missing.
        self.looks: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        self.crashes: list[str] = []
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], None]) -> None:
        """Repeat `work` in a separate thread."""

        def repeat() -> None:
            while not self.is_over.is_set():
                try:
                    work()
                except FailedError:
                    time.sleep(AFTER_FAILURE_SECONDS)
                except Exception as error:
                    self.crashes.append(repr(error))
                    raise

        self._threads.append(threading.Thread(target=repeat))
        self._threads[-1].start()

    def stop(self) -> None:
        """Stop all clients after their current request."""
        self.is_over.set()
        for thread in self._threads:
            thread.join()

    def look(self, where: str, is_there: bool) -> None:
        """Count whether a client saw its own change."""
        self.looks[where] += 1
        self.stale[where] += not is_there


class Client:
    """A user's connections to the web servers."""

    def __init__(self, load: Load, token: str) -> None:
        self.load = load
        self.connections = [
            HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS) for port in load.ports
        ]
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, kind: str, method: str, path: str, body: Any = None, web: int = 1) -> Any:
        """Send a request to one of the web servers, and return `data`. Raises FailedError."""
        connection, status, text = self.connections[web], 0, b""
        data = None if body is None else json.dumps(body)
        started_at = time.perf_counter()
        try:
            connection.request(method, f"/api/v1/data-sources{path}", data, self.headers)
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, HTTPException):
            connection.close()
        self.load.requests.append(Request(kind, status, time.perf_counter() - started_at))
        if not 200 <= status < 300:
            raise FailedError
        return json.loads(text)["data"]


class Writer(Client):
    """Changes a data source on one web server, and looks for the change on the other."""

    def __init__(self, load: Load, token: str, pk: int) -> None:
        super().__init__(load, token)
        self.pk = pk
        self._markers = (f"{pk} {number}" for number in itertools.count())
        self._replica: psycopg.Connection | None = None

    def work(self) -> None:
        """Change the data source, and look for the change over the API or on the replica itself."""
        marker = next(self._markers)
        changed = self.call("PATCH", "PATCH", f"/{self.pk}", {"description": marker}, web=0)
        if changed["version"] % 2:
            self.look_on_replica(changed["version"])
            return
        looks = [self.look_into_list, self.look_into_history]
        random.shuffle(looks)
        for look in looks:
            look(changed)

    def look_into_list(self, changed: Any) -> None:
        """Look for the change in the list, latest first."""
        latest = self.call("list", "GET", LIST_OF_LATEST)
        found = {listed["id"]: listed["description"] for listed in latest}
        self.load.look("list", found.get(self.pk) == changed["description"])

    def look_into_history(self, changed: Any) -> None:
        """Look for the change as the latest entry of the history."""
        changes = self.call("history", "GET", f"/{self.pk}/history?page_size=5")
        self.load.look("history", changes[0]["version"] == changed["version"])

    def look_on_replica(self, version: int) -> None:
        """Query the replica without checking whether it is new enough."""
        query = "SELECT version FROM datasources_datasource WHERE id = %s"
        try:
            if self._replica is None:
                url = self.load.replica_url
                self._replica = psycopg.connect(url, autocommit=True, connect_timeout=2)
                return  # connecting took too long for a meaningful result
            row = self._replica.execute(query, [self.pk]).fetchone()
        except psycopg.OperationalError:
            self._replica = None  # the replica is down
        else:
            self.load.look("replica itself", row is not None and row[0] == version)


class Refresher(Client):
    """Changes a file, refreshes its schema, and looks for the change."""

    def __init__(self, load: Load, token: str, pk: int, file: Path) -> None:
        super().__init__(load, token)
        self.pk = pk
        self.file = file
        self._numbers = itertools.count()

    def work(self) -> None:
        """Rename a column, or in every other round add a row, which changes only the estimate."""
        path, number = f"/{self.pk}/schema", next(self._numbers)
        column = f"column_{number // 2}"
        self.file.write_text(f"id,{column}\n" + "1,2\n" * (1 + number % 2))
        self.call("refresh", "POST", f"{path}/refresh", web=0)
        while self.call("refresh", "GET", f"{path}/refresh", web=0)["finished_at"] is None:
            time.sleep(POLL_SECONDS)
            if self.load.is_over.is_set():
                return
        [table] = self.call("schema", "GET", path)["tables"]
        is_there = column in [found["name"] for found in table["columns"]]
        self.load.look("schema", is_there and table["row_estimate"] in (None, 1 + number % 2))
        time.sleep(REFRESH_PAUSE_SECONDS)


class Reader(Client):
    """Reads lists, histories and schemas that others change."""

    def __init__(self, load: Load, token: str, ids: Sequence[int], read_pk: int) -> None:
        super().__init__(load, token)
        self.ids = ids
        self.read_pk = read_pk

    def work(self) -> None:
        """Read a list, a history and a schema from a random web server."""
        web = random.randrange(len(self.connections))
        self.call("list", "GET", "?page_size=50", web=web)
        self.call("history", "GET", f"/{random.choice(self.ids)}/history", web=web)
        self.call("schema", "GET", f"/{self.read_pk}/schema", web=web)
