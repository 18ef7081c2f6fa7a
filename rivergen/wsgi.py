"""The WSGI application that gunicorn serves."""

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")

# Of the database's sessions with the web, in milliseconds.
SESSION_LIMITS = {
    # A client waits for an answer; what somebody else keeps locked for longer is refused with 503.
    # Workers and commands wait as long as it takes.
    "lock_timeout": 2_000,
    # A web process that vanished with its machine leaves nothing locked. No other one says nothing
    # for so long in a transaction.
    "idle_in_transaction_session_timeout": 20_000,
}

django_application = get_wsgi_application()


def limit_sessions() -> None:
    """Have the database end what takes too long in the connections of this process."""
    options = connections.settings["default"]["OPTIONS"]
    limits = [f"-c {name}={value}" for name, value in SESSION_LIMITS.items()]
    # First: what DATABASE_URL says comes after them, and counts.
    options["options"] = " ".join([*limits, *filter(None, [options.get("options")])])


limit_sessions()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request; one with a chunked body (RFC 9112, section 7.1) is given a length first.

    Django and DRF go by Content-Length alone and would take such a body for an empty one. It is
    read to one byte above the limit, which is enough for a 413.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        body = environ["wsgi.input"].read(settings.REQUEST_BODY_MAX_BYTES + 1)
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return django_application(environ, start_response)
