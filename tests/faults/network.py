"""A network between the web server and the database that loses all packets for a while."""

import contextlib
import ctypes
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from rivergen.testing.pgbouncer import pgbouncer
from tests.faults.clients import POLL_SECONDS, TIMEOUT_SECONDS, Ledger
from tests.faults.database import POOL_SIZE, repeat
from tests.faults.outcomes import Outcome
from tests.faults.service import DATABASE, Service

# A BPF filter of one instruction that drops every packet. The kernel runs it before it acknowledges
# the packet, so that the packet counts as lost.
DROP_ALL = struct.pack("HBBI", 6, 0, 0, 0)
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
RECEIVED_AT_ONCE = 65_536
# The number of clients.
REFUSED = 16
ABANDONED = """
    SELECT 1 FROM pg_stat_activity
    WHERE state LIKE 'idle in transaction%' AND application_name <> 'faults'
"""


class Cable:
    """A proxy between clients and a server; while pulled out, it silently drops all packets."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self._is_in = threading.Event()
        self._is_in.set()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept).start()

    def pull_out(self) -> None:
        """Drop all packets from now on."""
        self._is_in.clear()
        instructions = ctypes.create_string_buffer(DROP_ALL)
        program = struct.pack("HP", 1, ctypes.addressof(instructions))
        for end in self._ends:
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def put_in(self) -> None:
        """Stop dropping packets; the peers then also receive what is retransmitted."""
        for end in self._ends:
            with contextlib.suppress(FileNotFoundError):  # accepted while the cable was pulled
                end.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._is_in.set()

    def close(self) -> None:
        """Close all connections."""
        self._is_in.set()
        for end in self._ends:
            hang_up(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._ends.append(client)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(RECEIVED_AT_ONCE):
                self._is_in.wait()
                sink.sendall(data)
        self._is_in.wait()
        hang_up(source)
        hang_up(sink)


def hang_up(end: socket.socket) -> None:
    """Shut a connection down, which wakes up threads that read from it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def connected(server_port: int) -> Iterator[Cable]:
    """Yield a cable to a server, and close it at the end."""
    cable = Cable(server_port)
    try:
        yield cable
    finally:
        cable.close()


def cut(service: Service, cycles: int) -> Outcome:
    """Cut the network between the web server and the database."""
    with connected(service.database.port) as cable:
        url = f"postgresql://postgres@127.0.0.1:{cable.port}/{DATABASE}"
        return cut_off(service, cable, url, cycles)


def cut_pooler(service: Service, cycles: int) -> Outcome:
    """Cut the network between PgBouncer and the database."""
    with (
        connected(service.database.port) as cable,
        pgbouncer(cable.port, DATABASE, POOL_SIZE) as url,
    ):
        return cut_off(service, cable, url, cycles)


def cut_off(service: Service, cable: Cable, url: str, cycles: int) -> Outcome:
    """Pull the cable out until the database has ended the abandoned transaction."""

    def fault(service: Service, ledger: Ledger) -> None:
        cable.pull_out()
        with service.connect() as connection:
            ledger.wait_for_answers(503, 1)
            if not is_abandoned(connection):
                raise RuntimeError("The cut left no transaction open, so that nothing was tested.")
            ledger.wait_for_answers(503, REFUSED)
            wait_until_let_go(connection)
        cable.put_in()

    return repeat(service, cycles, fault, {"DATABASE_URL": url})


def is_abandoned(connection: psycopg.Connection) -> bool:
    """Return whether a transaction is open whose client is idle."""
    return connection.execute(ABANDONED).fetchone() is not None


def wait_until_let_go(connection: psycopg.Connection) -> None:
    """Return when the database has ended all abandoned transactions."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while is_abandoned(connection):
        if time.monotonic() > deadline:
            raise RuntimeError("A transaction of a client that is gone is still open.")
        time.sleep(POLL_SECONDS)
