"""A real PostgreSQL server that speaks German, as with another `lc_messages`."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from shutil import chown
from tempfile import TemporaryDirectory

import psycopg

from datasources.connections.testing.postgresql import HBA
from datasources.connections.testing.servers import require_program, skip_or_fail
from rivergen.testing.services import free_port

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql"))
LOCALES = Path("/usr/share/i18n/locales")
LOCALE = "de_DE.UTF-8"
SYSTEM_USER = "postgres"  # the server refuses to run as root
START_SECONDS = 60
CONNECTIONS_MAX = 8
CONFIGURATION = """
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
max_connections = {connections_max}
superuser_reserved_connections = 2
max_wal_senders = 0
"""


class GermanPostgreSQL:
    """Debian's PostgreSQL on a free port of 127.0.0.1, until the block ends.

    The embedded server has English messages only. The locale is compiled into the folder of the
    server: machines have its source only.
    """

    port: int

    def __enter__(self) -> "GermanPostgreSQL":
        localedef = require_program("localedef", "libc-bin")
        for path, package in ((PROGRAMS, "postgresql"), (LOCALES / "de_DE", "locales")):
            if not path.exists():
                skip_or_fail(f"{path} is missing: apt-get install {package}")
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="postgresql-")))
            if os.geteuid() == 0:
                chown(self._folder, SYSTEM_USER)
            self._run(localedef, "-i", "de_DE", "-f", "UTF-8", f"{self._folder / LOCALE}")
            data = self._folder / "data"
            initdb = (PROGRAMS / "initdb", "--auth=trust", "--no-sync", "--username=postgres")
            self._run(*initdb, f"--locale={LOCALE}", f"--pgdata={data}")
            self.port = free_port()
            with (data / "postgresql.conf").open("a") as configuration:
                configuration.write(
                    CONFIGURATION.format(
                        port=self.port, folder=self._folder, connections_max=CONNECTIONS_MAX
                    )
                )
            (data / "pg_hba.conf").write_text(HBA)
            stack.callback(self.stop)
            self.control("start", "--wait")
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def control(self, *arguments: str) -> None:
        """Run `pg_ctl` with arguments. Raises CalledProcessError if it fails."""
        log = f"--log={self._folder / 'log'}"
        self._run(PROGRAMS / "pg_ctl", f"--pgdata={self._folder / 'data'}", log, *arguments)

    def stop(self) -> None:
        """Stop the server at once, if it runs."""
        if (self._folder / "data/postmaster.pid").exists():
            self.control("stop", "--mode=immediate")

    def start_as_standby(self) -> None:
        """Start the server as one that is never ready for sessions, and do not wait for it."""
        (self._folder / "data/standby.signal").touch()
        self.control("start", "--no-wait", "--options=-c hot_standby=off")

    def connect(self, database: str = "postgres") -> "psycopg.Connection":
        """Return a session of the superuser in a database."""
        return psycopg.connect(
            host=str(self._folder),
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
        )

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with self.connect() as connection:
            connection.execute(statement)

    def _run(self, *arguments: object) -> None:
        subprocess.run(
            [*map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_SECONDS,
            user=SYSTEM_USER if os.geteuid() == 0 else None,
            env={"LOCPATH": str(self._folder), "PATH": os.environ["PATH"]},
        )
