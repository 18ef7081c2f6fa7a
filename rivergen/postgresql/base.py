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

# The circuit breaker of each database, by its alias in DATABASES.
CIRCUIT_BREAKERS: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's backend with a circuit breaker, cheap health checks and row-level security."""

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
        # When a transaction has lost its connection, Django opens a new one at its end only to
        # switch autocommit on, and so waits for a server that is gone. This flag prevents that;
        # the next connect() resets it.
        self.closed_in_transaction = self.closed_in_transaction or self.connection is None

    def is_usable(self) -> bool:
        """Return whether the connection can be used for another request.

        Django sends `SELECT 1` each time, one more round trip per request. Here it does so only if
        there is something to read: a server that ends a connection sends a message first.
        """
        if self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.pgconn.socket, select.POLLIN | select.POLLRDHUP)
        has_something = bool(poll.poll(0))
        return super().is_usable() if has_something else True


class ActingUserCursor(base.CursorMixin, ClientCursor[Any]):
    """Set the acting user, for row-level security, before the first statement of a transaction.

    Both are sent as one message, which adds no round trip; outside of a transaction, a message is
    a separate transaction. A statement without a prefix, as with `executemany`, finds no rows.
    """

    def execute(self, query: Any, *args: Any, **options: Any) -> Self:
        prefix = acting_user.get()
        if not prefix or self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return super().execute(query, *args, **options)
        text = query if isinstance(query, str) else query.as_string(self)
        super().execute(prefix + text, *args, **options)
        self.nextset()
        return self
