"""`python -m bench.schemas`: read, store and serve large schemas of PostgreSQL and MariaDB.

Both are real servers of this machine, with tables of 22 columns, each with a primary key, a foreign
key and two indexes. For each number of tables it prints medians: what a plain client takes for the
same facts (the same statements, all rows fetched), what a reading takes (start of the child process
and login included), what a reading takes that is also stored, the ratios of these, the memory that
the child took at most, the statements that MariaDB counted, and how long the answers of the API
take. Exits with 1 if MariaDB counted more statements for more tables.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.rotation import Client
from rivergen.local.run import serve
from rivergen.testing.services import prepare

TABLES = {"postgresql": (200, 2_000, 20_000), "mariadb": (100, 1_000)}
ROUNDS = 5
# With id, parent, code and two more there are 22.
FILLERS = ", ".join(f"c{number} varchar({number + 10})" for number in range(17))
CREATE = """
CREATE TABLE t{number} (
    id integer PRIMARY KEY, parent integer, code varchar(40) NOT NULL, made_on date,
    total numeric(10,2) DEFAULT 0, {fillers}, FOREIGN KEY (parent) REFERENCES t{previous} (id)
);
CREATE UNIQUE INDEX t{number}_code ON t{number} (code);
CREATE INDEX t{number}_made_on ON t{number} (made_on, total)
"""


@dataclass
class Server:
    """A server whose catalogue is read."""

    type: str
    port: int
    database: str
    secrets: dict[str, str]
    login: Callable[[], Any]
    """Connect, as a plain client does."""


@dataclass
class Measures:
    """What was seen with some number of tables: seconds, bytes, and numbers of statements."""

    tables: int
    bare: list[float] = field(default_factory=list)
    reading: list[float] = field(default_factory=list)
    storing: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    statements: set[int] = field(default_factory=set)
    answers: dict[str, float] = field(default_factory=dict)


def main() -> int:
    """Start the servers, measure each at its sizes, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, sizes in TABLES.items():
        parser.add_argument(f"--{name}", type=int, nargs="*", default=sizes, metavar="TABLES")
    sizes_of = vars(parser.parse_args())
    port = prepare("rivergen_bench_schemas", EGRESS_ALLOW="127.0.0.0/8")
    is_flat = True
    with serve(port, log=subprocess.DEVNULL):
        for start in (start_postgresql, start_mariadb):
            with ExitStack() as stack:
                server = start(stack)
                measures = [*Bench(server, port).measure(sorted(sizes_of[server.type]))]
            report(server.type, measures)
            is_flat &= len(set().union(*(one.statements for one in measures))) <= 1
    return 0 if is_flat else 1


def start_postgresql(stack: ExitStack) -> Server:
    """Start a PostgreSQL."""
    import psycopg

    from datasources.connections.testing import postgresql as its

    server = stack.enter_context(its.PostgreSQLServer())
    secrets = {"username": its.USERNAME, "password": its.PASSWORD}
    return Server(
        type="postgresql",
        port=server.port,
        database=its.DATABASE,
        secrets=secrets,
        login=lambda: psycopg.connect(
            host="127.0.0.1",
            port=server.port,
            dbname=its.DATABASE,
            user=its.USERNAME,
            password=its.PASSWORD,
            autocommit=True,
        ),
    )


def start_mariadb(stack: ExitStack) -> Server:
    """Start a MariaDB."""
    import pymysql

    from datasources.connections.testing import mariadb as its

    server = stack.enter_context(its.MariaDBServer())
    secrets = {"username": its.USERNAME, "password": its.PASSWORD}
    return Server(
        type="mariadb",
        port=server.port,
        database=its.DATABASE,
        secrets=secrets,
        login=lambda: pymysql.connect(
            host="127.0.0.1",
            port=server.port,
            database=its.DATABASE,
            user=its.USERNAME,
            password=its.PASSWORD.encode(),
        ),
    )


