"""Signing in with a password, and the lockout after too many wrong passwords.

Failures in a row are counted per username and address, per username, per address, and per network
of addresses (IPv6). Above a limit, each further attempt must wait twice as long as the one before.
The wait also applies to the right password: otherwise a guesser could recognize it. The first
counter stops guessing early, and locks the user out only at the guesser's address. The others stop
guessing from many addresses, and guessing the passwords of many users.

An attempt is counted before the password is checked, so concurrent attempts get no extra guesses.
Usernames are stored as keyed digests, because people mistakenly enter passwords there.
"""

from datetime import datetime, timedelta
from typing import cast

from django.contrib.auth import authenticate
from django.db import connection, transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import Throttled

from organizations.models import User
from organizations.sign_in.hashing import hashing
from organizations.sign_in.models import SignInCount
from organizations.sign_in.throttling import CLIENTS_PER_SITE, UsernameThrottle, count_request
from rivergen.http.addresses import network_of, site_network

# Failures in a row before a lockout. For a pair of username and address: more than a server has
# threads. For a username or an address alone: the limit of NIST SP 800-63B, section 5.2.2.
FREE_FAILURES_PER_PAIR = 20
FREE_FAILURES_ALONE = 100
FREE_FAILURES_PER_SITE = CLIENTS_PER_SITE * FREE_FAILURES_ALONE
# A lockout starts with this wait, and doubles after each further failure.
FIRST_WAIT_SECONDS = 30
MAX_WAIT_SECONDS = 15 * 60
FORGOTTEN_AFTER = timedelta(hours=1)
IN_FLIGHT_WAIT_SECONDS = 1
ANY = ""

TOO_MANY_FAILURES = "Too many failed attempts to sign in."
IN_FLIGHT = "Other attempts to sign in are still in progress."

COUNT = f"""
INSERT INTO {SignInCount._meta.db_table} AS counted (username, address, attempts, counted_at)
VALUES (%(username)s, %(address)s, 1, statement_timestamp())
ON CONFLICT (username, address) DO UPDATE
SET attempts = counted.attempts + 1, counted_at = statement_timestamp()
WHERE counted.attempts < %(free)s OR counted.counted_at <= statement_timestamp() - make_interval(
    secs => least({FIRST_WAIT_SECONDS} * 2 ^ least(counted.attempts - %(free)s, 10),
                  {MAX_WAIT_SECONDS})
)
RETURNING counted_at
"""


def sign_in(username: str, password: str, address: str) -> User | None:
    """Return the user with this username and password, or None if one of them is wrong.

    `address` is the network of the client (rivergen.http.addresses). Raises Throttled (429) during
    a lockout, and while this process hashes as many passwords as it may, without checking the
    password. Unknown usernames get the same answers, after the same time, as wrong passwords.
    """
    attempt = Attempt(digest(username), address)
    with hashing():
        attempt.begin()
        user = authenticate(username=username, password=password)
    if not isinstance(user, User):
        attempt.fail()
        return None
    attempt.succeed()
    return user


class Attempt:
    """An attempt of a username (its digest) from an address, timed by the database's clock."""

    def __init__(self, username: str, address: str) -> None:
        self._username = username
        site = site_network(address)
        # The counters of the user, and of the networks that the attempt comes from.
        self._own = {
            (username, ANY): FREE_FAILURES_ALONE,
            (username, address): FREE_FAILURES_PER_PAIR,
        }
        self._networks = {(ANY, site): FREE_FAILURES_PER_SITE} if site is not None else {}
        self._networks[ANY, address] = FREE_FAILURES_ALONE

    def begin(self) -> None:
        """Add this attempt to sign in to every counter, or to none. Raises Throttled (429).

        All attempts lock the counters in the same order, which rules out a deadlock.
        """
        SignInCount.objects.filter(counted_at__lt=Now() - FORGOTTEN_AFTER).delete()
        with transaction.atomic():
            self._counted_at = {
                key: count_attempt(*key, free) for key, free in self._networks.items()
            }
            for key, free in self._own.items():
                count_attempt(*key, free)
            count_request(UsernameThrottle(), self._username)

    def fail(self) -> None:
        """Mark the attempt as failed; the wait of the next attempt starts now."""
        for key in (*self._networks, *self._own):
            rows_of(*key).update(counted_at=Now(), failed_at=Now())

    def succeed(self) -> None:
        """Reset the counters of the username; of the networks, take back only this attempt.

        Otherwise the owner of an account could guess other passwords between two successes.
        """
        for key in self._own:
            rows_of(*key).delete()
        for key, counted_at in self._counted_at.items():
            is_latest = When(counted_at=counted_at, then=Coalesce("failed_at", "counted_at"))
            rows_of(*key).update(
                attempts=Greatest(F("attempts") - 1, Value(0)),
                counted_at=Case(is_latest, default="counted_at"),
            )


def count_attempt(username: str, address: str, free: int) -> datetime:
    """Add an attempt to one counter, and return the time; `free` failures need no wait.

    Raises Throttled (429), and counts nothing, before the wait is over.
    """
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"username": username, "address": address, "free": free})
        for (counted_at,) in cursor.fetchall():
            return cast(datetime, counted_at)
    counter = rows_of(username, address).annotate(waited=Now() - F("counted_at")).first()
    if counter is None or counter.failed_at != counter.counted_at:
        raise Throttled(IN_FLIGHT_WAIT_SECONDS, IN_FLIGHT)
    seconds = min(FIRST_WAIT_SECONDS * 2 ** (counter.attempts - free), MAX_WAIT_SECONDS)
    remaining = seconds - counter.waited.total_seconds()
    raise Throttled(max(remaining, IN_FLIGHT_WAIT_SECONDS), TOO_MANY_FAILURES)


def rows_of(username: str, address: str) -> QuerySet[SignInCount]:
    """Return the queryset of one counter: at most one row."""
    return SignInCount.objects.filter(username=username, address=address)


def unlock(username: str | None, address: str | None) -> bool:
    """Delete the counters of a username, or of an address and its networks.

    Returns whether there were any.
    """
    if address is None:
        counts = SignInCount.objects.filter(username=digest(username or ANY))
    else:
        client = network_of(address)
        counts = SignInCount.objects.filter(address__in=[client, site_network(client)])
    return bool(counts.delete()[0])


def digest(username: str) -> str:
    """Return the keyed digest of a username, exactly as entered, by which it is counted."""
    return salted_hmac("rivergen.sign_in", username, algorithm="sha256").hexdigest()
