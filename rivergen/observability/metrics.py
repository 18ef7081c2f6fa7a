"""`/metrics`: request counts and database figures for Prometheus.

Each web process counts its requests in files that all processes of the server read
(rivergen.server.gunicorn). The database is queried on each scrape. So every web server reports its
own requests, and all report the same database figures.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import ClassVar

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from rest_framework.settings import api_settings

from rivergen.http.addresses import client_address, read_address

# Other methods count as `other`: each word that a client invents would be a new series.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Seconds: an update takes milliseconds; a request that waits for a test, up to half a minute.
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Milliseconds. Prometheus itself times out after ten seconds.
STATEMENT_TIMEOUT = 2_000
# Headers that proxies add.
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")

# The metrics of this process; the other processes are read from their files.
disable_created_metrics()
registry = CollectorRegistry()

REQUESTS = Counter(
    "rivergen_http_requests",
    "Requests that were answered.",
    ["method", "route", "status"],
    registry=registry,
)
DURATION = Histogram(
    "rivergen_http_request_duration_seconds",
    "Seconds to answer a request, without the wait for a web thread.",
    ["method", "route"],
    registry=registry,
    buckets=BUCKETS,
)
IN_PROGRESS = Gauge(
    "rivergen_http_requests_in_progress",
    "Requests that are being answered; a web process answers 8, and 3 probes, at a time.",
    registry=registry,
    multiprocess_mode="livesum",
)


# A full disk or a deleted folder must not fail the request; the library raises various exceptions.
ignore_errors = contextlib.suppress(Exception)


def begin() -> None:
    """Count a request as in progress."""
    with ignore_errors:
        IN_PROGRESS.inc()


def end() -> None:
    """Stop counting a request as in progress."""
    with ignore_errors:
        IN_PROGRESS.dec()


def count(request: HttpRequest, status: int, seconds: float) -> None:
    """Count an answered request by its method, route and status."""
    match = request.resolver_match
    if match is None and request.method == "OPTIONS":  # a preflight, answered before routing
        with contextlib.suppress(Resolver404):
            match = resolve(request.path_info)
    if match is not None:
        route = path_template(match.route)
    else:
        # Without a route, WhiteNoise served a file before routing, or the path is unknown.
        is_file = request.path_info.startswith(settings.STATIC_URL) and status < 400
        route = settings.STATIC_URL if is_file else "unknown"
    method = request.method if request.method in METHODS else "other"
    with ignore_errors:
        requests, duration = _series(method, route, status)
        requests.inc()
        duration.observe(seconds)


@functools.cache
def path_template(route: str) -> str:
    """Return a route as OpenAPI writes it: `/api/v1/data-sources/{data_source_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", simplify_regex(route))


@functools.cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return the two series, cached: the lookup takes as long as the counting."""
    return REQUESTS.labels(method, route, status), DURATION.labels(method, route)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer 200 with all metrics, those of the database included.

    If the database cannot be read, they are missing and `rivergen_database_up` is 0. A client that
    METRICS_ALLOW or METRICS_TOKEN does not admit gets 403.
    """
    if not is_allowed(request):
        text = "Not allowed to read metrics: check METRICS_ALLOW and METRICS_TOKEN."
        return HttpResponse(text, status=HTTPStatus.FORBIDDEN, content_type="text/plain")
    answer = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(answer)
    else:
        answer.register(registry)
    answer.register(DatabaseCollector())
    return HttpResponse(generate_latest(answer), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class DatabaseCollector:
    """Collect the metrics that apps read from the database, within a time limit."""

    readers: ClassVar[list[Callable[[], Iterable[Metric]]]] = []
    """What each app reads; an app adds its own when it is ready."""

    def collect(self) -> Iterable[Metric]:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                # Without a time limit, repeated scrapes would pile up slow queries.
                cursor.execute("SET LOCAL statement_timeout = %s", [STATEMENT_TIMEOUT])
                found = [metric for read in self.readers for metric in read()]
        except (DatabaseError, InterfaceError):
            return [database_up(False)]
        return [database_up(True), *found]


def database_up(is_up: bool) -> Metric:
    """Return the metric that says whether the database figures could be read."""
    help_text = "Whether the database answered within its time: 1 or 0."
    return GaugeMetricFamily("rivergen_database_up", help_text, is_up)


def is_allowed(request: HttpRequest) -> bool:
    """Return whether a request comes from METRICS_ALLOW, and has METRICS_TOKEN if that is set."""
    sent = request.headers.get("Authorization", "")
    token = settings.METRICS_TOKEN
    if token and not constant_time_compare(sent, f"Bearer {token}"):
        return False
    # Behind a proxy on this machine, every client seems to be local, unless NUM_PROXIES says which
    # address of `X-Forwarded-For` is the client's.
    is_known = api_settings.NUM_PROXIES and "X-Forwarded-For" in request.headers
    if not is_known and any(name in request.headers for name in PROXY_HEADERS):
        return False
    address = read_address(client_address(request))
    return address is not None and any(address in network for network in settings.METRICS_ALLOW)
