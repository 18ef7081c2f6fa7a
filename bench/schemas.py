"""`python -m bench.schemas`: read, store and serve large schemas of PostgreSQL and MariaDB.

Starts both servers on this machine. Their tables have 22 columns, a primary key, a foreign key and
two indexes. For each number of tables, prints medians of the time of a plain client that runs the
same statements and fetches all rows, of a refresh (start of the sandbox and login included), and of
a refresh whose snapshot is stored, with their ratios; the peak memory of the sandbox; the number of
statements that MariaDB counted; and the response times of the API. Exits with 1 if MariaDB counted
more statements for more tables.
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

from bench.clients import Client
from rivergen.local.run import serve
from rivergen.testing.services import prepare

TABLES = {"postgresql": (200, 2_000, 20_000), "mariadb": (100, 1_000)}
ROUNDS = 5
# 17 columns; CREATE adds five.
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
    """A database server whose schema is read."""

    type: str
    port: int
    database: str
    secrets: dict[str, str]
    login: Callable[[], Any]
    """Connects as a plain client."""


@dataclass
class Results:
    """What was measured with a number of tables: seconds, bytes, and numbers of statements."""

    tables: int
    plain: list[float] = field(default_factory=list)
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
                results = [*Bench(server, port).measure(sorted(sizes_of[server.type]))]
            report(server.type, results)
            is_flat &= len(set().union(*(result.statements for result in results))) <= 1
    return 0 if is_flat else 1


def start_postgresql(stack: ExitStack) -> Server:
    """Start a PostgreSQL server."""
    import psycopg

    from datasources.connections.testing import postgresql as testing

    server = stack.enter_context(testing.PostgreSQLServer())
    secrets = {"username": testing.USERNAME, "password": testing.PASSWORD}
    return Server(
        type="postgresql",
        port=server.port,
        database=testing.DATABASE,
        secrets=secrets,
        login=lambda: psycopg.connect(
            host="127.0.0.1",
            port=server.port,
            dbname=testing.DATABASE,
            user=testing.USERNAME,
            password=testing.PASSWORD,
            autocommit=True,
        ),
    )


def start_mariadb(stack: ExitStack) -> Server:
    """Start a MariaDB server."""
    import pymysql

    from datasources.connections.testing import mariadb as testing

    server = stack.enter_context(testing.MariaDBServer())
    secrets = {"username": testing.USERNAME, "password": testing.PASSWORD}
    return Server(
        type="mariadb",
        port=server.port,
        database=testing.DATABASE,
        secrets=secrets,
        login=lambda: pymysql.connect(
            host="127.0.0.1",
            port=server.port,
            database=testing.DATABASE,
            user=testing.USERNAME,
            password=testing.PASSWORD.encode(),
        ),
    )


class Bench:
    """A server, a data source that connects to it, and a user of the API."""

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

    def measure(self, sizes: Iterable[int]) -> Iterable[Results]:
        """Measure at each size, in ascending order."""
        created = 0
        with closing(self.server.login()) as self.connection:
            self.cursor = self.connection.cursor()
            for size in sizes:
                for number in range(created, size):
                    self.make_table(number)
                created = size
                print(f"{self.server.type}: {size:,} tables created", file=sys.stderr)
                yield self.measure_once(size)

    def make_table(self, number: int) -> None:
        """Create a table with a foreign key to the previous table."""
        text = CREATE.format(number=number, previous=max(number - 1, 0), fillers=FILLERS)
        for statement in text.split(";"):
            self.cursor.execute(statement)

    def measure_once(self, size: int) -> Results:
        """Measure plain client, refresh and storing in alternation, then the API."""
        from datasources.schemas.snapshots.models import SchemaContent, SchemaSnapshot

        results = Results(size)
        self.read()  # warm up
        for _ in range(ROUNDS):
            results.plain.append(seconds(self.query_plainly))
            SchemaSnapshot.objects.all().delete()
            SchemaContent.objects.all().delete()
            before = self.count_statements() + 1  # the counting statement itself
            reading_seconds = seconds(lambda: results.memory.append(self.read()))
            if self.server.type == "mariadb":
                results.statements.add(self.count_statements() - before)
            results.reading.append(reading_seconds)
            results.storing.append(reading_seconds + seconds(self.store))
        self.cursor.execute("ALTER TABLE t0 ADD COLUMN added integer")
        self.read()
        self.store()
        self.cursor.execute("ALTER TABLE t0 DROP COLUMN added")
        results.answers = self.measure_answers(size)
        return results

    def query_plainly(self) -> None:
        """Run the statements of the reader with a plain client, and fetch all rows."""
        from datasources.schemas.reading.readers import READERS

        reader: Any = READERS[self.server.type](self.connection, self.configuration)
        parameters = {"schema": reader.schema}
        for kind in ("relations", "primary_keys", "foreign_keys", "indexes", "columns"):
            statement = getattr(reader, f"{kind}_sql").replace("{schema}", "%(schema)s")
            self.cursor.execute(statement, parameters)
            self.cursor.fetchall()

    def read(self) -> int:
        """Read the schema as the worker does; return the peak memory of the sandbox in bytes."""
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
            sys.exit(f"The schema could not be read: {self.reading.code}")
        return self.reading.memory

    def store(self) -> None:
        """Store the snapshot that was read, as the worker does."""
        from datasources.connections.failures import Code
        from datasources.schemas.models import SchemaRefresh

        [refresh] = SchemaRefresh.objects.start([self.data_source])
        refresh.finish(Code.OK, self.data_source, self.reading.content)

    def count_statements(self) -> int:
        """Return the number of statements that MariaDB has received; 0 for PostgreSQL."""
        if self.server.type != "mariadb":
            return 0
        self.cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
        [[_, number]] = self.cursor.fetchall()
        return int(number)

    def measure_answers(self, size: int) -> dict[str, float]:
        """Return the response times of the API in seconds; a page has 50 tables in full."""
        from rest_framework_simplejwt.tokens import AccessToken

        from datasources.schemas.snapshots.pages import write_cursor

        number = self.data_source.schema_snapshots.values_list("number", flat=True).first()
        last_page = write_cursor(size - 50, {"snapshot": number})
        client = Client(self.port, str(AccessToken.for_user(self.user)))

        def response_time(query: str) -> float:
            path = f"/{self.data_source.pk}/schema{query}"
            return median(seconds(lambda: client.call("GET", path)) for _ in range(ROUNDS))

        return {
            "first page": response_time("?page_size=50"),
            "last page": response_time(f"?page_size=50&cursor={last_page}"),
            "?table=": response_time(f"?table=t{size - 1}"),
            "?search=": response_time(f"?search=t{size - 1}"),
            "changes": response_time("/changes"),
        }


def read_and_measure(configuration: Any, policy: Any, send: Callable[..., None]) -> None:
    """Run as the sandbox, and add its peak memory to the last message."""
    from datasources.schemas.reading.child import read_and_send

    def send_with_memory(**message: Any) -> None:
        if "code" in message:
            message["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        send(**message)

    read_and_send(configuration, policy, send_with_memory)


def seconds(work: Callable[[], object]) -> float:
    """Return how long a function takes."""
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def report(server_type: str, results: list[Results]) -> None:
    """Print a table of medians."""
    rows = [
        ["tables", "plain ms", "reading", "ratio", "storing", "ratio", "sandbox MB", "statements"]
    ]
    rows[0] += [f"{name} ms" for name in results[0].answers]
    for result in results:
        plain = median(result.plain)
        rows.append([f"{result.tables:,}", f"{plain * 1000:,.0f}"])
        for value in (median(result.reading), median(result.storing)):
            rows[-1] += [f"{value * 1000:,.0f}", f"{value / plain:.2f}"]
        rows[-1] += [f"{max(result.memory) / 1e6:,.0f}", "/".join(map(str, result.statements))]
        rows[-1] += [f"{value * 1000:,.1f}" for value in result.answers.values()]
    print(f"\n{server_type}")
    for row in rows:
        print("  ".join(f"{cell:>{len(title)}}" for cell, title in zip(row, rows[0], strict=True)))


if __name__ == "__main__":
    sys.exit(main())
