"""An SSH tunnel to a source."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import Any
from weakref import WeakSet

import asyncssh
from asyncssh.forward import SSHForwarderCoro, SSHLocalPortForwarder

from datasources.connections.configuration import Configuration
from datasources.connections.endpoint import LOOPBACK, Endpoint
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.ssh.login import log_in
from datasources.connections.stages import Stages

CLOSING_SECONDS = 5

# Sockets that listen already: the sandbox may not listen once it is locked down.
_reserved: list[socket.socket] = []


@contextmanager
def tunnel(configuration: Configuration, bastion: Endpoint, stages: Stages) -> Iterator[int]:
    """Yield a port of 127.0.0.1 that is forwarded to the source by the SSH server at `bastion`.

    When the block begins, the login was successful and the SSH server has reached the source. The
    port closes if the connection to the SSH server is lost. Raises ConnectionFailure.
    """
    forwarding = Forwarding(configuration)
    try:
        with stages("ssh"):
            port = forwarding.start(dial(bastion))
        yield port
    finally:
        forwarding.stop()


def dial(bastion: Endpoint) -> socket.socket:
    """Open a TCP connection to the SSH server. Raises ConnectionFailure."""
    try:
        return bastion.dial()
    except TimeoutError:
        raise ConnectionFailure(Code.TCP_TIMEOUT) from None
    except OSError:
        raise ConnectionFailure(Code.TCP_REFUSED) from None


def reserve_port() -> int:
    """Listen on any free loopback port now, for the next tunnel. Return the port."""
    _reserved.append(socket.create_server((LOOPBACK, 0)))
    port: int = _reserved[-1].getsockname()[1]
    return port


def listen(port: int | None) -> socket.socket:
    """Listen on a loopback port; None takes a reserved or free port. Raises ConnectionFailure."""
    if port is None and _reserved:
        return _reserved.pop()
    try:
        return socket.create_server((LOOPBACK, port or 0))
    except OSError:
        raise ConnectionFailure(Code.SSH_LOCAL_PORT_TAKEN) from None


class Forwarding:
    """Forwards a port, by an event loop in a separate thread, until stopped."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._port: Future[int] = Future()
        self._stopped: Future[None] = Future()
        self._thread: Thread | None = None

    def start(self, opened: socket.socket) -> int:
        """Log in over an open TCP connection, which `stop` closes. Return the local port.

        Raises ConnectionFailure.
        """
        self._thread = Thread(target=self._run, args=(opened,), name="ssh-tunnel", daemon=True)
        self._thread.start()
        try:
            # A second limit: a private key that takes minutes to decrypt blocks the event loop,
            # which then misses its own deadline.
            return self._port.result(self._configuration.connection_timeout + CLOSING_SECONDS)
        except TimeoutError:
            raise ConnectionFailure(Code.DEADLINE) from None

    def stop(self) -> None:
        """Close the port and all connections."""
        self._stopped.set_result(None)
        if self._thread:
            self._thread.join(CLOSING_SECONDS)

    def _run(self, opened: socket.socket) -> None:
        try:
            asyncio.run(self._forward(opened))
        except Exception as error:
            # Errors after the start, while the tunnel closes, are ignored.
            if not self._port.done():
                self._port.set_exception(error)

    async def _forward(self, opened: socket.socket) -> None:
        configuration = self._configuration
        host, port, username = configuration.host, configuration.port, configuration.ssh_username
        with opened:
            if not (host and port and username):
                given = {"host": host, "port": port, "ssh_username": username}
                missing = [name for name, value in given.items() if not value]
                raise ConnectionFailure(Code.FIELDS_MISSING, fields=missing)
            deadline = asyncio.get_running_loop().time() + configuration.connection_timeout
            async with await log_in(configuration, username, opened, deadline) as connection:
                await check_target(connection, host, port, deadline)
                with listen(configuration.ssh_local_port) as listener:
                    async with forward_connections(listener, connection, host, port) as accepting:
                        self._port.set_result(listener.getsockname()[1])
                        stopped = asyncio.wrap_future(self._stopped)
                        lost = asyncio.ensure_future(connection.wait_closed())
                        await asyncio.wait(
                            (stopped, lost, accepting), return_when=asyncio.FIRST_COMPLETED
                        )
            # Keep the loop alive until `stop`, whose call wakes it up.
            await stopped


async def check_target(
    connection: asyncssh.SSHClientConnection, host: str, port: int, deadline: float
) -> None:
    """Check that the SSH server can connect to the source. Raises ConnectionFailure."""
    try:
        async with asyncio.timeout_at(deadline):
            channel, _ = await connection.create_connection(asyncssh.SSHTCPSession, host, port)
        channel.close()
    except TimeoutError:
        raise ConnectionFailure(Code.TCP_TIMEOUT) from None
    except (asyncssh.Error, OSError) as error:
        is_refused = (
            isinstance(error, asyncssh.ChannelOpenError)
            and error.code == asyncssh.OPEN_CONNECT_FAILED
            and not connection.is_closed()
        )
        code = Code.TCP_REFUSED if is_refused else Code.SSH_FAILED
        raise ConnectionFailure(code) from None


async def wait_for_client(listener: socket.socket) -> None:
    """Wait until a client can be accepted."""
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(listener, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(listener)


class LocalConnection(SSHLocalPortForwarder):
    """A connection to the forwarded port, which adds its transport to `opened`."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        open_channel: SSHForwarderCoro,
        opened: "WeakSet[asyncio.BaseTransport]",
    ) -> None:
        super().__init__(connection, open_channel)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opened.add(transport)
        super().connection_made(transport)


@asynccontextmanager
async def forward_connections(
    listener: socket.socket, connection: asyncssh.SSHClientConnection, host: str, port: int
) -> AsyncIterator[asyncio.Task[None]]:
    """Forward all connections of a listener to one host and port until the block ends.

    Yields the accepting task, which ends early if it fails. Not by the listener of asyncssh: it
    resolves "localhost", and leaves connections open whose client does not read. Nor by asyncio's
    server or `sock_accept`: they leave connections open that they accept while being stopped.
    """
    loop = asyncio.get_running_loop()
    opened: WeakSet[Any] = WeakSet()

    def open_channel(session_factory: Any, *origin: Any) -> Awaitable[Any]:
        return connection.create_connection(session_factory, host, port, *origin)

    async def accept() -> None:
        while True:
            await wait_for_client(listener)
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                continue  # the client has gone
            client.setblocking(False)
            await loop.connect_accepted_socket(
                lambda: LocalConnection(connection, open_channel, opened), client
            )

    listener.setblocking(False)
    accepting = asyncio.create_task(accept())
    try:
        yield accepting
    finally:
        accepting.cancel()
        await asyncio.wait((accepting,))
        for transport in list(opened):
            transport.abort()
