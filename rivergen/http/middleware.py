"""Middleware: the id, log line, metrics and security headers of each request."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus

from corsheaders.signals import check_request_enabled
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from rivergen.http.throttling import counted, show_limits
from rivergen.observability import metrics
from rivergen.observability.logs import request_fields, request_id

OPEN_PATH = "/api/v1/openapi.json"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger("rivergen.request")


class RequestMiddleware:
    """Set the id of each request, log its outcome and count it.

    The client's `X-Request-ID` is kept if it is valid (contract, section 1). The id appears in the
    response, the log, the error body and the history.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started_at = time.perf_counter()
        sent = request.headers.get("X-Request-ID", "")
        current = sent if SANE_REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        id_token, fields_token = request_id.set(current), request_fields.set({})
        counted_token = counted.set({})
        metrics.begin()
        try:
            response = self.get_response(request)
            if request.method == "HEAD" and not response.streaming:
                response.content = b""  # Content-Length keeps the length of the body
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                # It would have to be that of the 200 (RFC 9110, section 8.6).
                del response["Content-Length"]
            show_limits(response)
            seconds = time.perf_counter() - started_at
            metrics.count(request, response.status_code, seconds)
            # %r keeps a path with line breaks on one line.
            outcome = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
            }
            logger.info("%s %r %d %.1f ms", *outcome.values(), extra=outcome)
        finally:
            metrics.end()
            counted.reset(counted_token)
            request_fields.reset(fields_token)
            request_id.reset(id_token)
        response["X-Request-ID"] = current
        response.setdefault("Content-Security-Policy", settings.CONTENT_SECURITY_POLICY)
        response.setdefault("Cache-Control", "no-store")  # static files have their own
        return response


@receiver(check_request_enabled)
def is_open_to_all_origins(request: HttpRequest, **kwargs: object) -> bool:
    """Return whether pages of any origin may send this request (django-cors-headers asks)."""
    return request.path_info == OPEN_PATH
