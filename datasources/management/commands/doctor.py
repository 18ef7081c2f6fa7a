"""`manage.py doctor`: is all there that the service needs?"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, connection

from datasources.connections.connectors import CONNECTORS
from datasources.credentials.cipher import key_ring
from datasources.credentials.models import Credential
from datasources.jobs import has_worker
from datasources.models import DataSource
from rivergen.egress.exceptions import HostNotFound
from rivergen.egress.policy import DENIED_BY_DEFAULT, EgressPolicy, egress_policy
from rivergen.egress.rules import Network
from rivergen.observability.health import is_migrated
from rivergen.postgresql.row_level_security import PROTECTED, unprotected_tables

POSTGRESQL_MIN = 150_000
ANY_PORT = 80


class Finding(NamedTuple):
    """What was looked at, whether it is well, and how it is or what mends it."""

    name: str
    ok: bool
    text: str


class Command(BaseCommand):
    """Look at what the service needs, a line for each."""

    help = (
        "Look at all that the service needs, and say for each whether it is well, or how to mend "
        "it. Changes nothing. Run it with the environment of the worker. Exits with 1 if something "
        "is to be mended."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in find_all():
            sign = self.style.SUCCESS("ok  ") if finding.ok else self.style.ERROR("mend")
            self.stdout.write(f"{sign}  {finding.name:<10}  {finding.text}")
            findings.append(finding)
        to_mend = sum(not finding.ok for finding in findings)
        if to_mend:
            raise CommandError(f"To be mended: {to_mend} of {len(findings)}.")


def find_all() -> Iterator[Finding]:
    """Give what is found, one after the other; what needs the database only if it is there."""
    database = look_at_database()
    yield database
    if database.ok:
        migrations = look_at_migrations()
        yield migrations
        if migrations.ok:
            for look in OF_THE_DATABASE:
                yield look()
    for look in OF_THIS_MACHINE:
        yield look()


def look_at_database() -> Finding:
    """Whether PostgreSQL answers, is new enough, and holds every letter."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_encoding')")
            encoding = cursor.fetchone()[0]
    except (DatabaseError, InterfaceError):
        mend = "It cannot be reached. Start it, or correct DATABASE_URL."
        return Finding("database", False, mend)
    version: int = connection.pg_version  # type: ignore[attr-defined]
    if version < POSTGRESQL_MIN:
        mend = f"PostgreSQL {version // 10_000} is too old. Take 15 or newer."
        return Finding("database", False, mend)
    if encoding != "UTF8":
        mend = f"Its encoding is {encoding}. Create a database with ENCODING 'UTF8'."
        return Finding("database", False, mend)
    return Finding("database", True, f"PostgreSQL {version // 10_000}.{version % 10_000}.")


def look_at_migrations() -> Finding:
    """Whether the tables are those of this code."""
    if not is_migrated():
        return Finding("migrations", False, "Some are missing: python manage.py migrate")
    return Finding("migrations", True, "All are applied.")


def look_at_keys() -> Finding:
    """Whether there is a key for every secret."""
    others = Credential.objects.of_other_keys().count_by_key()
    lost = {key_id: count for key_id, count in others.items() if key_id not in key_ring()}
    if lost:
        names = ", ".join(lost)
        mend = (
            f"Secrets sealed by {names}, which is not in ENCRYPTION_KEYS: {sum(lost.values())}. "
            "Add it, or have them entered again."
        )
        return Finding("keys", False, mend)
    old = sum(others.values())
    rest = f" By others: {old}; see rotate_encryption_key." if old else ""
    return Finding("keys", True, f"The key {key_ring().current_id} seals, all secrets open.{rest}")


def look_at_workers() -> Finding:
    """Whether anybody does what is asked for."""
    if not has_worker():
        return Finding("worker", False, "None is running. Start one: python manage.py worker")
    return Finding("worker", True, "At least one is running.")


def look_at_drivers() -> Finding:
    """Whether the drivers are there that the stored data sources need."""
    missing = {
        name for name, connector in CONNECTORS.items() if not connector.is_driver_installed()
    }
    needed = {*DataSource.objects.filter(type__in=missing).values_list("type", flat=True)}
    if needed:
        mend = (
            f"Missing for data sources that are there: {', '.join(sorted(needed))}. Workers need: "
            "pip install -r requirements-cloud.txt"
        )
        return Finding("drivers", False, mend)
    rest = f", but for {', '.join(sorted(missing))}" if missing else ""
    return Finding("drivers", True, f"All are installed{rest}.")


def look_at_isolation() -> Finding:
    """Whether the database keeps organizations apart, where it is meant to."""
    in_sight = unprotected_tables()
    if not settings.DATABASE_ROW_LEVEL_SECURITY:
        if len(in_sight) < len(PROTECTED):
            mend = "This role is shown no rows until DATABASE_ROW_LEVEL_SECURITY is set to 1."
            return Finding("isolation", False, mend)
        return Finding("isolation", True, "This role sees all rows; workers and commands must.")
    if in_sight:
        mend = (
            f"This role sees all rows of {', '.join(sorted(in_sight))}. Let the web sign in as one "
            "that owns nothing, and run, as the owner: python manage.py protect_rows ROLE"
        )
        return Finding("isolation", False, mend)
    return Finding("isolation", True, "This role is shown what whoever is asking may see.")


def look_at_egress() -> Finding:
    """Whether data sources can lead to what nobody should reach."""
    try:
        policy = egress_policy()
    except HostNotFound:
        mend = "The host of DATABASE_URL cannot be resolved, so that nothing is connected to."
        return Finding("egress", False, mend)
    reachable = [network for network in DENIED_BY_DEFAULT if is_open(policy, network)]
    names = ", ".join(map(str, reachable))
    if any(network.num_addresses == 1 and not network.is_loopback for network in reachable):
        mend = f"Data sources can reach {names}: deny in EGRESS_DENY what they must not reach."
        return Finding("egress", False, mend)
    rest = f", but for {names}" if reachable else ""
    return Finding("egress", True, f"What is denied by default is denied{rest}.")


def is_open(policy: EgressPolicy, network: Network) -> bool:
    """Whether the first address of a network may be connected to."""
    return policy.allows(str(network.network_address), ANY_PORT)


def look_at_storage() -> Finding:
    """Whether files can be read."""
    if settings.STORAGE_URL:
        return Finding("storage", True, "It is an object store, which every test of a file asks.")
    root = settings.STORAGE_ROOT
    if not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
        mend = f"{root} is no folder that can be read. Make it, or set STORAGE_ROOT."
        return Finding("storage", False, mend)
    return Finding("storage", True, f"The files are below {root}.")


OF_THE_DATABASE: tuple[Callable[[], Finding], ...] = (
    look_at_keys,
    look_at_workers,
    look_at_drivers,
    look_at_isolation,
)
OF_THIS_MACHINE: tuple[Callable[[], Finding], ...] = (look_at_egress, look_at_storage)
