"""The WSGI application that gunicorn serves."""

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections

from rivergen.server.headers import limit_headers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")

# Limits of the web processes' database sessions, in milliseconds.
SESSION_LIMITS = {
    # A request that waits longer for a lock gets 503. Workers and commands wait without a limit.
    "lock_timeout": 2_000,
    # Releases the locks of a web process whose machine has vanished. No other process is idle in a
    # transaction for so long.
    "idle_in_transaction_session_timeout": 20_000,
}

django_application = get_wsgi_application()


def limit_sessions() -> None:
    """Set the limits for the database sessions of this process."""
    options = connections.settings["default"]["OPTIONS"]
    limits = [f"-c {name}={value}" for name, value in SESSION_LIMITS.items()]
    # The limits come first, so that options in DATABASE_URL override them.
    options["options"] = " ".join([*limits, *filter(None, [options.get("options")])])


limit_sessions()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call Django's application, with a Content-Length for chunked bodies (RFC 9112, section 7.1).

    Django and DRF take a body without Content-Length for an empty one. A chunked body is read to
    one byte above the limit, which is enough for a 413. Headers are limited (see `limit_headers`).
    """
    limit_headers(environ)
    if "HTTP_TRANSFER_ENCODING" in environ:
        body = environ["wsgi.input"].read(settings.REQUEST_BODY_MAX_BYTES + 1)
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    response = django_application(environ, start_response)
    discard_body(environ)
    return response


def discard_body(environ: dict[str, Any]) -> None:
    """Read what no view has read of a body within the limit.

    gunicorn would otherwise close the connection, after a response that promised to keep it.
    """
    if 0 < int(environ.get("CONTENT_LENGTH") or 0) <= settings.REQUEST_BODY_MAX_BYTES:
        environ["wsgi.input"].read(settings.REQUEST_BODY_MAX_BYTES)
