"""Count responses, and check each against the contract."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAILURES_SHOWN = 20


class Tally:
    """The figures of a run, to which `check` adds a response."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.endpoints: Counter[str] = Counter()
        self.refusals = 0
        self.failures: list[str] = []
        self.changed = 0

    def check(
        self,
        endpoint: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        has_changed: bool,
        request: str,
    ) -> None:
        """Count a response, and record what is wrong with it."""
        self.statuses[str(status)] += 1
        self.endpoints[endpoint] += 1
        if status >= 500:
            self.failures.append(f"{status}: {request}")
        if status < 400:
            return
        self.refusals += 1
        if not is_envelope(headers, body):
            self.failures.append(f"{status} outside of the envelope: {request}: {body[:200]!r}")
        if has_changed:
            self.changed += 1
            self.failures.append(f"{status}, but rows were changed: {request}")

    def save(self, path: Path) -> None:
        """Write the figures to a file."""
        path.write_text(json.dumps(vars(self)))

    def add(self, path: Path) -> None:
        """Add the figures in a file of another process."""
        other = json.loads(path.read_text())
        self.statuses.update(other["statuses"])
        self.endpoints.update(other["endpoints"])
        self.refusals += other["refusals"]
        self.changed += other["changed"]
        self.failures += other["failures"]

    def print(self) -> None:
        """Print the figures."""
        statuses = sorted(self.statuses.items())
        server_errors = sum(number for status, number in statuses if status >= "500")
        for failure in self.failures[:FAILURES_SHOWN]:
            print(f"FAILED: {failure}")
        print(f"requests: {sum(self.statuses.values()):,}")
        print("by status: " + ", ".join(f"{status}: {number:,}" for status, number in statuses))
        least = min(self.endpoints.values(), default=0)
        print(f"endpoints: {len(self.endpoints)}, each with {least:,} requests or more")
        print(f"refusals checked: {self.refusals:,}")
        print(f"rows changed by refusals: {self.changed}")
        print(f"5xx: {server_errors}")
        print(f"failures: {len(self.failures)}")


def is_envelope(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an error has the envelope of the contract, with the id of its request."""
    try:
        content: Any = json.loads(body)
        error = content["error"]
        return (
            content["success"] is False
            and [*content] == ["success", "error"]
            and [*error][:4] == ["code", "message", "details", "request_id"]
            and {*error} - {*[*error][:4]} <= {"conflict", "results"}
            and bool(error["message"])
            and error["request_id"] == headers["X-Request-ID"]
        )
    except (KeyError, TypeError, ValueError):
        return False
