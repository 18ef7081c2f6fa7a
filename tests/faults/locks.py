"""Locks and conflicts with another client of the database."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg

from tests.faults.clients import Ledger
from tests.faults.outcomes import Outcome
from tests.faults.service import DATABASE, Service, web

LOCK_SOURCE = "SELECT 1 FROM datasources_datasource WHERE id = %s FOR UPDATE"
IS_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND application_name <> 'faults'
"""


def hold(service: Service, cycles: int) -> Outcome:
    """Keep a row locked for longer than the lock timeout."""
    ledger, recovered = Ledger(), []
    with web(service), service.connect() as holder:
        client = service.client(ledger, service.pks[0], "description")
        other = service.client(ledger, service.pks[1], "description")
        for _ in range(cycles):
            with holder.transaction():
                holder.execute(LOCK_SOURCE, [service.pks[0]])
                client.work()
                other.work()
            released_at = time.monotonic()
            client.work()
            recovered.append(ledger.wait_for_good(released_at))
    outcome = Outcome.of(
        ledger, cycles=cycles, recovered=recovered, lost=service.count_lost(ledger)
    )
    if ledger.answers != {200: 2 * cycles, 503: cycles}:
        outcome.problems.append("not exactly the requests that met the lock were refused")
    return outcome


def deadlock(service: Service, cycles: int) -> Outcome:
    """Create deadlocks in which PostgreSQL ends the transaction of a web request."""
    ledger = Ledger()
    with web(service), service.connect() as other, ThreadPoolExecutor(1) as pool:
        # PostgreSQL ends the transaction that detects the deadlock first: make it the request's.
        other.execute("SET deadlock_timeout = '1h'")
        before = count_deadlocks(service)
        client = service.client(ledger, service.pks[0], "description")
        for _ in range(cycles):
            with other.transaction():
                # The request locks this row on commit: the foreign key of the history is deferred.
                other.execute("SELECT 1 FROM organizations_user FOR UPDATE")
                request = pool.submit(client.work)
                wait_for_lock(service, request)
                other.execute(LOCK_SOURCE, [service.pks[0]])
            request.result()
    outcome = Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))
    met = count_deadlocks(service) - before
    if met != cycles or ledger.answers != {200: cycles}:
        outcome.problems.append(f"{met} deadlocks, expected {cycles}, or responses other than 200")
    return outcome


def conflict(service: Service, cycles: int) -> Outcome:
    """Cause serialization failures: change a row that a request waits for (repeatable read)."""
    ledger = Ledger()
    set_isolation(service, "repeatable read")
    with web(service), service.connect() as other, ThreadPoolExecutor(1) as pool:
        client = service.client(ledger, service.pks[0], "description")
        for _ in range(cycles):
            with other.transaction():
                other.execute(
                    "UPDATE datasources_datasource SET status = status WHERE id = %s",
                    [service.pks[0]],
                )
                request = pool.submit(client.work)
                wait_for_lock(service, request)
            request.result()
    set_isolation(service, "read committed")
    outcome = Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))
    if ledger.answers != {200: cycles}:
        outcome.problems.append("responses other than 200")
    return outcome


def wait_for_lock(service: Service, request: "Future[None]") -> None:
    """Return when a request waits for a lock, or has ended."""
    with service.connect() as observer:
        while not request.done():
            row = observer.execute(IS_WAITING).fetchone()
            if row is not None and row[0]:
                break


def count_deadlocks(service: Service) -> int:
    """Return the number of deadlocks that the database has detected so far."""
    with service.connect() as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = %s", [DATABASE]
        ).fetchone()
    assert row is not None
    return int(row[0])


def set_isolation(service: Service, level: str) -> None:
    """Set the default isolation level for all connections opened later."""
    with service.connect() as connection:
        statement = psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_isolation TO {}")
        name, value = psycopg.sql.Identifier(DATABASE), psycopg.sql.Literal(level)
        connection.execute(statement.format(name, value))
