"""A real MariaDB server that accepts logins with and without TLS."""

import os
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import mysql
from datasources.connections.endpoint import Endpoint
from datasources.connections.stages import Stages
from datasources.connections.testing.certificates import Certificates, make_certificates
from datasources.connections.testing.servers import require_program
from rivergen.testing.services import free_port

HOST = "db.example.test"
"""The name in the certificate of the server; it does not resolve."""
A_LABELS = "xn--fa-hia.example.test"
"""Another name in the certificate: that of faß.example.test."""
ADDRESS = "127.0.0.1"
DATABASE = "shop"
USERNAME = "reader"
# A password that UTF-8 and Latin-1 encode differently, with characters that SQL escapes.
PASSWORD = "p/ä €'\"\\"
START_SECONDS = 60

SMALL = ("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--skip-name-resolve")


class MariaDBServer:
    """A MariaDB server on a free port, until the block ends.

    The user `reader` has all rights in the database `shop` only; `root` has no password. `options`
    are further ones of the server.
    """

    port: int
    certificates: Certificates

    def __init__(self, *options: str) -> None:
        self._options = options
        self._install = require_program("mariadb-install-db", "mariadb-server")
        self._program = require_program("mariadbd", "mariadb-server")
        self._cleanup = ExitStack()
        self._log: list[str] = []
        self._is_ready_or_over = threading.Event()

    def __enter__(self) -> "MariaDBServer":
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="mariadb-")))
            self.certificates = make_certificates(folder, HOST, A_LABELS)
            self._make_data(folder)
            self.port = free_port()
            self._start(folder, stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def _make_data(self, folder: Path) -> None:
        """Create the data folder, and the script that the server runs when it starts."""
        subprocess.run(
            [
                self._install,
                *common_options(folder),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        password = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
        (folder / "init.sql").write_text(
            "SET NAMES utf8mb4;\n"
            f"CREATE DATABASE {DATABASE};\n"
            f"CREATE USER {USERNAME} IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USERNAME};\n",
            encoding="utf-8",
        )

    def _start(self, folder: Path, stack: ExitStack) -> None:
        """Start the server, and wait until it logs that it is ready."""
        process = subprocess.Popen(
            [
                self._program,
                *common_options(folder),
                f"--socket={folder / 'mariadb.sock'}",
                f"--bind-address={ADDRESS}",
                f"--port={self.port}",
                f"--init-file={folder / 'init.sql'}",
                f"--ssl-ca={self.certificates.authority}",
                f"--ssl-cert={self.certificates.certificate}",
                f"--ssl-key={self.certificates.key}",
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        log = process.stderr
        assert log is not None
        reader = threading.Thread(target=self._read_log, args=(log,), daemon=True)
        reader.start()
        # Callbacks run in reverse order. The server is killed: its data is no longer needed.
        for step in (log.close, reader.join, process.wait, process.kill):
            stack.callback(step)
        self._is_ready_or_over.wait(START_SECONDS)
        if not self._is_ready():
            raise RuntimeError("MariaDB does not start:\n" + "".join(self._log))

    def _read_log(self, log: IO[str]) -> None:
        """Read the log of the server to the end, so that a full pipe never blocks the server."""
        for line in log:
            self._log.append(line)
            if self._is_ready():
                self._is_ready_or_over.set()
        self._is_ready_or_over.set()

    def _is_ready(self) -> bool:
        """Return whether the last line is the one that the server ends its start with.

        The line before, "ready for connections", is in the language of the server.
        """
        return any(line.startswith("Version: '") for line in self._log[-1:])


def common_options(folder: Path) -> list[str]:
    """Return the options that the installation and the server share."""
    # A separate folder for temporary files: a server deletes the files in it when it starts.
    folders = [f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
    options = ["--no-defaults", *folders, *SMALL]
    # The server refuses to run as root without the option.
    return [*options, "--user=root"] if os.geteuid() == 0 else options


def make_connector(
    server: Any,
    connector: type[mysql.MySQL] = mysql.MariaDB,
    *,
    host: str = HOST,
    password: str | None = PASSWORD,
    **settings: Any,
) -> mysql.MySQL:
    """Return a connector for a server whose host name does not resolve: only the address works."""
    settings = {
        "type": connector.name,
        "host": host,
        "port": server.port,
        "username": USERNAME,
        "database_name": DATABASE,
        "connection_timeout": 10,
        "secrets": {"password": password} if password else {},
    } | settings
    endpoint = Endpoint(host, ADDRESS, server.port, settings["connection_timeout"])
    return connector(Configuration(**settings), endpoint, Stages())
