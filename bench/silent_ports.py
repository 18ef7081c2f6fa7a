"""`python -m bench.silent_ports`: 50 connection tests of unresponsive servers, during updates.

Runs the web server and one worker. Clients send PATCH requests at a steady rate, first alone, then
while 50 data sources are tested at once: most on a port that accepts and never sends, the others
on a port that drops connections. Checks that each test ends at most two seconds after its
`connection_timeout`, counted from the request, and that the worker keeps no process, socket,
descriptor or thread. Prints the latency of the updates. Exits with 1 if a test ends late, an update
fails or the worker keeps something. Run it on an idle machine.
"""

import argparse
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from statistics import quantiles

import psutil

from bench.clients import Client, Load
from rivergen.local.run import serve, work
from rivergen.testing.services import prepare

TESTS = 50
TYPES = ("postgresql", "mysql", "mssql", "oracle", "mongodb", "clickhouse")
CONNECTION_TIMEOUT_SECONDS = 5
LATE_AFTER_SECONDS = CONNECTION_TIMEOUT_SECONDS + 2
# One in five data sources is on the port that drops connections.
DROPPING_EVERY = 5
CLIENTS = 4
PAUSE_SECONDS = 0.1
PERIOD_SECONDS = 10
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1
CONNECT_SECONDS = 0.2


def main() -> int:
    """Measure updates alone and during the tests, check the worker, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tests", type=int, default=TESTS, help=f"number of tests; default: {TESTS}"
    )
    number = parser.parse_args().tests
    environment = {"EGRESS_ALLOW": "127.0.0.0/8", "RATE_LIMIT_TEST": "1000000/min"}
    port = prepare("rivergen_bench_ports", **environment)
    with ExitStack() as stack:
        silent = stack.enter_context(listener())
        dropping = stack.enter_context(full_listener())
        token, tested, updated = make_sources(number, silent, dropping)
        stack.enter_context(serve(port, log=subprocess.DEVNULL))
        worker = psutil.Process(stack.enter_context(work(log=subprocess.DEVNULL)).pid)
        run_tests(port, token, tested)  # warm up: the worker loads modules and starts helpers
        before = Resources(worker)
        alone = Updates(port, token, updated)
        time.sleep(PERIOD_SECONDS)
        alone.stop()
        during_tests = Updates(port, token, updated)
        seconds, codes = run_tests(port, token, tested)
        during_tests.stop()
        after = Resources(worker)
    return report(alone, during_tests, seconds, before, after, codes)


@contextmanager
def listener() -> Iterator[int]:
    """Accept connections without sending anything, and yield the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=4 * TESTS) as server:
        clients: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    clients.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in clients:
                client.close()


