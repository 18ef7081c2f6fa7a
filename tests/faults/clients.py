"""Clients that change data sources all the time, and keep a ledger of what was acknowledged."""

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
# Each client has one to itself.
FIELDS = ("description", "database_name", "schema_name", "file_path")

# Of all values that are ever written.
numbers = itertools.count()


@dataclass(frozen=True)
class Write:
    """A change that was acknowledged: this version of the data source gave the field the value."""

    pk: int
    version: int
    field: str
    value: str


@dataclass
class Ledger:
    """What all clients saw."""

    writes: list[Write] = field(default_factory=list)
    # By status; 0 is that of a connection that ended without an answer.
    answers: Counter[int] = field(default_factory=Counter)
    # Neither 200 nor 503 in the envelope, by its text.
    wrong: Counter[str] = field(default_factory=Counter)
    # When changes were acknowledged (`time.monotonic`).
    good_at: list[float] = field(default_factory=list)
    # How long the slowest answer took, in seconds.
    slowest: float = 0

    def wait_for_answers(self, status: int, count: int) -> None:
        """Return once so many more answers have come with a status."""
        enough = self.answers[status] + count
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.answers[status] < enough:
            if time.monotonic() > deadline:
                raise RuntimeError(f"No more answers {status}, but {dict(self.answers)}.")
            time.sleep(POLL_SECONDS)

    def wait_for_good(self, since: float) -> float:
        """Wait for the first acknowledged change after a moment; give how long that took."""
        while not self.good_at or self.good_at[-1] < since:
            if time.monotonic() > since + TIMEOUT_SECONDS:
                raise RuntimeError("No change was acknowledged any more.")
            time.sleep(POLL_SECONDS)
        return next(at for at in self.good_at if at >= since) - since


class Client:
    """Gives some fields of one data source new values, the same to all; nobody else writes them."""

    def __init__(
        self, ledger: Ledger, port: int, token: str, pk: int, fields: Sequence[str]
    ) -> None:
        self.ledger = ledger
        self.pk = pk
        self.fields = fields
        self.connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def work(self) -> None:
        """Send one change, and note what came of it."""
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
        """Note what came of the change that was sent."""
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
    """Whether an answer is a 503 as the contract has it (section 1)."""
    try:
        code = json.loads(text)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return False
    return status == 503 and code == "SERVICE_UNAVAILABLE" and bool(headers["Retry-After"])


@contextmanager
def load(clients: Sequence[Client]) -> Iterator[None]:
    """Have these clients work until the block ends."""
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
