"""Signing in with a password, and how many wrong ones somebody may try.

Failures are counted three times: of a username from an address, of the username from anywhere, and
of the address for any username. After some in a row each further attempt waits for longer, also one
with the right password, which would tell itself apart else. The first of the three ends guessing
early, and keeps nobody out but where the guesses come from; the others end it when they come from
many addresses, or are about many users.

An attempt is counted before the password is checked, so that many at once are no more than one
after another. A username is kept as a keyed digest: people enter their passwords there, too.
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
from organizations.sign_in.models import SignInCount
from organizations.sign_in.throttling import UsernameThrottle, count

# Failures in a row that nobody waits after: of a username from one address, more than a server has
# threads, and of either alone, as many as NIST SP 800-63B allows (section 5.2.2).
FREE_OF_BOTH = 20
FREE_OF_ONE = 100
# Doubled by each further failure.
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 15 * 60
FORGOTTEN_AFTER = timedelta(hours=1)
UNDER_WAY_WAIT_SECONDS = 1
ANY = ""

TOO_MANY_FAILURES = "Too many attempts to sign in have failed."
UNDER_WAY = "Other attempts to sign in are still under way."

COUNT = f"""
INSERT INTO {SignInCount._meta.db_table} AS counted (username, address, attempts, counted_at)
VALUES (%(username)s, %(address)s, 1, statement_timestamp())
ON CONFLICT (username, address) DO UPDATE
SET attempts = counted.attempts + 1, counted_at = statement_timestamp()
WHERE counted.attempts < %(free)s OR counted.counted_at <= statement_timestamp() - make_interval(
    secs => least({FIRST_WAIT_SECONDS} * 2 ^ least(counted.attempts - %(free)s, 10),
                  {LONGEST_WAIT_SECONDS})
)
RETURNING counted_at
"""


def sign_in(username: str, password: str, address: str) -> User | None:
    """Give the user of this name and password; None if one of them is wrong.

    Raises Throttled (429) if that is not to be found out now. Whether there is such a user makes no
    difference, also to how long it takes.
    """
    attempt = Attempt(digest(username), address)
    attempt.begin()
    user = authenticate(username=username, password=password)
    if not isinstance(user, User):
        attempt.fail()
        return None
    attempt.succeed()
    return user


class Attempt:
    """One attempt, of a username, by its digest, from an address; the clock is the database's."""

    def __init__(self, username: str, address: str) -> None:
        self._of_address = (ANY, address)
        self._of_username = (username, ANY)
        self._of_both = (username, address)

    def begin(self) -> None:
        """Count it, in all three ways or in none. Raises Throttled (429).

        Each locks the rows in the same order: nobody waits in a circle.
        """
        SignInCount.objects.filter(counted_at__lt=Now() - FORGOTTEN_AFTER).delete()
        with transaction.atomic():
            self._counted_at = count_attempt(*self._of_address, FREE_OF_ONE)
            count_attempt(*self._of_username, FREE_OF_ONE)
            count_attempt(*self._of_both, FREE_OF_BOTH)
            count(UsernameThrottle(), self._of_username[0])

    def fail(self) -> None:
        """Remember that it was wrong; whoever comes next waits from now on."""
        for counted in (self._of_address, self._of_username, self._of_both):
            rows_of(*counted).update(counted_at=Now(), failed_at=Now())

    def succeed(self) -> None:
        """Forget the failures of the username. Those of the address stay.

        Else whoever has an account could guess the passwords of others between two successes.
        """
        rows_of(*self._of_both).delete()
        rows_of(*self._of_username).delete()
        is_last = When(counted_at=self._counted_at, then=Coalesce("failed_at", "counted_at"))
        rows_of(*self._of_address).update(
            attempts=Greatest(F("attempts") - 1, Value(0)),
            counted_at=Case(is_last, default="counted_at"),
        )


def count_attempt(username: str, address: str, free: int) -> datetime:
    """Count an attempt, and give when; `free` is how many in a row nobody waits after.

    Raises Throttled (429), and counts nothing, if there is still to be waited.
    """
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"username": username, "address": address, "free": free})
        for (counted_at,) in cursor.fetchall():
            return cast(datetime, counted_at)
    found = rows_of(username, address).annotate(waited=Now() - F("counted_at")).first()
    if found is None or found.failed_at != found.counted_at:
        raise Throttled(UNDER_WAY_WAIT_SECONDS, UNDER_WAY)
    seconds = min(FIRST_WAIT_SECONDS * 2 ** (found.attempts - free), LONGEST_WAIT_SECONDS)
    left = seconds - found.waited.total_seconds()
    raise Throttled(max(left, UNDER_WAY_WAIT_SECONDS), TOO_MANY_FAILURES)


def rows_of(username: str, address: str) -> QuerySet[SignInCount]:
    """Give the one count of a username, from an address, or of both, if there is one."""
    return SignInCount.objects.filter(username=username, address=address)


def unlock(username: str | None, address: str | None) -> bool:
    """Forget the failures of a username, or of an address; say whether there were any."""
    if address is None:
        counts = SignInCount.objects.filter(username=digest(username or ANY))
    else:
        counts = SignInCount.objects.filter(address=address)
    return bool(counts.delete()[0])


def digest(username: str) -> str:
    """Give what a username is counted by, exactly as it was entered."""
    return salted_hmac(__name__, username, algorithm="sha256").hexdigest()
