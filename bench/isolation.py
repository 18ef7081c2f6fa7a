"""`python -m bench.isolation`: the cost of row-level security (see docs/isolation.md).

Serves one database of `bench.growth` twice: as the owner of the tables, and as a role with
row-level security. Sends the requests of `bench.growth` to both in alternating rounds, so that
other load on the machine affects both alike. Prints the CPU time of web and database together per
request of each kind, and the median latency, and writes `.bench/isolation.json`.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock
from urllib.parse import urlsplit

import psutil
import psycopg

from bench import growth
from bench.load import cpu_seconds, measure
from bench.results import write_result
from rivergen.local.run import BASE_DIR, obey_signals
from rivergen.testing.services import prepare, url_of

ROLE = "rivergen_bench_web"
OWNER, PROTECTED = "without", "with"


@dataclass
class Cost:
    """The mean CPU time of web and database per request, and the latencies in seconds."""

    cpu_ms: float
    latencies: list[float]


def main() -> None:
    """Create the database and the role, run the benchmark, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="data sources; default: 100000")
    parser.add_argument("--requests", type=int, default=20, help="requests per round; default: 20")
    parser.add_argument("--rounds", type=int, default=15, help="default: 15")
    parser.add_argument("--keep", action="store_true", help="reuse the database of an earlier run")
    parser.add_argument(
        "--only", default="", help="only kinds of requests whose name contains this"
    )
    parser.add_argument("--leakproof", action="store_true", help="protect_rows --leakproof")
    options = parser.parse_args()
    prepare("rivergen_growth", WEB_CONCURRENCY="1")
    if not options.keep:
        growth.make_filled_database(options.size)
    url = url_of(growth.database_of(options.size))
    kinds = [kind for kind in growth.kinds_of(url) if options.only in kind.name]
    with ExitStack() as stack:
        servers = {OWNER: growth.start(stack, url, kinds)}
        with mock.patch.dict(os.environ, DATABASE_ROW_LEVEL_SECURITY="1"):
            servers[PROTECTED] = growth.start(stack, make_role(url, options.leakproof), kinds)
        found = {
            kind.name: compare(kind, servers, postmaster(url), options.requests, options.rounds)
            for kind in kinds
        }
    report(found)


def make_role(url: str, is_leakproof: bool) -> str:
    """Create the web process's database role and its policies; return the URL for the role."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone()
        if found is None:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'")
    command = [sys.executable, "manage.py", "protect_rows", ROLE]
    command += ["--leakproof"] if is_leakproof else []
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
    parts = urlsplit(url)
    netloc = f"{ROLE}:{ROLE}@{parts.netloc.rpartition('@')[2]}"
    return parts._replace(netloc=netloc).geturl()


def postmaster(url: str) -> int:
    """Return the id of the server's main process, which runs on this machine."""
    with psycopg.connect(url) as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
        assert parent is not None
        return int(parent.pid)


def compare(
    kind: growth.Kind,
    servers: dict[str, growth.Server],
    postgresql: int,
    requests: int,
    rounds: int,
) -> dict[str, Cost]:
    """Send requests of a kind to all servers, and return the cost per server."""
    costs = {name: Cost(0, []) for name in servers}
    make_request = growth.requests_of(kind)
    for round_number in range(rounds + 1):
        for name, server in servers.items():
            before = cpu_seconds(postgresql)
            measured = measure(server.port, server.pid, make_request, requests, connections=1)
            if round_number:  # round 0 warms up
                spent = measured.cpu_seconds + cpu_seconds(postgresql) - before
                costs[name].cpu_ms += 1000 * spent / requests / rounds
                costs[name].latencies += measured.latencies
    return costs


def report(found: dict[str, dict[str, Cost]]) -> None:
    """Print the results, and write them to a file."""
    print(f"{'':34}{'CPU ms':>20}{'ratio':>8}{'median ms':>22}{'ratio':>8}")
    print(f"{'':34}{OWNER:>10}{PROTECTED:>10}{'':8}{OWNER:>12}{PROTECTED:>10}")
    rows = []
    for name, costs in found.items():
        cpu_ms = {server: cost.cpu_ms for server, cost in costs.items()}
        ms = {server: 1000 * statistics.median(cost.latencies) for server, cost in costs.items()}
        rows.append({"kind": name, "cpu_ms": cpu_ms, "ms": ms})
        cpu_ratio, latency_ratio = (by[PROTECTED] / by[OWNER] for by in (cpu_ms, ms))
        print(f"{name:34}{cpu_ms[OWNER]:10.2f}{cpu_ms[PROTECTED]:10.2f}{cpu_ratio:8.2f}"
              f"{ms[OWNER]:12.2f}{ms[PROTECTED]:10.2f}{latency_ratio:8.2f}")  # fmt: skip
    write_result("isolation", rows)


if __name__ == "__main__":
    obey_signals()  # a killed benchmark must not leave servers behind
    main()
