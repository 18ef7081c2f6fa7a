"""The cable between the web and the database: pulled out, and put back in."""

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

# A packet filter (BPF) of one instruction: nothing of a packet passes. The kernel asks it before it
# acknowledges one, so that it is as good as lost.
DROP_ALL = struct.pack("HBBI", 6, 0, 0, 0)
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
RECEIVED_AT_ONCE = 65_536
# As many as there are clients.
REFUSED = 16
ABANDONED = """
    SELECT 1 FROM pg_stat_activity
    WHERE state LIKE 'idle in transaction%' AND application_name <> 'faults'
"""


class Cable:
    """Connects clients with a server; while it is out, neither is told, and neither hears."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self._is_in = threading.Event()
        self._is_in.set()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept).start()

    def pull_out(self) -> None:
        """Let nothing pass any more; what clients send is lost."""
        self._is_in.clear()
        instructions = ctypes.create_string_buffer(DROP_ALL)
        program = struct.pack("HP", 1, ctypes.addressof(instructions))
        for end in self._ends:
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def put_in(self) -> None:
        """Let pass what is sent from now on, or sent again."""
        for end in self._ends:
            with contextlib.suppress(FileNotFoundError):  # accepted while the cable was pulled
                end.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._is_in.set()

    def close(self) -> None:
        """End all connections."""
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
    """End a connection, whoever waits for something on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def connected(server_port: int) -> Iterator[Cable]:
    """Give a cable to a server, until the block ends."""
    cable = Cable(server_port)
    try:
        yield cable
    finally:
        cable.close()


def cut(service: Service, cycles: int) -> Outcome:
    """Cut the web off from the database."""
    with connected(service.database.port) as cable:
        url = f"postgresql://postgres@127.0.0.1:{cable.port}/{DATABASE}"
        return cut_off(service, cable, url, cycles)


def cut_pooler(service: Service, cycles: int) -> Outcome:
    """Cut PgBouncer off from the database."""
    with (
        connected(service.database.port) as cable,
        pgbouncer(cable.port, DATABASE, POOL_SIZE) as url,
    ):
        return cut_off(service, cable, url, cycles)


def cut_off(service: Service, cable: Cable, url: str, cycles: int) -> Outcome:
    """Pull a cable out until the database has let go of what was left locked, and put it in."""

    def fault(service: Service, ledger: Ledger) -> None:
        cable.pull_out()
        with service.connect() as connection:
            ledger.wait_for_answers(503, 1)
            if not is_abandoned(connection):
                raise RuntimeError("Nothing was left locked that could be let go of.")
            ledger.wait_for_answers(503, REFUSED)
            wait_until_let_go(connection)
        cable.put_in()

    return repeat(service, cycles, fault, {"DATABASE_URL": url})


def is_abandoned(connection: psycopg.Connection) -> bool:
    """Whether the database waits in a transaction for what comes next."""
    return connection.execute(ABANDONED).fetchone() is not None


def wait_until_let_go(connection: psycopg.Connection) -> None:
    """Return once it does not any more."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while is_abandoned(connection):
        if time.monotonic() > deadline:
            raise RuntimeError("A transaction still waits for a client that has gone.")
        time.sleep(POLL_SECONDS)
