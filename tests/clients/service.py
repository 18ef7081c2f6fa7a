"""The service that the clients are driven against, and a database to connect to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from datasources.connections.testing import postgresql
from rivergen.local.run import serve, work
from rivergen.testing.services import prepare
from tests.clients.newer_version import newer_version

DATABASE = "rivergen_clients"
PASSWORD = "correct horse battery staple"
# JavaScript and 64-bit integers can hold it, 32-bit integers cannot.
FIRST_ID = 3_000_000_000


@dataclass(frozen=True)
class Service:
    """The addresses of a running service, of a newer version of it, and of a data source."""

    url: str
    newer_url: str
    source_port: int

    def environment(self, username: str) -> dict[str, str]:
        """Return the environment variables of a scenario that signs in as this user."""
        return {
            "RIVERGEN_URL": self.url,
            "RIVERGEN_NEWER_URL": self.newer_url,
            "RIVERGEN_USERNAME": username,
            "RIVERGEN_PASSWORD": PASSWORD,
            "SOURCE_PORT": str(self.source_port),
            "SOURCE_DATABASE": postgresql.DATABASE,
            "SOURCE_USERNAME": postgresql.USERNAME,
            "SOURCE_PASSWORD": postgresql.PASSWORD,
        }


@contextmanager
def service(usernames: list[str], log: Path) -> Iterator[Service]:
    """Yield a running service with an owner of each name; its processes write to `log`."""
    port = prepare(DATABASE, EGRESS_ALLOW="127.0.0.0/8", WEB_CONCURRENCY="1")
    populate(usernames)
    with (
        postgresql.PostgreSQLServer() as source,
        log.open("wb") as output,
        serve(port, log=output.fileno()),
        work(log=output.fileno()),
        newer_version(port) as newer_port,
    ):
        with psycopg.connect(source.uri, dbname=postgresql.DATABASE) as connection:
            connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, total numeric)")
        yield Service(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{newer_port}", source.port)


def populate(usernames: list[str]) -> None:
    """Create an organization with an owner for each name, and let ids begin with FIRST_ID."""
    from django.db import connection
    from django.utils.text import slugify

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    for username in usernames:
        organization = Organization.objects.create(name=username, slug=slugify(username))
        organization.add_member(User.objects.create_user(username, password=PASSWORD), Role.OWNER)
    with connection.cursor() as cursor:
        table = DataSource._meta.db_table
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {FIRST_ID}")
    connection.close()
