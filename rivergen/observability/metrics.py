"""`/metrics`: how the service does, for Prometheus.

Requests are counted in each web process, in files that all can read (rivergen.server.gunicorn);
what is stored is counted when somebody asks. So each web server tells of its own requests, and all
tell the same of the database.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from ipaddress import ip_address

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

# A caller may send any word as a method; each would be a series for ever.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Seconds: an update takes some milliseconds, and one that waits for a test up to half a minute.
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Milliseconds. Prometheus waits for ten seconds by itself.
STATEMENT_TIMEOUT = 2_000
# What a proxy in front adds.
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")

# Of this process alone; all other processes are read from their files.
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
    "What it took to answer a request, without the wait for a thread of the web.",
    ["method", "route"],
    registry=registry,
    buckets=BUCKETS,
)
IN_PROGRESS = Gauge(
    "rivergen_http_requests_in_progress",
    "Requests that are being answered; a web process answers 8 at a time.",
    registry=registry,
    multiprocess_mode="livesum",
)


# A disk that is full, a folder that somebody has cleaned up, and what the library makes of either:
# a request is worth more than its count.
uncounted = contextlib.suppress(Exception)


def begin() -> None:
    """Count a request among those that are being answered."""
    with uncounted:
        IN_PROGRESS.inc()


def end() -> None:
    """Count it there no more."""
    with uncounted:
        IN_PROGRESS.dec()


def count(request: HttpRequest, status: int, seconds: float) -> None:
    """Count a request that was answered."""
    match = request.resolver_match
    if match is not None:
        route = path_template(match.route)
    else:
        # WhiteNoise answers before there is a route; for what it does not know there is none.
        is_file = request.path_info.startswith(settings.STATIC_URL) and status < 400
        route = settings.STATIC_URL if is_file else "unknown"
    method = request.method if request.method in METHODS else "other"
    with uncounted:
        requests, duration = _series(method, route, status)
        requests.inc()
        duration.observe(seconds)


@functools.cache
def path_template(route: str) -> str:
    """Give a route as OpenAPI writes it: `/api/v1/data-sources/{data_source_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", simplify_regex(route))


@functools.cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Look the series up once, which takes as long as to count in them."""
    return REQUESTS.labels(method, route, status), DURATION.labels(method, route)


@require_safe
def metrics(request: HttpRequest, collect: Callable[[], Iterable[Metric]]) -> HttpResponse:
    """Answer 200 with all metrics; `collect` gives those that the database knows.

    While it is out of reach they are missing, and `rivergen_database_up` is 0. Whoever may not read
    them gets 403.
    """
    if not is_allowed(request):
        text = "This address, or its token, may not read the metrics: METRICS_ALLOW, METRICS_TOKEN."
        return HttpResponse(text, status=HTTPStatus.FORBIDDEN, content_type="text/plain")
    answer = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(answer)
    else:
        answer.register(registry)
    answer.register(Collected(collect))
    return HttpResponse(generate_latest(answer), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class Collected:
    """What the database knows at this moment, or that it is out of reach."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                # Whoever asks again and again must not pile up what takes long.
                cursor.execute("SET LOCAL statement_timeout = %s", [STATEMENT_TIMEOUT])
                found = [*self._read()]
        except (DatabaseError, InterfaceError):
            return [database_up(False)]
        return [database_up(True), *found]


def database_up(is_up: bool) -> Metric:
    """Say whether what the database knows is there."""
    help_text = "Whether the database answered within its time: 1 or 0."
    return GaugeMetricFamily("rivergen_database_up", help_text, is_up)


def is_allowed(request: HttpRequest) -> bool:
    """Whether a request brings METRICS_TOKEN, if there is one, and comes from METRICS_ALLOW."""
    sent = request.headers.get("Authorization", "")
    token = settings.METRICS_TOKEN
    if token and not constant_time_compare(sent, f"Bearer {token}"):
        return False
    try:
        address = ip_address(client_address(request))
    except ValueError:
        return False
    # An IPv4 client of an IPv6 socket.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in settings.METRICS_ALLOW)


def client_address(request: HttpRequest) -> str:
    """Give the address of the client; `""` if only a proxy knows it.

    Through a proxy on the same machine everybody seems to come from there. So what a proxy has
    touched counts only if NUM_PROXIES says which address of `X-Forwarded-For` is the client's.
    """
    is_told = api_settings.NUM_PROXIES and "X-Forwarded-For" in request.headers
    if not is_told and any(name in request.headers for name in PROXY_HEADERS):
        return ""
    # It reads META, which is the same in both.
    address: str = BaseThrottle().get_ident(request)  # type: ignore[arg-type]
    return address
