"""Log lines: the request that each belongs to, and the format of JSON lines."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")
# What is known of the current request so far: `user_id`, `organization_id`.
request_fields: ContextVar[dict[str, Any] | None] = ContextVar("request_fields", default=None)

# Fields of the line that rivergen.http.middleware logs for each request.
REQUEST_FIELDS = ("method", "path", "status", "ms")


def note(**fields: Any) -> None:
    """Add fields to all further log lines of the current request.

    Only for values that the code has anyway: no query is worth a log line.
    """
    known = request_fields.get()
    if known is not None:
        known |= fields


class RequestIDFilter(logging.Filter):
    """Set `request_id` on every log record: the id of the current request, or `-`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


# Control characters and line separators, escaped; a line break also indents the next line.
ESCAPES: dict[int, str] = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
} | {ord("\n"): "\n    ", ord("\t"): "\t"}


class TextFormatter(logging.Formatter):
    """Write each record as text: its further lines, as of a traceback, are indented.

    So no text of a client, in the message of an exception, can imitate a log line.
    """

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(ESCAPES)


class JSONFormatter(logging.Formatter):
    """Write each record as one JSON object on one line.

    A traceback has the stack and the exception's message, as in text; no local variables, which
    may hold secrets.
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
        line |= request_fields.get() or {}
        line |= {name: getattr(record, name) for name in REQUEST_FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
