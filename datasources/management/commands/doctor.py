"""`manage.py doctor`: check everything that the service needs, and say what is open."""

from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from datasources.management.checks import Finding, State
from datasources.management.checks.database import (
    check_database,
    check_isolation,
    check_migrations,
)
from datasources.management.checks.egress import check_egress
from datasources.management.checks.keys import check_keys, check_secret_files
from datasources.management.checks.protection import check_protection
from datasources.management.checks.web import check_proxy, check_web
from datasources.management.checks.workers import check_drivers, check_storage, check_workers

DATABASE_CHECKS: tuple[Callable[[], Finding], ...] = (
    check_keys,
    check_workers,
    check_drivers,
    check_isolation,
    check_protection,
)
MACHINE_CHECKS: tuple[Callable[[], Finding], ...] = (
    check_secret_files,
    check_egress,
    check_storage,
    check_proxy,
    check_web,
)


class Command(BaseCommand):
    """Run all checks, and print one line for each."""

    help = (
        "Check database, migrations, keys, workers, drivers, isolation, egress and storage, and "
        "say how to fix what is wrong. Warn of what is open: data sources without TLS, private "
        "networks, an unnamed proxy, debug pages. Changes nothing. Run it in the environment of "
        "the worker, and in that of the web. Exits with 1 if a check fails, not for a warning."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        styles = {
            State.OK: self.style.SUCCESS,
            State.WARNING: self.style.WARNING,
            State.FAILED: self.style.ERROR,
        }
        findings = []
        for finding in run_checks():
            sign = styles[finding.state](f"{finding.state:<4}")
            self.stdout.write(f"{sign}  {finding.name:<10}  {finding.text}")
            findings.append(finding)
        failed = sum(finding.state == State.FAILED for finding in findings)
        if failed:
            raise CommandError(f"Checks failed: {failed} of {len(findings)}.")


def run_checks() -> Iterator[Finding]:
    """Yield the findings; skip the checks that need the database if it is unusable."""
    database = check_database()
    yield database
    if database.state == State.OK:
        migrations = check_migrations()
        yield migrations
        if migrations.state == State.OK:
            for check in DATABASE_CHECKS:
                yield check()
    for check in MACHINE_CHECKS:
        yield check()