@contextmanager
def full_listener() -> Iterator[int]:
    """Yield a port whose accept queue is full, so that the kernel drops new connections."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        with suppress(TimeoutError):
            while True:
                stack.enter_context(socket.create_connection(address, CONNECT_SECONDS))
        yield address[1]


def make_sources(number: int, silent: int, dropping: int) -> tuple[str, list[int], list[int]]:
    """Create data sources to test and to update; return a token, and the ids of both."""
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    organization = Organization.objects.create(name="Bench", slug="bench")
    user = User.objects.create_user("bench")
    organization.add_member(user, Role.EDITOR)
    types = itertools.cycle(TYPES)
    tested = DataSource.objects.bulk_create(
        DataSource(
            organization=organization,
            name=f"tested {n}",
            type=next(types),
            host="127.0.0.1",
            port=silent if n % DROPPING_EVERY else dropping,
            database_name="shop",
            username="reader",
            connection_timeout=CONNECTION_TIMEOUT_SECONDS,
        )
        for n in range(number)
    )
    for data_source in tested:
        data_source.set_credentials({"password": "no matter"}, user=user)
    updated = DataSource.objects.bulk_create(
        DataSource(organization=organization, name=f"updated {n}", type="postgresql", host="db")
        for n in range(CLIENTS)
    )
    ids = [[data_source.pk for data_source in group] for group in (tested, updated)]
    return str(AccessToken.for_user(user)), ids[0], ids[1]


class Updates:
    """Clients that send PATCH requests at a steady rate, each to its own data source."""

    def __init__(self, port: int, token: str, ids: list[int]) -> None:
        self.milliseconds: list[float] = []
        self.load = Load()
        for pk in ids:
            self.load.start("PATCH", self._update_steadily(Client(port, token), pk))

    def _update_steadily(self, client: Client, pk: int) -> Callable[[], None]:
        sizes = itertools.cycle(range(1, 11))

        def update() -> None:
            start = time.monotonic()
            client.call("PATCH", f"/{pk}", {"connection_pool_size": next(sizes)})
            seconds = time.monotonic() - start
            self.milliseconds.append(seconds * 1000)
            time.sleep(max(PAUSE_SECONDS - seconds, 0))

        return update

    def stop(self) -> None:
        """Stop all clients after their current request."""
        self.load.stop()

    def __str__(self) -> str:
        steps = quantiles(self.milliseconds, n=20)
        return (
            f"{len(self.milliseconds):>6} requests  p50 {steps[9]:6.1f} ms  p95 {steps[18]:6.1f} ms"
            f"  max {max(self.milliseconds):6.1f} ms  {len(self.load.failures)} failed"
        )


def run_tests(port: int, token: str, ids: list[int]) -> tuple[list[float], Counter[str]]:
    """Request all tests at once, and wait for their results.

    Returns the seconds of each test from the request to its end, and the number of each code.
    """
    from datasources.connection_tests.models import ConnectionTest

    barrier = threading.Barrier(len(ids))

    def request_test(pk: int) -> float:
        client = Client(port, token)
        client.connection.connect()
        barrier.wait()
        requested_at = time.time()
        client.call("POST", f"/{pk}/test")
        client.connection.close()
        return requested_at

    with ThreadPoolExecutor(len(ids)) as pool:
        requested_at = dict(zip(ids, pool.map(request_test, ids), strict=True))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ConnectionTest.objects.running().exists():
        if time.monotonic() > deadline:
            sys.exit(f"Some tests did not end within {PATIENCE_SECONDS} s.")
        time.sleep(POLL_SECONDS)
    latest = ConnectionTest.objects.all()[: len(ids)]
    rows = latest.values_list("data_source_id", "finished_at", "outcome__code")
    seconds = [
        finished_at.timestamp() - requested_at[pk] for pk, finished_at, _ in rows if finished_at
    ]
    return seconds, Counter(code for _, _, code in rows)


class Resources:
    """The processes, sockets, descriptors and threads of a worker and its descendants."""

    def __init__(self, worker: psutil.Process) -> None:
        family = [worker, *worker.children(recursive=True)]
        self.counts = {
            "processes": len(family),
            "sockets": sum(len(process.net_connections()) for process in family),
            "descriptors": sum(process.num_fds() for process in family),
            "threads": sum(process.num_threads() for process in family),
        }


def report(
    alone: Updates,
    during_tests: Updates,
    seconds: list[float],
    before: Resources,
    after: Resources,
    codes: Counter[str],
) -> int:
    """Print the results, and return the exit status."""
    late = sum(duration > LATE_AFTER_SECONDS for duration in seconds)
    print(f"PATCH alone       {alone}")
    print(f"PATCH with tests  {during_tests}")
    print(
        f"{len(seconds)} tests with a connection_timeout of {CONNECTION_TIMEOUT_SECONDS} s: "
        f"slowest {max(seconds):.2f} s from request to end, median "
        f"{sorted(seconds)[len(seconds) // 2]:.2f} s; {late} took more than {LATE_AFTER_SECONDS} s"
    )
    print("Outcomes:", ", ".join(f"{count} {code}" for code, count in sorted(codes.items())))
    has_leak = False
    for name, count in before.counts.items():
        print(f"{name} of the worker: {count} before, {after.counts[name]} after")
        has_leak |= after.counts[name] > count
    failed = alone.load.failures + during_tests.load.failures
    for failure in failed[:10]:
        print(failure)
    return 1 if late or has_leak or failed else 0


if __name__ == "__main__":
    sys.exit(main())
