"""The database backend: `ENGINE = "rivergen.postgresql"`."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks the server whether a connection is alive only if there is reason to doubt it."""

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
