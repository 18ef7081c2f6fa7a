"""`python -m bench.growth`: latency of requests with a thousand up to a million data sources.

For each size there is a database (see `bench.growth_data`) with a server. Requests are sent one at
a time, to the servers in alternating rounds, by three users: a member of the organization that has
half of all data sources, a member of 1,000 organizations, and a member of one small organization.
Prints the median latency of each kind of request and its growth, and writes `.bench/growth.json`.

Filling the databases takes minutes and 5 GB; `--keep` reuses the databases of an earlier run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple
from unittest import mock
from urllib.parse import quote

import psycopg

from bench.growth_data import IN_LARGE, IN_MANY, IN_SMALL, LARGE, fill
from bench.load import http_request, measure
from bench.results import write_result
from rivergen.local.run import BASE_DIR, obey_signals, serve
from rivergen.testing.services import free_port, make_database, prepare, url_of

SIZES = (1_000, 100_000, 1_000_000)
WARM_UP_REQUESTS = 20
# Growth from the smallest to the largest size above which a row is marked with `*`.
FLAT_RATIO_MAX = 1.5
LAST_DAY = quote("2026-10-31T00:00:00Z")
# Pages no longer than the smallest database can fill, so that all sizes render as many rows.
FILTERS = {
    "type": "type=mysql",
    "two types": "type=oracle&type=trino&page_size=10",
    "name, of none": "name=nowhere",
    "host": "host=DB501.example.com",
    "id of 4": "id=1&id=3&id=5&id=7",
    "status of 1 %": "status=error&page_size=3",
    "credentials_status of 1 %": "credentials_status=unconfirmed&page_size=3",
    "tag of 25": "tag=team-7&page_size=10",
    "tag of half": "tag=production",
    "workspace_id": f"workspace_id={LARGE}",
    "organization_id": f"organization_id={LARGE}",
    "updated_after, by time": f"updated_after={LAST_DAY}&ordering=-updated_at&page_size=1",
    "updated_after, by name": f"updated_after={LAST_DAY}&page_size=1",
    "updated_after, by name, 50 of it": f"updated_after={LAST_DAY}",
    "updated_before": f"updated_before={LAST_DAY}",
    "search, of many": "search=billing&page_size=20",
    "search, of one": "search=db501.",
    "search, of one by what all have": "search=db501.example",
    "search, of none": "search=nowhere",
    "by created_at": "ordering=-created_at",
}


class Kind(NamedTuple):
    """A kind of request."""

    name: str
    user: int
    path: str
    method: str = "GET"


class Server(NamedTuple):
    """A server on the database of one size."""

    port: int
    pid: int
    kinds: list[Kind]


def main() -> None:
    """Fill the databases, run the benchmark, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="numbers of data sources"
    )
    parser.add_argument(
        "--requests", type=int, default=60, help="requests of each kind; default: 60"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--keep", action="store_true", help="reuse the databases of an earlier run")
    options = parser.parse_args()
    prepare("rivergen_growth")
    for size in options.sizes:
        if not options.keep:
            make_filled_database(size)
    with ExitStack() as stack:
        urls = {size: url_of(database_of(size)) for size in options.sizes}
        servers = {size: start(stack, url, kinds_of(url)) for size, url in urls.items()}
        found = compare(servers, options.requests, options.rounds)
    report(found, options.sizes)


def make_filled_database(size: int) -> None:
    """Create the database of this size, and fill it."""
    print(f"Filling a database with {size:,} data sources …", flush=True)
    url = make_database(database_of(size))
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
    fill(url, size)


def database_of(size: int) -> str:
    """Return the name of the database of this size."""
    return f"rivergen_growth_{size}"


def start(stack: ExitStack, url: str, kinds: list[Kind]) -> Server:
    """Serve a database until the stack is closed."""
    port = free_port()
    with mock.patch.dict(os.environ, {"DATABASE_URL": url, "PORT": str(port)}):
        web = stack.enter_context(serve(port, log=subprocess.DEVNULL))
    return Server(port, web.pid, kinds)


def kinds_of(url: str) -> list[Kind]:
    """Return all kinds of requests, in the same order for each size."""
    kinds = []
    for user, share in ((IN_LARGE, "half"), (IN_MANY, "1,000")):
        kinds += [
            Kind(f"{share}: PATCH", user, "/1", "PATCH"),
            Kind(f"{share}: GET", user, "/1"),
            Kind(f"{share}: history", user, "/1/history"),
            Kind(f"{share}: list", user, ""),
            Kind(f"{share}: list, in the middle", user, f"?cursor={middle_cursor(url)}"),
        ]
        kinds += [Kind(f"{share}: {name}", user, f"?{query}") for name, query in FILTERS.items()]
    return [*kinds, Kind("small: list", IN_SMALL, "?page_size=1")]


def middle_cursor(url: str) -> str:
    """Return the cursor of the middle of the large organization's list."""
    from rivergen.http.pagination import Cursor

    half = """
        SELECT name, id FROM datasources_datasource WHERE organization_id = %(id)s
        ORDER BY name, id LIMIT 1 OFFSET (
            SELECT count(*) / 2 FROM datasources_datasource WHERE organization_id = %(id)s
        )
    """
    with psycopg.connect(url) as connection:
        [(name, pk)] = connection.execute(half, {"id": LARGE}).fetchall()
    return Cursor("name", False, name, pk).encode()


def compare(
    servers: dict[int, Server], requests: int, rounds: int
) -> dict[str, dict[int, list[float]]]:
    """Send all kinds of requests to all servers; return median latencies in ms by kind and size."""
    found: dict[str, dict[int, list[float]]] = {}
    kinds = zip(*(server.kinds for server in servers.values()), strict=True)
    for of_each_size in kinds:
        for round_number in range(rounds + 1):
            for (size, server), kind in zip(servers.items(), of_each_size, strict=True):
                count = requests if round_number else WARM_UP_REQUESTS
                make_request = requests_of(kind)
                measured = measure(server.port, server.pid, make_request, count, connections=1)
                if round_number:  # round 0 warms up
                    by_size = found.setdefault(kind.name, {})
                    by_size.setdefault(size, []).append(measured.latency_ms(50))
    return found


def requests_of(kind: Kind) -> Callable[[int], bytes]:
    """Return a maker of the requests of a kind."""
    from rest_framework_simplejwt.tokens import AccessToken

    from organizations.models import User

    token = str(AccessToken.for_user(User(pk=kind.user, password="!")))

    def make(number: int) -> bytes:
        body = (
            json.dumps({"description": f"Description {number}"}) if kind.method == "PATCH" else ""
        )
        return http_request(kind.method, kind.path, token, body)

    return make


def report(found: dict[str, dict[int, list[float]]], sizes: list[int]) -> None:
    """Print medians and their growth, and write them to a file."""
    print(f"\n{'ms':44}" + "".join(f"{size:>11,}" for size in sizes) + f"{'ratio':>8}")
    rows = []
    for name, by_size in found.items():
        medians = [statistics.median(by_size[size]) for size in sizes]
        ratio = medians[-1] / medians[0]
        rows.append({"kind": name, "ms": dict(zip(sizes, medians, strict=True)), "ratio": ratio})
        mark = "" if ratio <= FLAT_RATIO_MAX else " *"
        print(f"{name:44}" + "".join(f"{ms:11.2f}" for ms in medians) + f"{ratio:8.2f}{mark}")
    write_result("growth", rows)


if __name__ == "__main__":
    obey_signals()
    main()
