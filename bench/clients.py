"""Clients of the API that repeat their requests in threads."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

HTTP_TIMEOUT_SECONDS = 30


class Load:
    """Clients that run until they are stopped, with the number of requests and the failures."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Repeat `work` in a separate thread; an exception counts as a failure."""

        def repeat() -> None:
            while not self.is_over.is_set():
                try:
                    work()
                except Exception as error:
                    self.failures.append(f"{name}: {error!r}")
                with self.lock:
                    self.counts[name] += 1

        self.threads.append(threading.Thread(target=repeat))
        self.threads[-1].start()

    def stop(self) -> None:
        """Stop all clients after their current request."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()


class Client:
    """A keep-alive connection with the access token of a user."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None, if_match: str = "") -> str:
        """Send a request below `/api/v1/data-sources`; return the ETag of the response, or "".

        Raises RuntimeError unless it succeeds, or another client was faster than `if_match` (412).
        """
        data = None if body is None else json.dumps(body)
        headers = self.headers | ({"If-Match": if_match} if if_match else {})
        self.connection.request(method, f"/api/v1/data-sources{path}", data, headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        if response.status >= 300 and not (if_match and response.status == 412):
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return response.getheader("ETag", "")
