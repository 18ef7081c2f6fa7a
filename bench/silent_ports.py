"""`python -m bench.silent_ports`: 50 tests of servers that say nothing, while clients update.

Serves, with one worker, and lets clients send PATCH at a steady rate: first alone, then while 50
data sources are tested at once, most of them on a port that accepts and never speaks, the rest on
one that does not even accept. Checks that a test ends two seconds after its `connection_timeout` at
the latest, counted from the request, and that nothing is left of the tests in the worker; prints
what updates notice. Exits with 1 if a test ends late, an update fails or something is left. It
wants the processors for itself.
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

from bench.rotation import Client, Load
from rivergen.local.run import serve, work
from rivergen.testing.services import prepare

TESTS = 50
TYPES = ("postgresql", "mysql", "mssql", "oracle", "mongodb", "clickhouse")
CONNECTION_TIMEOUT_SECONDS = 5
LATE_AFTER_SECONDS = CONNECTION_TIMEOUT_SECONDS + 2
# Every fifth source is where nobody answers.
DROPPING_EVERY = 5
CLIENTS = 4
PAUSE_SECONDS = 0.1
PERIOD_SECONDS = 10
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1
CONNECT_SECONDS = 0.2


def main() -> int:
    """Prepare, measure alone and with tests, verify and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=TESTS, help=f"default: {TESTS}")
    number = parser.parse_args().tests
    environment = {"EGRESS_ALLOW": "127.0.0.0/8", "RATE_LIMIT_TEST": "1000000/min"}
    port = prepare("rivergen_bench_ports", **environment)
    with ExitStack() as stack:
        silent = stack.enter_context(listener())
        dropping = stack.enter_context(full_listener())
        token, tested, updated = make_sources(number, silent, dropping)
        stack.enter_context(serve(port, log=subprocess.DEVNULL))
        worker = psutil.Process(stack.enter_context(work(log=subprocess.DEVNULL)).pid)
        run_tests(port, token, tested)  # what a worker loads and starts once, it has from now on
        before = Remains(worker)
        alone = Updates(port, token, updated)
        time.sleep(PERIOD_SECONDS)
        alone.stop()
        meanwhile = Updates(port, token, updated)
        seconds, codes = run_tests(port, token, tested)
        meanwhile.stop()
        after = Remains(worker)
    return report(alone, meanwhile, seconds, before, after, codes)


@contextmanager
def listener() -> Iterator[int]:
    """Accept whoever comes, and say nothing; give the port."""
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
    """Have a port on which the kernel drops whoever comes: its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        with suppress(TimeoutError):
            while True:
                stack.enter_context(socket.create_connection(address, CONNECT_SECONDS))
        yield address[1]


def make_sources(number: int, silent: int, dropping: int) -> tuple[str, list[int], list[int]]:
    """Create the sources to test and those to update; give a token, and the ids of both."""
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
    ids = [[data_source.pk for data_source in made] for made in (tested, updated)]
    return str(AccessToken.for_user(user)), ids[0], ids[1]


class Updates:
    """Clients that send PATCH at a steady rate, each to a data source of its own."""

    def __init__(self, port: int, token: str, ids: list[int]) -> None:
        self.milliseconds: list[float] = []
        self.load = Load()
        for pk in ids:
            self.load.start("PATCH", self._updates(Client(port, token), pk))

    def _updates(self, client: Client, pk: int) -> Callable[[], None]:
        sizes = itertools.cycle(range(1, 11))

        def update() -> None:
            start = time.monotonic()
            client.call("PATCH", f"/{pk}", {"connection_pool_size": next(sizes)})
            seconds = time.monotonic() - start
            self.milliseconds.append(seconds * 1000)
            time.sleep(max(PAUSE_SECONDS - seconds, 0))

        return update

    def stop(self) -> None:
        """Let every client finish what it does."""
        self.load.stop()

    def __str__(self) -> str:
        steps = quantiles(self.milliseconds, n=20)
        return (
            f"{len(self.milliseconds):>6} requests  p50 {steps[9]:6.1f} ms  p95 {steps[18]:6.1f} ms"
            f"  max {max(self.milliseconds):6.1f} ms  {len(self.load.failures)} failed"
        )


def run_tests(port: int, token: str, ids: list[int]) -> tuple[list[float], Counter[str]]:
    """Ask for all tests at once.

    Gives how many seconds each took from the request to its end, and how often each code came.
    """
    from datasources.connection_tests.models import ConnectionTest

    barrier = threading.Barrier(len(ids))

    def ask(pk: int) -> float:
        client = Client(port, token)
        client.connection.connect()
        barrier.wait()
        asked_at = time.time()
        client.call("POST", f"/{pk}/test")
        client.connection.close()
        return asked_at

    with ThreadPoolExecutor(len(ids)) as pool:
        asked_at = dict(zip(ids, pool.map(ask, ids), strict=True))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ConnectionTest.objects.running().exists():
        if time.monotonic() > deadline:
            sys.exit("Some tests do not end.")
        time.sleep(POLL_SECONDS)
    latest = ConnectionTest.objects.all()[: len(ids)]
    rows = latest.values_list("data_source_id", "finished_at", "outcome__code")
    seconds = [finished_at.timestamp() - asked_at[pk] for pk, finished_at, _ in rows if finished_at]
    return seconds, Counter(code for _, _, code in rows)


class Remains:
    """What a worker has: processes below it, its sockets, descriptors and threads."""

    def __init__(self, worker: psutil.Process) -> None:
        family = [worker, *worker.children(recursive=True)]
        self.counts = {
            "processes": len(family),
            "sockets": sum(len(one.net_connections()) for one in family),
            "descriptors": sum(one.num_fds() for one in family),
            "threads": sum(one.num_threads() for one in family),
        }


def report(
    alone: Updates,
    meanwhile: Updates,
    seconds: list[float],
    before: Remains,
    after: Remains,
    codes: Counter[str],
) -> int:
    """Print what was seen; give the exit status."""
    late = sum(one > LATE_AFTER_SECONDS for one in seconds)
    print(f"PATCH alone       {alone}")
    print(f"PATCH with tests  {meanwhile}")
    print(
        f"{len(seconds)} tests with a connection_timeout of {CONNECTION_TIMEOUT_SECONDS} s: the "
        f"slowest took {max(seconds):.2f} s from the request to its end, the median "
        f"{sorted(seconds)[len(seconds) // 2]:.2f} s; {late} took more than {LATE_AFTER_SECONDS} s"
    )
    print("Outcomes:", ", ".join(f"{count} {code}" for code, count in sorted(codes.items())))
    left = False
    for name, count in before.counts.items():
        print(f"The worker's {name}: {count} before, {after.counts[name]} after")
        left |= after.counts[name] > count
    failed = alone.load.failures + meanwhile.load.failures
    for failure in failed[:10]:
        print(failure)
    return 1 if late or left or failed else 0


if __name__ == "__main__":
    sys.exit(main())
