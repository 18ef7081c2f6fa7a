"""What every line of the log says of the request that it belongs to, and how it says so in JSON."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")
# What is known of the request at hand by now: `user_id`, `organization_id`.
about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)

# What the line of a request brings (rivergen.http.middleware), besides its text.
REQUEST_FIELDS = ("method", "path", "status", "ms")


def note(**fields: Any) -> None:
    """Have this line of the request at hand, and all that follow, say this as well.

    For what is at hand anyway: no query is made for a line of a log.
    """
    known = about.get()
    if known is not None:
        known |= fields


class RequestIDFilter(logging.Filter):
    """Put the id of the request at hand on every log record; `-` outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class JSONFormatter(logging.Formatter):
    """One JSON object for each record, on one line, whatever is in it.

    A traceback is where it failed and what the exception says, as in text; it has no local
    variables, which may be secrets.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) != "-":
            line["request_id"] = current
        line |= about.get() or {}
        line |= {name: getattr(record, name) for name in REQUEST_FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
