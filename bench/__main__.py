"""`make bench`: the cost of one request, compared with simpler implementations of the same API.

Serves each system with two processes, all on the same database and rows. Sends PATCH, GET and list
requests over 16 keep-alive connections, in alternating rounds. The main figure is the CPU time of
the server's processes per request; throughput, latency, start time and memory are printed beside
it. With `--before DIR` another checkout of rivergen is served and compared, round by round. Writes
`.bench/requests.json`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.load import MakeRequest, Measurement, http_request, measure, memory_mb
from bench.many import compare
from bench.results import write_result
from rivergen.local.run import BASE_DIR, obey_signals, wait_until_ready
from rivergen.testing.services import free_port, prepare

SOURCES = 1_000
STARTS = 3
WARM_UP_REQUESTS = 400
GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "--workers", "2"]
PLAIN = [*GUNICORN, "--threads", "8", "--worker-class", "gthread", "--keep-alive", "75"]
BEFORE = "before"
# Name -> command, to which the address to listen on is added.
SYSTEMS = {
    "rivergen": [*GUNICORN, "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"],
    "floor": [*PLAIN, "bench.baselines.floor:application"],
    "drf_plain": [*PLAIN, "--preload", "bench.baselines.drf_plain:application"],
    "fastapi_plain": [
        *(sys.executable, "-m", "uvicorn", "--workers", "2", "--log-level", "warning"),
        *("--no-access-log", "bench.baselines.fastapi_plain:application"),
    ],
}

Results = dict[str, dict[str, list[Measurement]]]
"""Kind of request -> system -> measurements, one per round."""


def main() -> None:
    """Run the benchmark, print tables, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=1_000, help="requests per round; default: 1000"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--only", nargs="*", choices=SYSTEMS, default=[*SYSTEMS], help="systems; default: all"
    )
    parser.add_argument("--before", type=Path, help="another checkout, whose tables are the same")
    options = parser.parse_args()
    if options.before:
        options.only.insert(1, BEFORE)
    prepare("rivergen_bench")
    token, ids = make_sources()
    kinds = {kind: make(token, ids) for kind, make in KINDS.items()}
    results: Results = {kind: {} for kind in kinds}
    footprints = {
        system: {"start_seconds": start_seconds(system, options.before)} for system in options.only
    }
    with serving(options.only, options.before) as servers:
        for system, (_, pid) in servers.items():
            footprints[system]["idle_mb"] = memory_mb(pid)
        for round_number in range(options.rounds + 1):
            for kind, make_request in kinds.items():
                for system, (port, pid) in servers.items():
                    count = options.requests if round_number else WARM_UP_REQUESTS
                    measurement = measure(port, pid, make_request, count)
                    if round_number:  # round 0 warms up
                        results[kind].setdefault(system, []).append(measurement)
        for system, (_, pid) in servers.items():
            footprints[system]["loaded_mb"] = memory_mb(pid)
        report(results, footprints, options.requests, options.rounds)
        if "rivergen" in servers:
            write_result("many", compare(*servers["rivergen"], token, ids, options.rounds))


def make_sources() -> tuple[str, list[int]]:
    """Create an organization with data sources; return a token of its editor, and the ids."""
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    organization = Organization.objects.create(name="Bench", slug="bench")
    editor = User.objects.create_user("bench")
    organization.add_member(editor, Role.EDITOR)
    data_sources = DataSource.objects.bulk_create(
        DataSource(
            organization=organization,
            name=f"Source {number}",
            type="postgresql",
            host=f"db{number}.example.com",
            database_name="production",
            description="The orders database",
            tags=["production"],
            metadata={"team": "blue"},
        )
        for number in range(SOURCES)
    )
    return str(AccessToken.for_user(editor)), [data_source.pk for data_source in data_sources]


def updates(token: str, ids: list[int]) -> MakeRequest:
    """Return a maker of PATCH requests of descriptions, for one data source after another."""

    def make(number: int) -> bytes:
        body = json.dumps({"description": f"Description {number}"})
        return http_request("PATCH", f"/{ids[number % len(ids)]}", token, body)

    return make


def reads(token: str, ids: list[int]) -> MakeRequest:
    """Return a maker of GET requests for one data source after another."""
    return lambda number: http_request("GET", f"/{ids[number % len(ids)]}", token)


def lists(token: str, ids: list[int]) -> MakeRequest:
    """Return a maker of requests for the first page of the list."""
    listing = http_request("GET", "", token)
    return lambda number: listing


KINDS = {"PATCH": updates, "GET": reads, "list of 50": lists}


