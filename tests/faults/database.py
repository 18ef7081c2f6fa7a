"""Faults of the database server, each repeated under load."""

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

# Ends all connections but those of this program.
END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> 'faults'
"""
ENDS_WITHIN_SECONDS = 5
POOL_SIZE = 4
# Changes to acknowledge before each fault, which the fault must not lose.
ACKNOWLEDGED = 100
# Enough 503 responses to see that clients are refused during the outage.
REFUSED = 50


def repeat(
    service: Service,
    cycles: int,
    fault: Callable[[Service, Ledger], None],
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Cause a fault `cycles` times under load; return the outcome.

    `fault` returns when the fault is over. The web processes get the environment variables, and
    must survive all cycles.
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
        outcome.problems.append("a web process ended")
    return outcome


def stop(service: Service, cycles: int) -> Outcome:
    """Stop the database, and start it after some refused requests."""

    def fault(service: Service, ledger: Ledger) -> None:
        service.stop_database()
        ledger.wait_for_answers(503, REFUSED)
        service.database.start()

    return repeat(service, cycles, fault)


def restart(service: Service, cycles: int) -> Outcome:
    """Stop the database, and start it immediately."""

    def fault(service: Service, ledger: Ledger) -> None:
        service.stop_database()
        service.database.start()

    return repeat(service, cycles, fault)


def end_backends(service: Service, cycles: int) -> Outcome:
    """End all connections with pg_terminate_backend."""

    def fault(service: Service, ledger: Ledger) -> None:
        with service.connect() as connection:
            connection.execute(END_OTHERS)

    return repeat(service, cycles, fault)


def kill_backend(service: Service, cycles: int) -> Outcome:
    """Kill the process of one connection, upon which the database ends all others."""

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
    """Open all connections that the database allows, and close them again."""

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
    """Occupy all connections of PgBouncer's pool, and release them."""
    with pgbouncer(service.database.port, DATABASE, POOL_SIZE) as url:

        def fault(service: Service, ledger: Ledger) -> None:
            with ExitStack() as taken:
                for _ in range(POOL_SIZE):
                    # An open transaction occupies a connection of the pool.
                    taken.enter_context(psycopg.connect(url)).execute("SELECT 1")
                ledger.wait_for_answers(503, POOL_SIZE)

        return repeat(service, cycles, fault, {"DATABASE_URL": url})
