"""The database backend: `ENGINE = "rivergen.postgresql"`."""

import select
from collections import defaultdict
from typing import Any, Self

from django.conf import settings
from django.db.backends.postgresql import base
from psycopg import ClientCursor, Connection
from psycopg.pq import TransactionStatus

from rivergen.postgresql.acting_user import acting_user
from rivergen.postgresql.circuit_breaker import CircuitBreaker

# By alias.
CIRCUIT_BREAKERS: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks the server whether it is there, or still is, only if there is reason to doubt it."""

    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        if settings.DATABASE_ROW_LEVEL_SECURITY:
            parameters["cursor_factory"] = ActingUserCursor
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection[Any]:
        with CIRCUIT_BREAKERS[self.alias].guard():
            connection: Connection[Any] = super().get_new_connection(conn_params)
            return connection

    def close(self) -> None:
        super().close()
        # At the end of a transaction that lost its connection, Django would open a new one only to
        # switch autocommit on, and wait for a server that is gone. This flag, which the next
        # connect() resets, keeps it from doing so.
        self.closed_in_transaction = self.closed_in_transaction or self.connection is None

    def is_usable(self) -> bool:
        """Whether the connection can be used for another request.

        Django sends `SELECT 1` each time, a round trip before each first query. A server that ends
        a connection says so, and then there is something to read.
        """
        if self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.pgconn.socket, select.POLLIN | select.POLLRDHUP)
        has_something = bool(poll.poll(0))
        return super().is_usable() if has_something else True


class ActingUserCursor(base.CursorMixin, ClientCursor[Any]):
    """Says who is asking, to a server with row-level security.

    It does so before the first statement of each transaction, and in the same message: no round
    trip is added, and where there is no transaction, one message is one. A statement that gets by,
    as with `executemany`, finds no rows.
    """

    def execute(self, query: Any, *args: Any, **options: Any) -> Self:
        prefix = acting_user.get()
        if not prefix or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return super().execute(query, *args, **options)
        text = query if isinstance(query, str) else query.as_string(self)
        super().execute(prefix + text, *args, **options)
        self.nextset()
        return self
