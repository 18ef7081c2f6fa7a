"""Measure what one address does to other clients by half-sent requests and by sign-ins.

`python -m bench.one_address` runs the web server on a separate database, without and with HAProxy.
One client opens connections that each send half a request, or signs in 30 times at once with
unknown names, in rounds. Another client sends updates and health checks for some seconds.
"""

import argparse
import contextlib
import json
import math
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread

from bench.__main__ import make_sources, updates
from rivergen.local.run import obey_signals
from rivergen.testing.gunicorn import gunicorn
from rivergen.testing.haproxy import haproxy
from rivergen.testing.services import prepare

HALF = b"PATCH /api/v1/data-sources/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
OTHER_ADDRESS = "127.0.0.2"
SIGN_INS = 30
PATIENCE_SECONDS = 5
SETTLE_SECONDS = 1


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2_600, help="default: 2600")
    parser.add_argument("--seconds", type=float, default=20, help="default: 20")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    prepare("rivergen_bench", NUM_PROXIES="1")
    token, ids = make_sources()
    make_request = updates(token, ids)
    print(f"{'':35}{'updates':>25}{'health checks':>25}")
    print(
        f"{'':9}{'half-sent':>10}{'held':>7}{'sign-ins':>9}"
        + f"{'n':>7}{'failed':>7}{'p50':>7}{'max':>7}" * 2
    )
    with gunicorn(LOG_FORMAT="json") as (_, web_port), haproxy(web_port) as (proxy_port, _):
        for name, port in (("direct", web_port), ("HAProxy", proxy_port)):
            for count, signs_in in (
                (0, False),
                (0, True),
                (options.connections, False),
                (options.connections, True),
            ):
                with half_sent(port, count) as held, sign_ins(port, signs_in) as done:
                    figures = measure(port, make_request, options.seconds)
                print(f"{name:9}{count:10,}{held:7,}{len(done):9,}{figures}", flush=True)


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


@contextlib.contextmanager
def sign_ins(port: int, is_on: bool) -> Iterator[list[int]]:
    """Sign in with unknown names, 30 times at once, in rounds; yield the statuses so far.

    Each round comes from another address, within the limits of an address.
    """
    statuses: list[int] = []
    ended = Event()

    def sign_in(address: str, number: int) -> None:
        client = HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS, (address, 0))
        body = json.dumps({"username": f"nobody {address} {number}", "password": "a guess"})
        with contextlib.suppress(OSError, HTTPException):
            client.request("POST", "/api/v1/auth/token", body, {"Content-Type": "application/json"})
            statuses.append(client.getresponse().status)
        client.close()

    def run() -> None:
        with ThreadPoolExecutor(SIGN_INS) as pool:
            for turn in range(1, 60_000):
                address = f"127.1.{turn // 250}.{turn % 250 + 1}"
                list(pool.map(sign_in, [address] * SIGN_INS, range(SIGN_INS)))
                if ended.is_set():
                    return

    thread = Thread(target=run)
    if is_on:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        if is_on:
            thread.join()


def measure(port: int, make_request: Callable[[int], bytes], seconds: float) -> str:
    """Send updates and health checks in turn for some seconds; return the figures in columns.

    The latencies are in milliseconds.
    """
    latencies: tuple[list[float], list[float]] = ([], [])
    failed = [0, 0]
    ends_at = time.perf_counter() + seconds
    number = 0
    while (sent_at := time.perf_counter()) < ends_at:
        kind = number % 2
        if ask(port, HEALTH if kind else make_request(number)):
            latencies[kind].append(1000 * (time.perf_counter() - sent_at))
        else:
            failed[kind] += 1
        number += 1
    columns = ""
    for times, failures in zip(latencies, failed, strict=True):
        slowest, median = max(times, default=math.nan), statistics.median(times or [math.nan])
        columns += f"{len(times):7,}{failures:7,}{median:7.1f}{slowest:7.0f}"
    return columns


def ask(port: int, request: bytes) -> bool:
    """Send a request on a new connection; return whether it succeeds."""
    client = HTTPConnection("127.0.0.1", port, PATIENCE_SECONDS, (OTHER_ADDRESS, 0))
    try:
        client.connect()
        client.send(request)
        response = client.response_class(client.sock, method="PATCH")
        response.begin()
        response.read()
        return response.status == 200
    except (OSError, HTTPException):
        return False
    finally:
        client.close()


if __name__ == "__main__":
    obey_signals()  # without it the servers would outlive this process
    main()
