"""Reading from a streaming replica, where `DATABASE_REPLICA_URL` names one.

It is asked for what the primary has let the caller see, and only if it is new enough. If it is not,
or does not answer, or is no replica any more, the primary is read instead.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import Error, connections

T = TypeVar("T")

REPLICA = "replica"
# One that is gone without a word costs a connect time-out each time it is tried.
LEFT_ALONE_SECONDS = 10

_lock = threading.Lock()
_ask_again_at = 0.0
# By connection, which ends with its server: another one at the same address starts anew.
_replayed: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


class BehindError(Exception):
    """The replica has not replayed yet what is to be read."""


def is_configured() -> bool:
    """Whether there is a replica."""
    return REPLICA in connections.settings


def read(on_replica: Callable[[], T], on_primary: Callable[[], T]) -> T:
    """Give what `on_replica` reads, or else what `on_primary` does.

    `on_replica` raises BehindError if the replica is too old; it may read from the primary, too.
    """
    if not is_configured() or not may_ask():
        return on_primary()
    try:
        answer = on_replica()
        is_standby = is_still_standby()
    except BehindError:
        return on_primary()
    except Error:
        # Also a migration that it has not replayed, or a query that was in the way of replaying.
        is_standby = False
    if not is_standby:
        leave_alone()
        return on_primary()
    set_ask_again_at(0.0)
    return answer


def require_replayed(position: int) -> None:
    """Raise BehindError unless the replica has replayed the primary's log up to `position`.

    It is asked only if that is further than it has told before.
    """
    replica = connections[REPLICA]
    # Else the next statement might, and find another server.
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
    """Whether the server was a standby when it answered the last query.

    One that is promoted goes its own way; the server says so by itself, with its next answer.
    """
    connection = connections[REPLICA].connection
    return connection is not None and connection.info.parameter_status("in_hot_standby") == "on"


def may_ask() -> bool:
    """Whether the replica may be tried; one that has failed by one thread, now and then."""
    with _lock:
        if _ask_again_at > time.monotonic():
            return False
        has_failed = _ask_again_at > 0
    if has_failed:
        set_ask_again_at(time.monotonic() + LEFT_ALONE_SECONDS)
    return True


def leave_alone() -> None:
    """Do not try the replica for some time, in all threads of this process."""
    connections[REPLICA].close()
    set_ask_again_at(time.monotonic() + LEFT_ALONE_SECONDS)


def set_ask_again_at(moment: float) -> None:
    """Set when the replica may be tried; 0: it did not fail."""
    global _ask_again_at
    with _lock:
        _ask_again_at = moment
