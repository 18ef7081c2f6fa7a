"""`python -m bench.machines`: a deployment of several servers, whose replica is killed under load.

Starts a primary and a streaming replica (PostgreSQL 15, fsync on), PgBouncer in transaction mode,
two web servers that use it, and two workers that connect directly. Writers change data sources on
one web server and at once look for the change on the other: in the list, the history and the
schema. Readers only read. The replica is killed and restarted, then the primary. Prints the cost of
each period, which server answered the reads, and how often the replica was behind after a change.

Exits with 1 if a client did not see its own change, or if a request failed, except with 503 while
the primary was down. With `--alone` the web servers use no replica, and nothing is killed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from unittest import mock

import psutil
import psycopg

from bench.load import cpu_seconds
from bench.machines_clients import Load, Reader, Refresher, Request, Writer
from rivergen.local.run import serve, work
from rivergen.testing import replication
from rivergen.testing.pgbouncer import pgbouncer
from rivergen.testing.replication import Server
from rivergen.testing.services import free_port, prepare

BINARIES = Path("/usr/lib/postgresql/15/bin")
DATABASE = "rivergen_machines"
SOURCES = 2_000
WEB_SERVERS = 2
WORKERS = 2
POOL_SIZE = 16
WARM_UP_SECONDS = 5
PRIMARY_DOWN_SECONDS = 3
SERVER_OPTIONS = {
    "shared_preload_libraries": "pg_stat_statements",
    # The primary keeps row versions that queries on the replica still need.
    "hot_standby_feedback": "on",
}
# Kind of read -> a regular expression that matches its statement.
STATEMENTS = {
    "list": 'FROM "datasources_datasource" .*ORDER BY .*"id" (ASC|DESC) LIMIT',
    "history": 'FROM "datasources_datasourcerevision" .*ORDER BY',
    "schema": 'FROM "datasources_schemasnapshot" .*ORDER BY',
}
COUNT_STATEMENTS = (
    "SELECT coalesce(sum(calls), 0)::integer FROM pg_stat_statements WHERE query ~ %s"
)


class Usage(Counter[str]):
    """The work of a server since its start: reads by kind, and `cpu` seconds."""

    @classmethod
    def of(cls, server: Server) -> "Usage":
        """Return the usage of a running server."""
        main = psutil.Process(server.process.pid)
        usage = cls(cpu=sum(main.cpu_times()[:4]))  # includes finished children
        for child in main.children():
            usage["cpu"] += sum(child.cpu_times()[:2])
        with psycopg.connect(server.url(DATABASE)) as connection:
            for kind, pattern in STATEMENTS.items():
                row = connection.execute(COUNT_STATEMENTS, [pattern]).fetchone()
                usage[kind] = row[0] if row else 0
        return usage


@dataclass
class Period:
    """What was measured during one period."""

    name: str
    requests: list[Request]
    looks: Counter[str]
    stale: Counter[str]
    primary: Counter[str]
    replica: Counter[str]
    web_cpu: float


@dataclass
class Machines:
    """The servers and their clients."""

    primary: Server
    replica: Server
    web_pids: list[int]
    load: Load

    def watch(
        self,
        name: str,
        seconds: float,
        event: Callable[[], None] = lambda: None,
        *,
        has_replica: bool = True,
    ) -> Period:
        """Trigger an event, wait, and return what was measured from the event on.

        The usage of the servers is counted after the event: a killed server loses its counters.
        """
        count = len(self.load.requests)
        looks, stale = self.load.looks.copy(), self.load.stale.copy()
        event()
        servers = [self.primary, self.replica] if has_replica else [self.primary]
        before = [Usage.of(server) for server in servers]
        web_cpu = sum(map(cpu_seconds, self.web_pids))
        time.sleep(seconds)
        used = [Usage.of(server) for server in servers]
        for usage, earlier in zip(used, before, strict=True):
            usage.subtract(earlier)
        return Period(
            name,
            self.load.requests[count:],
            self.load.looks - looks,
            self.load.stale - stale,
            used[0],
            used[1] if has_replica else Counter(),
            sum(map(cpu_seconds, self.web_pids)) - web_cpu,
        )

    def restart_primary(self) -> None:
        """Kill the primary, and start it again after PRIMARY_DOWN_SECONDS."""
        self.primary.kill()
        time.sleep(PRIMARY_DOWN_SECONDS)
        self.primary.start()


def main() -> int:
    """Start everything, kill the servers under load, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=20, help="length of each period; default: 20"
    )
    parser.add_argument("--writers", type=int, default=4, help="number; default: 4")
    parser.add_argument("--readers", type=int, default=4, help="number; default: 4")
    parser.add_argument("--delay", default="0", help="replication delay, such as 100ms; default: 0")
    parser.add_argument("--alone", action="store_true", help="use no replica")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with machines(options) as running:
        running.watch("warm-up", WARM_UP_SECONDS)
        periods = [running.watch("undisturbed", options.seconds)]
        if not options.alone:
            periods += kill_each(running, options.seconds)
    return report(periods, running.load)