@contextmanager
def serving(systems: list[str], before: Path | None = None) -> Iterator[dict[str, tuple[int, int]]]:
    """Serve the systems, and yield the port and the id of the main process of each."""
    from django.conf import settings

    processes: list[subprocess.Popen[bytes]] = []
    servers = {}
    try:
        for system in systems:
            port = free_port()
            folder = before if before and system == BEFORE else BASE_DIR
            command = SYSTEMS[system] if system in SYSTEMS else command_of(folder)
            address = ["--port", str(port)]
            if "gunicorn" in command:
                address = ["--bind", f"127.0.0.1:{port}"]
            process = subprocess.Popen(
                [*command, *address],
                cwd=folder,
                env={**os.environ, "PORT": str(port), "TOKEN_KEY": settings.TOKEN_KEYS[0]},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            processes.append(process)
            wait_until_ready(process, port)
            servers[system] = (port, process.pid)
        yield servers
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def command_of(checkout: Path) -> list[str]:
    """Return the command that serves a checkout of rivergen, also of one before its rooms."""
    has_rooms = (checkout / "rivergen" / "server").is_dir()
    module = "rivergen.server.gunicorn" if has_rooms else "rivergen.gunicorn"
    return [*GUNICORN, "-c", f"python:{module}", "rivergen.wsgi"]


def start_seconds(system: str, before: Path | None) -> float:
    """Return the median time from starting a system to its first response."""
    seconds = []
    for _ in range(STARTS):
        started_at = time.perf_counter()
        with serving([system], before):
            seconds.append(time.perf_counter() - started_at)
    return statistics.median(seconds)


def report(
    results: Results,
    footprints: dict[str, dict[str, float]],
    requests: int,
    rounds: int,
) -> None:
    """Print medians, and write all results to a file."""
    print(f"Medians of {rounds} rounds of {requests:,} requests; {psutil.cpu_count()} cores, "
          f"Python {platform.python_version()}.")  # fmt: skip
    titles = f"{'':12}{'':16}{'ratio':>8}{'CPU ms':>9}{'req/s':>8}{'p50 ms':>9}{'p95 ms':>9}"
    rows = []
    for kind, by_system in results.items():
        print(f"\n{titles}")
        ours = median_of(by_system["rivergen"], "cpu_ms") if "rivergen" in by_system else None
        for system, measurements in by_system.items():
            row: dict[str, Any] = {
                "kind": kind,
                "system": system,
                "cpu_ms": median_of(measurements, "cpu_ms"),
                "per_second": median_of(measurements, "per_second"),
                "p50_ms": statistics.median(m.latency_ms(50) for m in measurements),
                "p95_ms": statistics.median(m.latency_ms(95) for m in measurements),
            }
            row["ratio"] = ours / row["cpu_ms"] if ours else None
            rows.append(row)
            ratio = f"{row['ratio']:8.2f}" if ours else f"{'':8}"
            print(f"{kind:12}{system:16}{ratio}{row['cpu_ms']:9.2f}{row['per_second']:8.0f}"
                  f"{row['p50_ms']:9.1f}{row['p95_ms']:9.1f}")  # fmt: skip
    print(f"\n{'':28}{'start s':>8}{'idle MB':>9}{'loaded MB':>11}  (PSS of all processes)")
    for system, footprint in footprints.items():
        print(f"{'':12}{system:16}{footprint['start_seconds']:8.2f}{footprint['idle_mb']:9.0f}"
              f"{footprint['loaded_mb']:11.0f}")  # fmt: skip
    report_before(results)
    result = {"rounds": rounds, "requests": requests, "rows": rows, "footprints": footprints}
    write_result("requests", result)


def report_before(results: Results) -> None:
    """Print the ratio to the other checkout: of the medians, and the least and most of a round."""
    for kind, by_system in results.items():
        if BEFORE not in by_system:
            return
        now, before = by_system["rivergen"], by_system[BEFORE]
        ratio = median_of(now, "cpu_ms") / median_of(before, "cpu_ms")
        rounds = [one.cpu_ms / other.cpu_ms for one, other in zip(now, before, strict=True)]
        print(f"{kind}: CPU {ratio:.3f} of before, {min(rounds):.3f} to {max(rounds):.3f}"
              f" in {len(rounds)} rounds")  # fmt: skip


def median_of(measurements: list[Measurement], name: str) -> float:
    """Return the median of a property of measurements."""
    return statistics.median(getattr(measurement, name) for measurement in measurements)


if __name__ == "__main__":
    obey_signals()  # a killed benchmark must not leave servers behind
    main()