class Bench:
    """One server, a data source that leads to it, and a client of the API."""

    def __init__(self, server: Server, port: int) -> None:
        from datasources.models import DataSource
        from organizations.models import Organization, Role, User

        organization = Organization.objects.create(name=server.type, slug=server.type)
        user = User.objects.create_user(server.type)
        organization.add_member(user, Role.EDITOR)
        self.data_source = DataSource.objects.create(
            organization=organization,
            name="Large",
            type=server.type,
            host="127.0.0.1",
            port=server.port,
            database_name=server.database,
        )
        self.data_source.set_credentials(server.secrets, user=user)
        self.configuration = self.data_source.configuration()
        self.port, self.user = port, user
        self.server = server

    def measure(self, sizes: Iterable[int]) -> Iterable[Measures]:
        """Measure at each of the sizes, from small to large."""
        made = 0
        with closing(self.server.login()) as self.connection:
            self.cursor = self.connection.cursor()
            for size in sizes:
                for number in range(made, size):
                    self.make_table(number)
                made = size
                print(f"{self.server.type}: {size:,} tables are there", file=sys.stderr)
                yield self.measure_once(size)

    def make_table(self, number: int) -> None:
        """Create a table that refers to the one before."""
        text = CREATE.format(number=number, previous=max(number - 1, 0), fillers=FILLERS)
        for statement in text.split(";"):
            self.cursor.execute(statement)

    def measure_once(self, size: int) -> Measures:
        """Measure, alternating, what is to be compared."""
        from datasources.schemas.snapshots.models import SchemaContent, SchemaSnapshot

        measures = Measures(size)
        self.read()  # the first one loads and caches
        for _ in range(ROUNDS):
            measures.bare.append(seconds(self.ask))
            SchemaSnapshot.objects.all().delete()
            SchemaContent.objects.all().delete()
            before = self.count_statements() + 1  # to count is one
            reading_seconds = seconds(lambda: measures.memory.append(self.read()))
            if self.server.type == "mariadb":
                measures.statements.add(self.count_statements() - before)
            measures.reading.append(reading_seconds)
            measures.storing.append(reading_seconds + seconds(self.store))
        self.cursor.execute("ALTER TABLE t0 ADD COLUMN added integer")
        self.read()
        self.store()
        self.cursor.execute("ALTER TABLE t0 DROP COLUMN added")
        measures.answers = self.measure_answers(size)
        return measures

    def ask(self) -> None:
        """Do what a plain client does who wants the same facts."""
        from datasources.schemas.reading.readers import READERS

        reader: Any = READERS[self.server.type](self.connection, self.configuration)
        parameters = {"schema": reader.schema}
        for kind in ("relations", "primary_keys", "foreign_keys", "indexes", "columns"):
            statement = getattr(reader, f"{kind}_sql").replace("{schema}", "%(schema)s")
            self.cursor.execute(statement, parameters)
            self.cursor.fetchall()

    def read(self) -> int:
        """Read as the worker does; give how many bytes the child took at most."""
        from datasources.connections.sandbox.process import run_in_child
        from datasources.schemas.reading.sandbox import Reading
        from rivergen.egress.policy import egress_policy

        class MeasuredReading(Reading):
            memory = 0

            def take(self, message: dict[str, Any]) -> None:
                self.memory = message.pop("memory", self.memory)
                super().take(message)

        self.reading = MeasuredReading(self.configuration)
        work = run_in_child(read_and_measure, self.configuration, egress_policy(), self.reading)
        self.reading.end(asyncio.run(work))
        if self.reading.code != "OK":
            sys.exit(f"The reading failed: {self.reading.code}")
        return self.reading.memory

    def store(self) -> None:
        """Store what was read, as the worker does."""
        from datasources.connections.failures import Code
        from datasources.schemas.models import SchemaRefresh

        [refresh] = SchemaRefresh.objects.start([self.data_source])
        refresh.finish(Code.OK, self.data_source, self.reading.content)

    def count_statements(self) -> int:
        """Give how many statements the server was sent, if it is one that counts them."""
        if self.server.type != "mariadb":
            return 0
        self.cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
        [[_, number]] = self.cursor.fetchall()
        return int(number)

    def measure_answers(self, size: int) -> dict[str, float]:
        """Give the seconds of each kind of answer: a page has 50 tables, each with all it has."""
        from rest_framework_simplejwt.tokens import AccessToken

        from datasources.schemas.snapshots.pages import write_cursor

        client = Client(self.port, str(AccessToken.for_user(self.user)))

        def answer(query: str) -> float:
            path = f"/{self.data_source.pk}/schema{query}"
            return median(seconds(lambda: client.call("GET", path)) for _ in range(ROUNDS))

        return {
            "first page": answer("?page_size=50"),
            "last page": answer(f"?page_size=50&cursor={write_cursor(size - 50)}"),
            "?table=": answer(f"?table=t{size - 1}"),
            "?search=": answer(f"?search=t{size - 1}"),
            "changes": answer("/changes"),
        }


def read_and_measure(configuration: Any, policy: Any, send: Callable[..., None]) -> None:
    """Be the child, and tell in the end how much memory it took."""
    from datasources.schemas.reading.child import read_and_send

    def send_with_memory(**message: Any) -> None:
        if "code" in message:
            message["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        send(**message)

    read_and_send(configuration, policy, send_with_memory)


def seconds(work: Callable[[], object]) -> float:
    """Do something, and give how long it took."""
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def report(server_type: str, measures: list[Measures]) -> None:
    """Print what was seen."""
    rows = [["tables", "bare ms", "reading", "ratio", "storing", "ratio", "child MB", "statements"]]
    rows[0] += [f"{name} ms" for name in measures[0].answers]
    for one in measures:
        bare, reading, storing = median(one.bare), median(one.reading), median(one.storing)
        rows.append([f"{one.tables:,}", f"{bare * 1000:,.0f}"])
        for value in (reading, storing):
            rows[-1] += [f"{value * 1000:,.0f}", f"{value / bare:.2f}"]
        rows[-1] += [f"{max(one.memory) / 1e6:,.0f}", "/".join(map(str, one.statements))]
        rows[-1] += [f"{value * 1000:,.1f}" for value in one.answers.values()]
    print(f"\n{server_type}")
    for row in rows:
        print("  ".join(f"{cell:>{len(title)}}" for cell, title in zip(row, rows[0], strict=True)))


if __name__ == "__main__":
    sys.exit(main())