def kill_each(running: Machines, seconds: float) -> Iterator[Period]:
    """Kill and restart the replica, then the primary, and yield a period for each event."""
    replica = running.replica
    yield running.watch("replica killed", seconds, replica.kill, has_replica=False)
    yield running.watch("replica restarted", seconds, replica.start)
    yield running.watch("primary killed and restarted", seconds, running.restart_primary)


@contextmanager
def machines(options: argparse.Namespace) -> Iterator[Machines]:
    """Start servers and clients, and stop all of them at the end."""
    with ExitStack() as stack:
        storage = Path(stack.enter_context(TemporaryDirectory(prefix="bench-"))).resolve()
        primary = stack.enter_context(
            replication.primary(BINARIES, "postgres", fsync="on", **SERVER_OPTIONS)
        )
        os.environ["DATABASE_URL"] = primary.url()
        prepare(DATABASE, STORAGE_ROOT=str(storage), WEB_CONCURRENCY="1")
        settings = {"fsync": "on", "recovery_min_apply_delay": options.delay, **SERVER_OPTIONS}
        replica = stack.enter_context(replication.replica(primary, **settings))
        ports = [free_port() for _ in range(WEB_SERVERS)]
        load = Load(ports, replica.url(DATABASE))
        clients = make_clients(load, options, storage)
        for _ in range(WORKERS):
            stack.enter_context(work(log=subprocess.DEVNULL))
        pooled = stack.enter_context(pgbouncer(primary.port, DATABASE, POOL_SIZE))
        webs: list[int] = []
        for port in ports:
            replica_url = "" if options.alone else replica.url(DATABASE)
            urls = {"DATABASE_URL": pooled, "DATABASE_REPLICA_URL": replica_url}
            with mock.patch.dict(os.environ, PORT=str(port), **urls):
                webs.append(stack.enter_context(serve(port, log=subprocess.DEVNULL)).pid)
        stack.callback(load.stop)
        clients[0].work()  # a first refresh, so that readers find a schema
        for client in clients:
            load.start(client.work)
        yield Machines(primary, replica, webs, load)


def make_clients(
    load: Load, options: argparse.Namespace, storage: Path
) -> list[Writer | Refresher | Reader]:
    """Create an organization with data sources, and a user for each client."""
    from django.db import connection
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_stat_statements")
    organization = Organization.objects.create(name="Bench", slug="bench")
    (storage / str(organization.pk)).mkdir()
    file = storage / str(organization.pk) / "small.csv"
    sources = DataSource.objects.bulk_create(
        DataSource(organization=organization, name=f"{n}", type="csv", file_path=file.name)
        for n in range(SOURCES)
    )
    ids = [data_source.pk for data_source in sources]

    def token(name: str) -> str:
        user = User.objects.create_user(name)
        organization.add_member(user, Role.EDITOR)
        return str(AccessToken.for_user(user))

    return [
        Refresher(load, token("refresher"), ids[0], file),
        *(Writer(load, token(f"writer {n}"), ids[n]) for n in range(1, options.writers + 1)),
        *(Reader(load, token(f"reader {n}"), ids, ids[0]) for n in range(options.readers)),
    ]


def report(periods: list[Period], load: Load) -> int:
    """Print the results, and return the exit status."""
    for period in periods:
        print(f"\n{period.name}: {len(period.requests):,} requests")
        for kind in ("PATCH", *STATEMENTS, "refresh"):
            print_kind(period, kind)
        cpu = {
            "web": period.web_cpu,
            "primary": period.primary["cpu"],
            "replica": period.replica["cpu"],
        }
        count = max(len(period.requests), 1)
        costs = [f"{name} {1000 * seconds / count:.2f}" for name, seconds in cpu.items()]
        print(f"  CPU ms per request of any kind: {', '.join(costs)}")
        failed = Counter(sent.status for sent in period.requests if not is_ok(sent))
        print(f"  failed, by status: {dict(failed) or 'none'}")
        for where, count in sorted(period.looks.items()):
            missing = period.stale[where]
            print(f"  own changes looked for in the {where}: {count:,}, missing {missing:,}")
    stale = sum(load.stale[kind] for kind in STATEMENTS)
    failed = Counter(sent.status for sent in load.requests if not is_ok(sent))
    print(f"\nTotal: stale {stale}, failed {dict(failed) or 'none'}")
    print(*load.crashes)
    return 1 if stale or failed.keys() - {503} or load.crashes else 0


def print_kind(period: Period, kind: str) -> None:
    """Print a line about the requests of a kind."""
    milliseconds = [1000 * sent.seconds for sent in period.requests if sent.kind == kind]
    if len(milliseconds) < 2:
        return
    steps = quantiles(milliseconds, n=20)
    line = f"  {kind:<8} {len(milliseconds):>6,}  p50 {steps[9]:5.0f}  p95 {steps[18]:5.0f}"
    line += f"  max {max(milliseconds):6.0f} ms"
    if kind in STATEMENTS:
        line += f"   primary read {period.primary[kind]:>6,}, replica {period.replica[kind]:>6,}"
    print(line)


def is_ok(request: Request) -> bool:
    """Return whether a request succeeded."""
    return 200 <= request.status < 300


if __name__ == "__main__":
    sys.exit(main())
