"""Clients that keep changing data sources, and record which changes were acknowledged."""

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

TIMEOUT_SECONDS = 30
AFTER_FAILURE_SECONDS = 0.02
POLL_SECONDS = 0.005
# Each client of a data source writes another field.
FIELDS = ("description", "database_name", "schema_name", "file_path")

# Makes every written value unique.
numbers = itertools.count()


@dataclass(frozen=True)
class Write:
    """An acknowledged change: this version of the data source set the field to the value."""

    pk: int
    version: int
    field: str
    value: str


@dataclass
class Ledger:
    """What all clients saw: responses, acknowledged changes and times."""

    writes: list[Write] = field(default_factory=list)
    # Number of responses by status; 0: the connection ended without a response.
    answers: Counter[int] = field(default_factory=Counter)
    # Responses other than 200 and 503 in the envelope, by their text.
    wrong: Counter[str] = field(default_factory=Counter)
    # Times of acknowledgements (`time.monotonic`).
    good_at: list[float] = field(default_factory=list)
    # Seconds of the slowest response.
    slowest: float = 0

    def wait_for_answers(self, status: int, count: int) -> None:
        """Return after `count` more responses with a status."""
        enough = self.answers[status] + count
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.answers[status] < enough:
            if time.monotonic() > deadline:
                raise RuntimeError(f"No further responses {status}; so far: {dict(self.answers)}.")
            time.sleep(POLL_SECONDS)

    def wait_for_good(self, since: float) -> float:
        """Wait for the first acknowledged change after a moment; return the seconds until then."""
        while not self.good_at or self.good_at[-1] < since:
            if time.monotonic() > since + TIMEOUT_SECONDS:
                raise RuntimeError("No further change was acknowledged.")
            time.sleep(POLL_SECONDS)
        return next(at for at in self.good_at if at >= since) - since


class Client:
    """Keep setting some fields of a data source to one new value; no other client writes them."""

    def __init__(
        self, ledger: Ledger, port: int, token: str, pk: int, fields: Sequence[str]
    ) -> None:
        self.ledger = ledger
        self.pk = pk
        self.fields = fields
        self.connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def work(self) -> None:
        """Send one change, and record the response."""
        with contextlib.suppress(OSError, HTTPException):
            self.send()
        self.receive()

    def send(self) -> None:
        """Send one change. Raises OSError."""
        self.sent_at = time.monotonic()
        self.value = f"number {next(numbers)}"
        body = json.dumps(dict.fromkeys(self.fields, self.value))
        path = f"/api/v1/data-sources/{self.pk}"
        self.connection.request("PATCH", path, body, self.headers)

    def receive(self) -> None:
        """Read and record the response to the change that was sent."""
        try:
            response = self.connection.getresponse()
            status, headers, text = response.status, response.headers, response.read()
        except (OSError, HTTPException):
            self.connection.close()
            status, headers, text = 0, None, b""
        self.ledger.answers[status] += 1
        self.ledger.slowest = max(self.ledger.slowest, time.monotonic() - self.sent_at)
        if status == 200:
            self.ledger.good_at.append(time.monotonic())
            version = json.loads(text)["data"]["version"]
            for name in self.fields:
                self.ledger.writes.append(Write(self.pk, version, name, self.value))
            return
        if status and not is_unavailable(status, headers, text):
            self.ledger.wrong[f"{status}: {text[:200]!r}"] += 1
        time.sleep(AFTER_FAILURE_SECONDS)


def is_unavailable(status: int, headers: Any, text: bytes) -> bool:
    """Return whether a response is a 503 of the contract (section 1)."""
    try:
        code = json.loads(text)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return False
    return status == 503 and code == "SERVICE_UNAVAILABLE" and bool(headers["Retry-After"])


@contextmanager
def load(clients: Sequence[Client]) -> Iterator[None]:
    """Keep these clients writing, each in a thread, until the block ends."""
    is_over = threading.Event()

    def repeat(client: Client) -> None:
        while not is_over.is_set():
            client.work()

    threads = [threading.Thread(target=repeat, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
