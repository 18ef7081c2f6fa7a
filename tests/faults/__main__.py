"""Cause one fault after the other while clients write, and print what the clients saw.

Exits with 1 if an acknowledged change was lost, a request got anything but 200 or a 503 in the
envelope, a response took more than 14 seconds, or the service had not recovered 2 seconds after
the fault.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable

from tests.faults import database, disks, locks, network, processes
from tests.faults.outcomes import HEADINGS, Outcome
from tests.faults.service import Service, service

Fault = Callable[[Service, int], Outcome]

# By name: the function that causes the fault, and the number of cycles.
FAULTS: dict[str, tuple[Fault, int]] = {
    "database stopped": (database.stop, 5),
    "database restarted": (database.restart, 10),
    "all connections ended": (database.end_backends, 30),
    "one connection killed": (database.kill_backend, 5),
    "database killed (kill -9)": (database.kill, 30),
    "no connection left": (database.take_connections, 5),
    "PgBouncer's connections taken": (database.take_pool, 3),
    "cable to the database pulled out": (network.cut, 3),
    "PgBouncer's cable pulled out": (network.cut_pooler, 3),
    "disk full": (disks.fill_data, 3),
    "disk of the database's log full": (disks.fill_log, 3),
    "row locked by another client": (locks.hold, 3),
    "deadlock": (locks.deadlock, 10),
    "serialization failure": (locks.conflict, 20),
    "web told to stop (SIGTERM)": (processes.terminate, 12),
    "web process killed (SIGKILL)": (processes.kill, 20),
    "clients that do not hang up": (processes.linger, 3),
    "log pipe closed by its reader": (processes.break_output, 3),
    "clocks 5 minutes fast and slow": (processes.shift_clocks, 3),
}


def main() -> int:
    """Run the selected faults; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("only", nargs="*", help="words in the names of the faults; default: all")
    parser.add_argument("--cycles", type=int, help="number of cycles; default: that of each fault")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes = []
    print(HEADINGS, flush=True)
    with service(max_connections="40") as running:
        for name, (fault, usual) in FAULTS.items():
            if options.only and not any(word in name for word in options.only):
                continue
            if name.startswith("disk") and os.geteuid() != 0:
                print(f"{name}: skipped, because only root can mount a small disk")
                continue
            outcome = fault(running, options.cycles or usual)
            outcomes.append(outcome)
            print(outcome.line(name), *outcome.problems, sep="\n    ", flush=True)
    print(total(outcomes))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def total(outcomes: list[Outcome]) -> str:
    """Return the last line: the totals of all faults."""
    requests = sum(outcome.answers.total() for outcome in outcomes)
    cycles = sum(outcome.cycles for outcome in outcomes)
    lost = sum(outcome.lost for outcome in outcomes)
    return f"{len(outcomes)} kinds of fault, {cycles} cycles, {requests:,} requests, losses: {lost}"


if __name__ == "__main__":
    sys.exit(main())
