"""`python -m bench.growth`: what a request takes with a thousand, and with a million data sources.

For each number of data sources there is a database (see `bench.growth_data`) and a server on it.
One request after the other is sent, to each server in turn, in alternating rounds: by a user of the
organization that has half of all data sources, by one of this and 999 others, and by one of a small
one. Prints the median time of each kind of request and how it grows, and writes
`.bench/growth.json`.

The databases take minutes to fill, and 5 GB; `--keep` uses what an earlier run has left.
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

from bench.__main__ import request, write_result
from bench.growth_data import IN_LARGE, IN_MANY, IN_SMALL, LARGE, fill
from bench.load import measure
from rivergen.local.run import BASE_DIR, obey_signals, serve
from rivergen.testing.services import free_port, make_database, prepare, url_of

SIZES = (1_000, 100_000, 1_000_000)
WARM_UP_REQUESTS = 20
# More than this, from the smallest to the largest, is marked.
FLAT = 1.5
LAST_DAY = quote("2026-10-31T00:00:00Z")
# Pages are as long as the smallest database can fill them: to write a row takes as long anywhere.
FILTERS = {
    "type": "type=mysql",
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
    """A server on a database of some size."""

    port: int
    pid: int
    kinds: list[Kind]


def main() -> None:
    """Fill, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="data sources")
    parser.add_argument("--requests", type=int, default=60, help="of a kind; default: 60")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--keep", action="store_true", help="use the databases of an earlier run")
    options = parser.parse_args()
    prepare("rivergen_growth")
    for size in options.sizes:
        if not options.keep:
            make(size)
    with ExitStack() as stack:
        urls = {size: url_of(database_of(size)) for size in options.sizes}
        servers = {size: start(stack, url, kinds_of(url)) for size, url in urls.items()}
        found = compare(servers, options.requests, options.rounds)
    report(found, options.sizes)


def make(size: int) -> None:
    """Create the database of this size."""
    print(f"Filling a database with {size:,} data sources …", flush=True)
    url = make_database(database_of(size))
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
    fill(url, size)


def database_of(size: int) -> str:
    """Name the database of this size."""
    return f"rivergen_growth_{size}"


def start(stack: ExitStack, url: str, kinds: list[Kind]) -> Server:
    """Serve a database until the stack is closed, to be sent these kinds of requests."""
    port = free_port()
    with mock.patch.dict(os.environ, {"DATABASE_URL": url, "PORT": str(port)}):
        web = stack.enter_context(serve(port, log=subprocess.DEVNULL))
    return Server(port, web.pid, kinds)


def kinds_of(url: str) -> list[Kind]:
    """Give all kinds of requests, in an order that is the same for each size."""
    kinds = []
    for user, who in ((IN_LARGE, "half"), (IN_MANY, "1,000")):
        kinds += [
            Kind(f"{who}: PATCH", user, "/1", "PATCH"),
            Kind(f"{who}: GET", user, "/1"),
            Kind(f"{who}: history", user, "/1/history"),
            Kind(f"{who}: list", user, ""),
            Kind(f"{who}: list, in the middle", user, f"?cursor={cursor_in_the_middle(url)}"),
        ]
        kinds += [Kind(f"{who}: {name}", user, f"?{query}") for name, query in FILTERS.items()]
    return [*kinds, Kind("small: list", IN_SMALL, "?page_size=1")]


def cursor_in_the_middle(url: str) -> str:
    """Give the cursor that half of the large organization comes before."""
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
    """Send all kinds of requests to all servers; give the times by kind and size, in ms."""
    found: dict[str, dict[int, list[float]]] = {}
    kinds = zip(*(server.kinds for server in servers.values()), strict=True)
    for of_each_size in kinds:
        for round_number in range(rounds + 1):
            for (size, server), kind in zip(servers.items(), of_each_size, strict=True):
                count = requests if round_number else WARM_UP_REQUESTS
                make_request = requests_of(kind)
                one = measure(server.port, server.pid, make_request, count, connections=1)
                if round_number:
                    found.setdefault(kind.name, {}).setdefault(size, []).append(one.latency_ms(50))
    return found


def requests_of(kind: Kind) -> Callable[[int], bytes]:
    """Give what makes the requests of a kind."""
    from rest_framework_simplejwt.tokens import AccessToken

    from organizations.models import User

    token = str(AccessToken.for_user(User(pk=kind.user, password="!")))

    def make(number: int) -> bytes:
        body = (
            json.dumps({"description": f"Description {number}"}) if kind.method == "PATCH" else ""
        )
        return request(kind.method, kind.path, token, body)

    return make


def report(found: dict[str, dict[int, list[float]]], sizes: list[int]) -> None:
    """Print medians, and how they grow; write them to a file."""
    print(f"\n{'ms':44}" + "".join(f"{size:>11,}" for size in sizes) + f"{'ratio':>8}")
    rows = []
    for name, by_size in found.items():
        medians = [statistics.median(by_size[size]) for size in sizes]
        ratio = medians[-1] / medians[0]
        rows.append({"kind": name, "ms": dict(zip(sizes, medians, strict=True)), "ratio": ratio})
        mark = "" if ratio <= FLAT else " *"
        print(f"{name:44}" + "".join(f"{ms:11.2f}" for ms in medians) + f"{ratio:8.2f}{mark}")
    write_result("growth", rows)


if __name__ == "__main__":
    obey_signals()
    main()
