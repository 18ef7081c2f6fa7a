"""The service under test: its own database, web processes and some data sources."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psutil
import psycopg

from rivergen.local.run import serve
from rivergen.testing import replication
from rivergen.testing.replication import Server
from rivergen.testing.services import prepare
from tests.faults.clients import FIELDS, Client, Ledger, load

DATABASE = "rivergen_faults"
DATA_SOURCES = 4
USERNAME = "faults"
PASSWORD = "correct horse battery staple"


@dataclass
class Service:
    """The database, and the port, token and data sources that clients use."""

    database: Server
    port: int
    token: str
    pks: list[int]

    def connect(self) -> psycopg.Connection:
        """Return a direct connection to the database."""
        url = self.database.url(DATABASE)
        return psycopg.connect(url, autocommit=True, application_name="faults")

    def client(self, ledger: Ledger, pk: int, *fields: str) -> Client:
        """Return a client that writes these fields of a data source."""
        return Client(ledger, self.port, self.token, pk, fields)

    @contextmanager
    def under_load(self, ledger: Ledger) -> Iterator[None]:
        """Run the block while clients write each field of each data source."""
        with load([self.client(ledger, pk, name) for pk in self.pks for name in FIELDS]):
            ledger.wait_for_good(time.monotonic())
            yield
            ledger.wait_for_good(time.monotonic())

    def stop_database(self) -> None:
        """Stop the database with a fast shutdown, which ends all connections."""
        self.database.process.send_signal(signal.SIGINT)
        self.database.process.wait()

    def kill_database(self) -> None:
        """Kill all processes of the database at once, as when the power fails."""
        main = psutil.Process(self.database.process.pid)
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        self.database.process.wait()
        psutil.wait_procs(processes)

    def count_lost(self, ledger: Ledger) -> int:
        """Return how many acknowledged changes the history lacks, plus rows that differ from it."""
        from django.db import connection

        from datasources.models import DataSource, DataSourceRevision

        connection.close()  # a fault may have ended it
        changes = {
            (revision.data_source_id, revision.version): revision.changes
            for revision in DataSourceRevision.objects.all()
        }
        lost = sum(
            changes.get((write.pk, write.version), {}).get(write.field, {}).get("to") != write.value
            for write in ledger.writes
        )
        for data_source in DataSource.objects.all():
            expected: dict[str, Any] = {}
            for pk, version in sorted(changes):
                if pk == data_source.pk:
                    expected |= {name: to["to"] for name, to in changes[pk, version].items()}
                    expected["version"] = version
            lost += any(getattr(data_source, name) != value for name, value in expected.items())
        return lost


@contextmanager
def service(**options: str) -> Iterator[Service]:
    """Yield a service on a new database with these settings, and remove it at the end.

    fsync is on, as in production: the crash tests depend on it.
    """
    with replication.embedded_primary(fsync="on", **options) as server:
        os.environ["DATABASE_URL"] = server.url()
        port = prepare(DATABASE)
        token, pks = populate()
        yield Service(server, port, token, pks)


@contextmanager
def web(
    service: Service, environment: Mapping[str, str] | None = None, log: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the web server with these environment variables until the block ends."""
    with ExitStack() as stack:
        with mock.patch.dict(os.environ, environment or {}, PORT=str(service.port)):
            process = stack.enter_context(serve(service.port, log=log))
        yield process


def populate() -> tuple[str, list[int]]:
    """Create an organization with data sources; return a token of its owner, and their ids."""
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    organization = Organization.objects.create(name="Faults", slug="faults")
    user = User.objects.create_user(USERNAME, password=PASSWORD)
    organization.add_member(user, Role.OWNER)
    pks = [
        DataSource.objects.create(organization=organization, name=f"{n}", type="postgresql").pk
        for n in range(DATA_SOURCES)
    ]
    return str(AccessToken.for_user(user)), pks
