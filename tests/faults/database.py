"""What may happen to the database: each fault, repeated under load."""

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import psutil
import psycopg

from rivergen.testing.pgbouncer import pgbouncer
from tests.faults.clients import Ledger
from tests.faults.outcomes import Outcome
from tests.faults.service import DATABASE, Service, web

# All but who asks.
END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> 'faults'
"""
ENDS_WITHIN_SECONDS = 5
POOL_SIZE = 4
# To be lost with the database.
ACKNOWLEDGED = 100
# Enough to see that clients are refused while the database is away.
REFUSED = 50


def repeat(
    service: Service,
    cycles: int,
    fault: Callable[[Service, Ledger], None],
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Let something happen to the database so often; `fault` returns once it is over.

    The same web processes, with these environment variables, must live through all of it.
    """
    ledger, recovered = Ledger(), []
    with web(service, environment) as server:
        workers = psutil.Process(server.pid).children()
        with service.under_load(ledger):
            for _ in range(cycles):
                ledger.wait_for_answers(200, ACKNOWLEDGED)
                fault(service, ledger)
                recovered.append(ledger.wait_for_good(time.monotonic()))
        has_ended = {*workers} - {*psutil.Process(server.pid).children()}
    lost = service.count_lost(ledger)
    outcome = Outcome.of(ledger, cycles=cycles, recovered=recovered, lost=lost)
    if has_ended:
        outcome.problems.append("a web process has ended")
    return outcome


def stop(service: Service, cycles: int) -> Outcome:
    """Stop the database for some time, and start it again."""

    def fault(service: Service, ledger: Ledger) -> None:
        service.stop_database()
        ledger.wait_for_answers(503, REFUSED)
        service.database.start()

    return repeat(service, cycles, fault)


def restart(service: Service, cycles: int) -> Outcome:
    """Stop the database, and start it at once."""

    def fault(service: Service, ledger: Ledger) -> None:
        service.stop_database()
        service.database.start()

    return repeat(service, cycles, fault)


def end_backends(service: Service, cycles: int) -> Outcome:
    """End all connections, as an operator does."""

    def fault(service: Service, ledger: Ledger) -> None:
        with service.connect() as connection:
            connection.execute(END_OTHERS)

    return repeat(service, cycles, fault)


def kill_backend(service: Service, cycles: int) -> Outcome:
    """Kill the process of one connection, after which the database ends all others."""

    def fault(service: Service, ledger: Ledger) -> None:
        with service.connect() as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND application_name <> 'faults' LIMIT 1"
            ).fetchone()
            assert row is not None
            killed = psutil.Process(row[0])
            killed.kill()
            psutil.wait_procs([killed])
        while not service.database.answers():
            pass

    return repeat(service, cycles, fault)


def kill(service: Service, cycles: int) -> Outcome:
    """Kill the database with all its processes, and start it again."""

    def fault(service: Service, ledger: Ledger) -> None:
        service.kill_database()
        service.database.start()

    return repeat(service, cycles, fault)


def take_connections(service: Service, cycles: int) -> Outcome:
    """Take all connections that the database has to give, and give them back."""

    def fault(service: Service, ledger: Ledger) -> None:
        with ExitStack() as taken:
            first = taken.enter_context(service.connect())
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    first.execute(END_OTHERS)
                    taken.enter_context(service.connect())
            ledger.wait_for_answers(503, REFUSED)

    return repeat(service, cycles, fault)


def take_pool(service: Service, cycles: int) -> Outcome:
    """Keep all connections of PgBouncer busy, and let go of them."""
    with pgbouncer(service.database.port, DATABASE, POOL_SIZE) as url:

        def fault(service: Service, ledger: Ledger) -> None:
            with ExitStack() as taken:
                for _ in range(POOL_SIZE):
                    # In a transaction, which keeps a connection of the pool.
                    taken.enter_context(psycopg.connect(url)).execute("SELECT 1")
                ledger.wait_for_answers(503, POOL_SIZE)

        return repeat(service, cycles, fault, {"DATABASE_URL": url})
