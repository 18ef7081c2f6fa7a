"""`manage.py doctor`: check everything that the service needs."""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, connection

from datasources.connections.connectors import CONNECTORS
from datasources.connections.sandbox.lockdown import missing_restrictions
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
    """The result of one check: its name, whether it passed, and its state or how to fix it."""

    name: str
    ok: bool
    text: str


class Command(BaseCommand):
    """Run all checks, and print one line for each."""

    help = (
        "Check database, migrations, keys, workers, drivers, isolation, egress, storage and "
        "sandbox, and say how to fix what is wrong. Changes nothing. Run it in the environment of "
        "the worker. Exits with 1 if a check fails."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in run_checks():
            sign = self.style.SUCCESS("ok  ") if finding.ok else self.style.ERROR("fail")
            self.stdout.write(f"{sign}  {finding.name:<10}  {finding.text}")
            findings.append(finding)
        failed = sum(not finding.ok for finding in findings)
        if failed:
            raise CommandError(f"Checks failed: {failed} of {len(findings)}.")


def run_checks() -> Iterator[Finding]:
    """Yield the findings; skip the checks that need the database if it is unusable."""
    database = check_database()
    yield database
    if database.ok:
        migrations = check_migrations()
        yield migrations
        if migrations.ok:
            for check in DATABASE_CHECKS:
                yield check()
    for check in MACHINE_CHECKS:
        yield check()


def check_database() -> Finding:
    """Check that PostgreSQL answers, is new enough, and uses UTF-8."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_encoding')")
            encoding = cursor.fetchone()[0]
    except (DatabaseError, InterfaceError):
        fix = "Cannot be reached. Start it, or correct DATABASE_URL."
        return Finding("database", False, fix)
    version: int = connection.pg_version  # type: ignore[attr-defined]
    if version < POSTGRESQL_MIN:
        fix = f"PostgreSQL {version // 10_000} is too old. Use 15 or newer."
        return Finding("database", False, fix)
    if encoding != "UTF8":
        fix = f"The encoding is {encoding}. Create a database with ENCODING 'UTF8'."
        return Finding("database", False, fix)
    return Finding("database", True, f"PostgreSQL {version // 10_000}.{version % 10_000}.")


def check_migrations() -> Finding:
    """Check that all migrations are applied."""
    if not is_migrated():
        return Finding("migrations", False, "Some are missing. Run: python manage.py migrate")
    return Finding("migrations", True, "All applied.")


def check_keys() -> Finding:
    """Check that every stored secret can be opened."""
    others = Credential.objects.of_other_keys().count_by_key()
    lost = {key_id: count for key_id, count in others.items() if key_id not in key_ring()}
    if lost:
        names = ", ".join(lost)
        fix = (
            f"Secrets sealed by {names}, not in ENCRYPTION_KEYS: {sum(lost.values())}. "
            "Add the key, or enter the secrets again."
        )
        return Finding("keys", False, fix)
    old = sum(others.values())
    rest = f" Sealed by an older key: {old}; run rotate_encryption_key." if old else ""
    current = key_ring().current_id
    return Finding("keys", True, f"Current: {current}. All secrets can be opened.{rest}")


def check_workers() -> Finding:
    """Check that a worker is running."""
    if not has_worker():
        return Finding("worker", False, "Not running. Start one: python manage.py worker")
    return Finding("worker", True, "Running.")


def check_drivers() -> Finding:
    """Check that the drivers of all stored data sources are installed."""
    missing = {
        name for name, connector in CONNECTORS.items() if not connector.is_driver_installed()
    }
    needed = {*DataSource.objects.filter(type__in=missing).values_list("type", flat=True)}
    if needed:
        fix = (
            f"Not installed, but in use: {', '.join(sorted(needed))}. Run for the workers: "
            "pip install -r requirements-cloud.txt"
        )
        return Finding("drivers", False, fix)
    rest = f" except {', '.join(sorted(missing))}" if missing else ""
    return Finding("drivers", True, f"All installed{rest}.")


def check_isolation() -> Finding:
    """Check that row-level security is as DATABASE_ROW_LEVEL_SECURITY says."""
    visible = unprotected_tables()
    if not settings.DATABASE_ROW_LEVEL_SECURITY:
        if len(visible) < len(PROTECTED):
            fix = "This role sees no rows without DATABASE_ROW_LEVEL_SECURITY=1. Set it."
            return Finding("isolation", False, fix)
        return Finding("isolation", True, "This role sees all rows, as workers and commands must.")
    if visible:
        fix = (
            f"This role sees all rows of {', '.join(sorted(visible))}. Let the web connect as a "
            "role that owns no table, and run as the owner: python manage.py protect_rows ROLE"
        )
        return Finding("isolation", False, fix)
    return Finding("isolation", True, "This role sees only the rows of the acting user.")


def check_egress() -> Finding:
    """Check that data sources cannot reach the addresses that are denied by default."""
    try:
        policy = egress_policy()
    except HostNotFound:
        fix = "The host of DATABASE_URL cannot be resolved, so all connections are refused."
        return Finding("egress", False, fix)
    reachable = [network for network in DENIED_BY_DEFAULT if is_open(policy, network)]
    names = ", ".join(map(str, reachable))
    if any(network.num_addresses == 1 and not network.is_loopback for network in reachable):
        fix = f"Data sources can reach {names}. Add what they must not reach to EGRESS_DENY."
        return Finding("egress", False, fix)
    rest = f" except {names}" if reachable else ""
    return Finding("egress", True, f"All addresses denied by default are denied{rest}.")


def is_open(policy: EgressPolicy, network: Network) -> bool:
    """Return whether the policy allows the first address of a network."""
    return policy.allows(str(network.network_address), ANY_PORT)


def check_storage() -> Finding:
    """Check that the folder of files can be read."""
    if settings.STORAGE_URL:
        return Finding("storage", True, "An object store. Connection tests of files check it.")
    root = settings.STORAGE_ROOT
    if not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
        fix = f"{root} is not a readable folder. Create it, or set STORAGE_ROOT."
        return Finding("storage", False, fix)
    return Finding("storage", True, f"Files are below {root}.")


def check_sandbox() -> Finding:
    """Check that the kernel restricts the processes that run drivers."""
    if missing := missing_restrictions():
        fix = f"A faulty driver is not restricted as to {', '.join(missing)}. See SECURITY.md."
        return Finding("sandbox", False, fix)
    return Finding("sandbox", True, "System calls, files, TCP ports and signals are restricted.")


DATABASE_CHECKS: tuple[Callable[[], Finding], ...] = (
    check_keys,
    check_workers,
    check_drivers,
    check_isolation,
)
MACHINE_CHECKS: tuple[Callable[[], Finding], ...] = (check_egress, check_storage, check_sandbox)
