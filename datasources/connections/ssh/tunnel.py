"""The way to a source through an SSH server."""

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


@contextmanager
def tunnel(configuration: Configuration, bastion: Endpoint, stages: Stages) -> Iterator[int]:
    """Forward a port of 127.0.0.1 to the source, as the SSH server at `bastion` sees it.

    Gives the port, once the SSH server was logged in to and has reached the source. If it goes
    away meanwhile, the port closes. Raises ConnectionFailure.
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


def listen(port: int | None) -> socket.socket:
    """Open a port on loopback, any free one for None. Raises ConnectionFailure."""
    try:
        return socket.create_server((LOOPBACK, port or 0))
    except OSError:
        raise ConnectionFailure(Code.SSH_LOCAL_PORT_TAKEN) from None


class Forwarding:
    """Forwards a port by an event loop in a thread of its own, until stopped."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._port: Future[int] = Future()
        self._stopped: Future[None] = Future()
        self._thread: Thread | None = None

    def start(self, opened: socket.socket) -> int:
        """Log in over a TCP connection, which is closed in the end: give the port.

        Raises ConnectionFailure.
        """
        self._thread = Thread(target=self._run, args=(opened,), name="ssh-tunnel", daemon=True)
        self._thread.start()
        try:
            # The loop keeps the time by itself, unless something blocks it, such as a private key
            # that takes minutes to open.
            return self._port.result(self._configuration.connection_timeout + CLOSING_SECONDS)
        except TimeoutError:
            raise ConnectionFailure(Code.DEADLINE) from None

    def stop(self) -> None:
        """Close all that is open."""
        self._stopped.set_result(None)
        if self._thread:
            self._thread.join(CLOSING_SECONDS)

    def _run(self, opened: socket.socket) -> None:
        try:
            asyncio.run(self._forward(opened))
        except Exception as error:
            # Whatever fails later, while it closes, is of no interest to anybody any more.
            if not self._port.done():
                self._port.set_exception(error)

    async def _forward(self, opened: socket.socket) -> None:
        configuration = self._configuration
        host, port, username = configuration.host, configuration.port, configuration.ssh_username
        with opened:
            if not (host and port and username):
                raise ConnectionFailure(Code.FIELDS_MISSING)
            deadline = asyncio.get_running_loop().time() + configuration.connection_timeout
            async with await log_in(configuration, username, opened, deadline) as connection:
                await check_far_end(connection, host, port, deadline)
                with listen(configuration.ssh_local_port) as listener:
                    async with forwarded(listener, connection, host, port) as accepting:
                        self._port.set_result(listener.getsockname()[1])
                        stopped = asyncio.wrap_future(self._stopped)
                        lost = asyncio.ensure_future(connection.wait_closed())
                        await asyncio.wait(
                            (stopped, lost, accepting), return_when=asyncio.FIRST_COMPLETED
                        )
            # A loop that is closed before it is stopped could not be told to.
            await stopped


async def check_far_end(
    connection: asyncssh.SSHClientConnection, host: str, port: int, deadline: float
) -> None:
    """See whether the SSH server reaches a port. Raises ConnectionFailure."""
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


async def readable(listener: socket.socket) -> None:
    """Return when a client waits to be accepted."""
    loop = asyncio.get_running_loop()
    waits = asyncio.Event()
    loop.add_reader(listener, waits.set)
    try:
        await waits.wait()
    finally:
        loop.remove_reader(listener)


class LocalConnection(SSHLocalPortForwarder):
    """A connection to the forwarded port; its transport is noted in `opened`."""

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
async def forwarded(
    listener: socket.socket, connection: asyncssh.SSHClientConnection, host: str, port: int
) -> AsyncIterator[asyncio.Task[None]]:
    """Forward all connections of a listener to one host and port, for as long as the block lasts.

    Gives the task that does so; it ends if it can accept no more. asyncssh's own listener asks the
    resolver for the name of loopback, and leaves connections open whose client does not read;
    asyncio's server, and its `sock_accept`, leave those open that they have accepted in the moment
    in which they are stopped.
    """
    loop = asyncio.get_running_loop()
    opened: WeakSet[Any] = WeakSet()

    def open_channel(session_factory: Any, *origin: Any) -> Awaitable[Any]:
        return connection.create_connection(session_factory, host, port, *origin)

    async def accept() -> None:
        while True:
            await readable(listener)
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                continue  # it has thought better of it
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
