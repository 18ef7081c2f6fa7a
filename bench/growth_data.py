"""Fill a database with a given number of data sources, by COPY.

One large organization has half of the data sources; small organizations of five have the rest. Each
data source has ten revisions. There are three editors: a member of the large organization only, a
member of one small organization only, and a member of 1,000 organizations.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg
from psycopg import sql

LARGE = 1  # the id of the organization with half of the data sources
FIRST_SMALL = 2
SOURCES_OF_SMALL = 5
# At least as many organizations as the third editor is a member of.
SMALL_ORGANIZATIONS_MIN = 1_000
IN_LARGE, IN_SMALL, IN_MANY = USERS = (1, 2, 3)
REVISIONS_OF_EACH = 10
LINES_PER_BLOCK = 10_000

TYPES = [*["postgresql"] * 8, *["mysql"] * 6, *["snowflake"] * 3, "mongodb", "oracle", "trino"]
WORDS = [
    *("Orders", "Billing", "Payroll", "Inventory", "Clicks", "Sessions", "Ledger", "Shipping"),
    *("Catalogue", "Search", "Support", "Churn", "Forecast", "Pricing", "Returns", "Loyalty"),
]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
YEAR_SECONDS = 365 * 24 * 3600
SHARE_OF_FEW = 0.01
SHARE_OF_MANY = 0.5
# The number of teams grows with the database, not their size.
SOURCES_OF_TEAM = 25


def fill(url: str, size: int) -> None:
    """Fill a migrated, empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        copy_tenancy(connection, size)
        with without_indexes(connection, "datasources_datasource"):
            copy_sources(connection, size)
        with without_indexes(connection, "datasources_datasourcerevision"):
            copy_revisions(connection, size)
        connection.execute("VACUUM (ANALYZE)")


def copy_tenancy(connection: psycopg.Connection, size: int) -> None:
    """Write organizations, workspaces, users and memberships."""
    smalls = range(FIRST_SMALL, FIRST_SMALL + small_organizations(size))
    organizations = [LARGE, *smalls]
    of_many = organizations[:SMALL_ORGANIZATIONS_MIN]
    memberships = [(IN_LARGE, LARGE), (IN_SMALL, FIRST_SMALL)]
    memberships += [(IN_MANY, organization) for organization in of_many]
    copy(
        connection,
        "organizations_user",
        ("id", "username", "password", "is_active", "is_staff", "is_superuser", "date_joined")
        + ("first_name", "last_name", "email", "last_write_position", "token_generation"),
        (f"{n}\tuser{n}\t!\tt\tf\tf\t{NOW}\t\t\t\t0\t0" for n in USERS),
    )
    copy(
        connection,
        "organizations_organization",
        ("id", "name", "slug", "created_at"),
        (f"{n}\tOrganization {n}\torganization-{n}\t{NOW}" for n in organizations),
    )
    copy(
        connection,
        "organizations_workspace",
        ("id", "organization_id", "name", "created_at"),
        (f"{n}\t{n}\tDefault\t{NOW}" for n in organizations),
    )
    copy(
        connection,
        "organizations_membership",
        ("id", "user_id", "organization_id", "role", "created_at"),
        (f"{n}\t{u}\t{o}\teditor\t{NOW}" for n, (u, o) in enumerate(memberships, start=1)),
    )


def small_organizations(size: int) -> int:
    """Return the number of small organizations."""
    return max(size // 2 // SOURCES_OF_SMALL, SMALL_ORGANIZATIONS_MIN)


def copy_sources(connection: psycopg.Connection, size: int) -> None:
    """Write the data sources; columns that do not vary have their defaults."""
    names = (
        *("id", "organization_id", "workspace_id", "name", "type", "description", "host"),
        *("database_name", "status", "credentials_status", "tags", "updated_at"),
    )
    constant = constant_columns(names)
    tail = "\t".join(constant.values())
    random = Random(size)
    lines = (f"{source_line(n, size, random)}\t{tail}" for n in range(1, size + 1))
    copy(connection, "datasources_datasource", (*names, *constant), lines)


def source_line(n: int, size: int, random: Random) -> str:
    """Return the varying columns of data source `n`; the large organization has the odd ones."""
    organization = LARGE if n % 2 else FIRST_SMALL + n // 2 % small_organizations(size)
    word, region, type_ = random.choice(WORDS), random.randrange(100), random.choice(TYPES)
    status = "error" if random.random() < SHARE_OF_FEW else "active"
    credentials = "unconfirmed" if random.random() < SHARE_OF_FEW else "set"
    tags = f"team-{random.randrange(size) // SOURCES_OF_TEAM}"
    if random.random() < SHARE_OF_MANY:
        tags += ",production"
    updated_at = NOW - timedelta(seconds=random.randrange(YEAR_SECONDS))
    return (
        f"{n}\t{organization}\t{organization}\t{word} {random.getrandbits(30)}-{n}\t{type_}\t"
        f"{word} of region {region}\tdb{n}.example.com\tanalytics\t"
        f"{status}\t{credentials}\t{{{tags}}}\t{updated_at}"
    )


def constant_columns(varied: Iterable[str]) -> dict[str, str]:
    """Return the other columns with their defaults, in the text format of COPY."""
    from datasources.models import DataSource

    unset = DataSource(created_at=NOW, version=REVISIONS_OF_EACH)
    columns = {}
    for field in DataSource._meta.concrete_fields:
        if field.attname not in varied:
            value = getattr(unset, field.attname)
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            columns[field.attname] = r"\N" if value is None else text
    return columns


def copy_revisions(connection: psycopg.Connection, size: int) -> None:
    """Write the revisions of all data sources, oldest version first."""
    names = ("id", "data_source_id", "version", "changed_at", "origin", "request_id", "changes")
    changes = '{"description": {"from": "What it was", "to": "What it became"}}'
    lines = (
        f"{n}\t{n % size + 1}\t{n // size + 1}\t{NOW}\tapi\t\t{changes}"
        for n in range(REVISIONS_OF_EACH * size)
    )
    copy(connection, "datasources_datasourcerevision", names, lines)


def copy(
    connection: psycopg.Connection, table: str, columns: Iterable[str], lines: Iterable[str]
) -> None:
    """Write lines in the text format of COPY, and advance the id sequence past them."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    # Skip the checks of millions of foreign keys: the data is consistent.
    connection.execute("SET session_replication_role = replica")
    with connection.cursor() as cursor, cursor.copy(statement) as target:
        for block in blocks(lines):
            target.write(block)
    connection.execute("RESET session_replication_role")
    connection.execute(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
    )


def blocks(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines joined to large blocks."""
    remaining = iter(lines)
    while block := [*itertools.islice(remaining, LINES_PER_BLOCK)]:
        yield "\n".join(block) + "\n"


@contextmanager
def without_indexes(connection: psycopg.Connection, table: str) -> Iterator[None]:
    """Drop the indexes of a table, except those of constraints, and recreate them at the end."""
    query = """
        SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s
        AND indexname NOT IN (SELECT conname FROM pg_constraint)
    """
    indexes = connection.execute(query, [table]).fetchall()
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for _, definition in indexes:
        connection.execute(definition)
