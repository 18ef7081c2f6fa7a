"""Read from a streaming replica, if `DATABASE_REPLICA_URL` names one.

The primary decides first what the caller may see. The replica serves the read only if it has
replayed enough; if it lags, fails or was promoted, the primary serves it.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import Error, connections

T = TypeVar("T")

REPLICA = "replica"
# How long a failed replica is skipped: each attempt may cost a connect timeout.
RETRY_AFTER_SECONDS = 10

_lock = threading.Lock()
_retry_at = 0.0  # 0: the replica has not failed
# The last known position by connection: after a reconnect, the server may be another one.
_replayed: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class BehindError(Exception):
    """The replica has not yet replayed what is to be read."""


def is_configured() -> bool:
    """Return whether there is a replica."""
    return REPLICA in connections.settings


def read(on_replica: Callable[[], T], on_primary: Callable[[], T]) -> T:
    """Return the result of `on_replica`, or of `on_primary` if the replica cannot serve the read.

    `on_replica` raises BehindError if the replica lags; it may query the primary as well.
    """
    if not is_configured() or not is_available():
        return on_primary()
    try:
        answer = on_replica()
        is_standby = is_still_standby()
    except BehindError:
        return on_primary()
    except Error:
        # Other causes: a migration is not replayed yet, or the query conflicted with replay.
        is_standby = False
    if not is_standby:
        trip()
        return on_primary()
    set_retry_at(0.0)
    return answer


def require_replayed(position: int) -> None:
    """Raise BehindError unless the replica has replayed the primary's log up to `position`.

    Queries the replica only if the position is beyond the last one that it reported.
    """
    replica = connections[REPLICA]
    # Check now: the next statement could reconnect, perhaps to another server.
    replica.close_if_health_check_failed()
    replica.ensure_connection()
    if position <= _replayed.get(replica.connection, 0):
        return
    with replica.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint")
        replayed = cursor.fetchone()[0] or 0
    _replayed[replica.connection] = replayed
    if replayed < position:
        raise BehindError


def is_still_standby() -> bool:
    """Return whether the server was a standby when it answered the last query.

    A promoted server diverges from the primary; it reports the change with its next answer.
    """
    connection = connections[REPLICA].connection
    return connection is not None and connection.info.parameter_status("in_hot_standby") == "on"


def is_available() -> bool:
    """Return whether this thread may try the replica.

    After a failure, one thread at a time gets True, once in RETRY_AFTER_SECONDS.
    """
    with _lock:
        if _retry_at > time.monotonic():
            return False
        has_failed = _retry_at > 0
    if has_failed:
        set_retry_at(time.monotonic() + RETRY_AFTER_SECONDS)
    return True


def trip() -> None:
    """Skip the replica for RETRY_AFTER_SECONDS, in all threads of this process."""
    connections[REPLICA].close()
    set_retry_at(time.monotonic() + RETRY_AFTER_SECONDS)


def set_retry_at(moment: float) -> None:
    """Set the time (`time.monotonic`) of the next attempt; 0 if the replica works."""
    global _retry_at
    with _lock:
        _retry_at = moment
