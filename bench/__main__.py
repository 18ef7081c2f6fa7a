"""`make bench`: what one request costs, beside what others would write for the same job.

Serves each system in turn, two processes on the same database and the same rows, and sends it
updates, reads and lists over 16 keep-alive connections, in alternating rounds. What counts is the
CPU time of the server's processes; requests in a second and latencies stand beside it, and what its
processes take of time to start and of memory. Prints tables and writes `.bench/requests.json`.
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
from typing import Any

import psutil

from bench.load import MakeRequest, Measurement, measure, memory_mb
from rivergen.local.run import BASE_DIR, obey_signals, wait_until_ready
from rivergen.testing.services import free_port, prepare

SOURCES = 1_000
STARTS = 3
WARM_UP_REQUESTS = 400
GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "warning", "--workers", "2"]
PLAIN = [*GUNICORN, "--threads", "8", "--worker-class", "gthread", "--keep-alive", "75"]
# By name: how it is served on a port.
SYSTEMS = {
    "rivergen": [*GUNICORN, "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"],
    "floor": [*PLAIN, "bench.baselines.floor:application"],
    "drf_plain": [*PLAIN, "--preload", "bench.baselines.drf_plain:application"],
    "fastapi_plain": [
        *(sys.executable, "-m", "uvicorn", "--workers", "2", "--log-level", "warning"),
        *("--no-access-log", "bench.baselines.fastapi_plain:application"),
    ],
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000, help="in a round; default: 1000")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--only", nargs="*", choices=SYSTEMS, default=[*SYSTEMS])
    options = parser.parse_args()
    prepare("rivergen_bench")
    token, ids = make_sources()
    kinds = {kind: make(token, ids) for kind, make in KINDS.items()}
    found: dict[str, dict[str, list[Measurement]]] = {kind: {} for kind in kinds}
    footprints = {system: {"start_seconds": start_seconds(system)} for system in options.only}
    with serving(options.only) as servers:
        for system, (_, pid) in servers.items():
            footprints[system]["idle_mb"] = memory_mb(pid)
        for round_number in range(options.rounds + 1):
            for kind, make_request in kinds.items():
                for system, (port, pid) in servers.items():
                    count = options.requests if round_number else WARM_UP_REQUESTS
                    one = measure(port, pid, make_request, count)
                    if round_number:
                        found[kind].setdefault(system, []).append(one)
        for system, (_, pid) in servers.items():
            footprints[system]["loaded_mb"] = memory_mb(pid)
    report(found, footprints, options.requests, options.rounds)


def make_sources() -> tuple[str, list[int]]:
    """Create an organization with data sources; give its editor's token, and the ids."""
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    organization = Organization.objects.create(name="Bench", slug="bench")
    editor = User.objects.create_user("bench")
    organization.add_member(editor, Role.EDITOR)
    made = DataSource.objects.bulk_create(
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
    return str(AccessToken.for_user(editor)), [data_source.pk for data_source in made]


def request(method: str, path: str, token: str, body: str = "") -> bytes:
    """Write a request."""
    return (
        f"{method} /api/v1/data-sources{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def updates(token: str, ids: list[int]) -> MakeRequest:
    """Give one source after the other another description."""

    def make(number: int) -> bytes:
        body = json.dumps({"description": f"Description {number}"})
        return request("PATCH", f"/{ids[number % len(ids)]}", token, body)

    return make


def reads(token: str, ids: list[int]) -> MakeRequest:
    """Get one source after the other."""
    return lambda number: request("GET", f"/{ids[number % len(ids)]}", token)


def lists(token: str, ids: list[int]) -> MakeRequest:
    """List the first 50."""
    whole = request("GET", "", token)
    return lambda number: whole


KINDS = {"PATCH": updates, "GET": reads, "list of 50": lists}


@contextmanager
def serving(systems: list[str]) -> Iterator[dict[str, tuple[int, int]]]:
    """Serve these systems; give the port and the main process of each."""
    processes: list[subprocess.Popen[bytes]] = []
    servers = {}
    try:
        for system in systems:
            port = free_port()
            address = ["--port", str(port)]
            if "gunicorn" in SYSTEMS[system]:
                address = ["--bind", f"127.0.0.1:{port}"]
            process = subprocess.Popen(
                [*SYSTEMS[system], *address],
                cwd=BASE_DIR,
                env={**os.environ, "PORT": str(port)},
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


def start_seconds(system: str) -> float:
    """Give the median time from the command to the first answer."""
    found = []
    for _ in range(STARTS):
        started_at = time.perf_counter()
        with serving([system]):
            found.append(time.perf_counter() - started_at)
    return statistics.median(found)


def report(
    found: dict[str, dict[str, list[Measurement]]],
    footprints: dict[str, dict[str, float]],
    requests: int,
    rounds: int,
) -> None:
    """Print medians, ratios first, and write all to a file."""
    print(f"Medians of {rounds} rounds of {requests:,} requests; {psutil.cpu_count()} cores, "
          f"Python {platform.python_version()}.")  # fmt: skip
    titles = f"{'':12}{'':16}{'ratio':>8}{'CPU ms':>9}{'req/s':>8}{'p50 ms':>9}{'p95 ms':>9}"
    rows = []
    for kind, by_system in found.items():
        print(f"\n{titles}")
        ours = median_of(by_system["rivergen"], "cpu_ms") if "rivergen" in by_system else None
        for system, measurements in by_system.items():
            row: dict[str, Any] = {
                "kind": kind,
                "system": system,
                "cpu_ms": median_of(measurements, "cpu_ms"),
                "per_second": median_of(measurements, "per_second"),
                "p50_ms": statistics.median(one.latency_ms(50) for one in measurements),
                "p95_ms": statistics.median(one.latency_ms(95) for one in measurements),
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
    result = {"rounds": rounds, "requests": requests, "rows": rows, "footprints": footprints}
    write_result("requests", result)


def write_result(name: str, result: Any) -> None:
    """Write what was measured to a file that Git ignores."""
    folder = BASE_DIR / ".bench"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def median_of(measurements: list[Measurement], name: str) -> float:
    """Give the median of a property."""
    return statistics.median(getattr(one, name) for one in measurements)


if __name__ == "__main__":
    obey_signals()  # else the servers would outlive it
    main()
