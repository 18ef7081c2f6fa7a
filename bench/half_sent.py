"""Measure what half-sent requests of one address do to other clients, without and with HAProxy.

`python -m bench.half_sent` runs the web server on a separate database, opens connections that each
send half a request, and then lets another client send updates and health checks for some seconds.
"""

import argparse
import contextlib
import math
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException

from bench.__main__ import make_sources, updates
from rivergen.local.run import obey_signals
from rivergen.testing.gunicorn import gunicorn
from rivergen.testing.haproxy import haproxy
from rivergen.testing.services import prepare

HALF = b"PATCH /api/v1/data-sources/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
OTHER_ADDRESS = ("127.0.0.2", 0)
PATIENCE_SECONDS = 5
SETTLE_SECONDS = 1


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2_000, help="default: 2000")
    parser.add_argument("--seconds", type=float, default=20, help="default: 20")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    prepare("rivergen_bench", NUM_PROXIES="1")
    token, ids = make_sources()
    make_request = updates(token, ids)
    print(
        f"{'':10}{'half-sent':>11}{'held':>8}{'updates':>9}{'failed':>8}{'p50 ms':>9}{'max ms':>9}"
    )
    with gunicorn(LOG_FORMAT="json") as (_, web_port), haproxy(web_port) as (proxy_port, _):
        for name, port in (("direct", web_port), ("HAProxy", proxy_port)):
            for count in (0, options.connections):
                with half_sent(port, count) as held:
                    latencies, failed = answered(port, make_request, options.seconds)
                times = [1000 * latency for latency in latencies] or [math.nan]
                figures = f"{statistics.median(times):9.1f}{max(times):9.1f}"
                row = f"{name:10}{count:11,}{held:8,}{len(latencies):9,}{failed:8,}{figures}"
                print(row, flush=True)


@contextlib.contextmanager
def half_sent(port: int, count: int) -> Iterator[int]:
    """Send half a request on each of `count` connections; yield how many are still open."""
    peers = []
    for _ in range(count):
        try:
            peer = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
            peers.append(peer)
            peer.sendall(HALF)
        except TimeoutError:  # the server's backlog is full
            break
        except OSError:  # the server has closed the connection
            pass
    time.sleep(SETTLE_SECONDS)
    try:
        yield sum(is_open(peer) for peer in peers)
    finally:
        for peer in peers:
            peer.close()


def is_open(peer: socket.socket) -> bool:
    """Return whether the server keeps this connection, having sent nothing on it."""
    peer.setblocking(False)
    try:
        return peer.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def answered(
    port: int, make_request: Callable[[int], bytes], seconds: float
) -> tuple[list[float], int]:
    """Send updates one after the other; return their latencies in seconds, and the failures."""
    latencies: list[float] = []
    failed = 0
    ends_at = time.perf_counter() + seconds
    while (sent_at := time.perf_counter()) < ends_at:
        request = make_request(len(latencies))
        try:
            is_answered = ask(port, request)
        except (OSError, HTTPException):
            is_answered = False
        if is_answered:
            latencies.append(time.perf_counter() - sent_at)
        else:
            failed += 1
    return latencies, failed


def ask(port: int, request: bytes) -> bool:
    """Send a request on a new connection; return whether it succeeds."""
    client = HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS, OTHER_ADDRESS)
    try:
        client.connect()
        client.send(request)
        response = client.response_class(client.sock, method="PATCH")
        response.begin()
        response.read()
        return response.status == 200
    finally:
        client.close()


if __name__ == "__main__":
    obey_signals()  # without it the servers would outlive this process
    main()
