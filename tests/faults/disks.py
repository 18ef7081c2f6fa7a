"""A full disk of the database, simulated with a small file system in memory."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.faults.clients import Ledger
from tests.faults.database import REFUSED, repeat
from tests.faults.outcomes import Outcome
from tests.faults.service import Service

MEGABYTES = 256
HISTORY = "datasources_datasourcerevision"
FILL_FILE_OF_LOG = "SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()"
ENDS_WITHIN_SECONDS = 3


def fill_data(service: Service, cycles: int) -> Outcome:
    """Fill the disk of the history table, and free the space again."""
    with small_disk(service) as disk, service.connect() as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        connection.execute(f"ALTER TABLE {HISTORY} SET TABLESPACE small")

        def fault(service: Service, ledger: Ledger) -> None:
            # Rewrites the table, so that its file has no free space inside.
            connection.execute(f"VACUUM FULL {HISTORY}")
            with full(disk):
                ledger.wait_for_answers(503, REFUSED)

        try:
            return repeat(service, cycles, fault)
        finally:
            connection.execute(f"ALTER TABLE {HISTORY} SET TABLESPACE pg_default")
            connection.execute("DROP TABLESPACE small")


def fill_log(service: Service, cycles: int) -> Outcome:
    """Fill the disk of the write-ahead log, which stops the database; free space and restart it."""

    def fault(service: Service, ledger: Ledger) -> None:
        with full(disk):
            with contextlib.suppress(psycopg.Error), service.connect() as connection:
                while True:  # uses up the files that were allocated before
                    connection.execute(FILL_FILE_OF_LOG)
            ledger.wait_for_answers(503, REFUSED)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.database.process.wait(ENDS_WITHIN_SECONDS)
            service.database.start()

    log = service.database.data / "pg_wal"
    with small_disk(service) as disk:
        service.stop_database()
        move(log, disk / log.name)
        log.symlink_to(disk / log.name)
        service.database.start()
        outcome = repeat(service, cycles, fault)
        service.stop_database()
        log.unlink()
        move(disk / log.name, log)
    service.database.start()
    return outcome


def move(source: Path, target: Path) -> None:
    """Move a folder to another file system, keeping its owner."""
    subprocess.run(["mv", source, target], check=True)


@contextmanager
def small_disk(service: Service) -> Iterator[Path]:
    """Mount a small file system owned by the database's user, and unmount it at the end."""
    with tempfile.TemporaryDirectory(prefix="rivergen-") as folder:
        options = f"size={MEGABYTES}m,mode=700,uid={service.database.data.stat().st_uid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte until the block ends."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**20))
    try:
        yield
    finally:
        filler.unlink()
