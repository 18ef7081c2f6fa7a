"""Rows that outlive a process: failed sign-ins, used refresh tokens, and counts of requests."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone


class RequestCount(models.Model):
    """How many requests of one kind one caller made in one window of time."""

    kind = models.CharField(max_length=16)
    caller = models.CharField(max_length=64)
    window = models.BigIntegerField(help_text="Unix time at which it began.")
    requests = models.IntegerField(default=1)

    class Meta:
        constraints = [
            # The index of this constraint also serves the deletion of expired windows.
            models.UniqueConstraint(
                fields=["kind", "window", "caller"], name="request_count_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} by {self.caller}: {self.requests}"

    @classmethod
    def add(cls, kind: str, caller: str, window: int, requests: int = 1) -> int:
        """Add requests to a count that all processes share, and return the new count.

        Deletes the expired windows of this kind. The count stays locked until the commit.
        """
        cls.objects.filter(kind=kind, window__lt=window).delete()
        statement = f"""
            INSERT INTO {cls._meta.db_table} AS counted (kind, caller, "window", requests)
            VALUES (%s, %s, %s, %s)
            ON CONFLICT (kind, "window", caller)
            DO UPDATE SET requests = counted.requests + excluded.requests
            RETURNING requests
        """
        with connection.cursor() as cursor:
            cursor.execute(statement, [kind, caller, window, requests])
            return int(cursor.fetchone()[0])


class SignInCount(models.Model):
    """How many attempts to sign in failed in a row: of a username, an address, or a pair of both.

    An empty column stands for any. `organizations.sign_in.attempts` keeps these rows.
    """

    username = models.CharField(max_length=64, help_text="A keyed digest of it.")
    address = models.CharField(max_length=64)
    attempts = models.IntegerField(help_text="That have failed, or are under way.")
    counted_at = models.DateTimeField(db_index=True, help_text="When the last one was counted.")
    failed_at = models.DateTimeField(null=True, help_text="When the last one failed.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["username", "address"], name="sign_in_count_unique")
        ]

    def __str__(self) -> str:
        return f"{self.username[:8]} from {self.address}: {self.attempts}"


class UsedRefreshToken(models.Model):
    """A refresh token that has been exchanged; a second exchange is refused.

    Stores the token's id only, which cannot be used as a token.
    """

    jti = models.CharField("token id", max_length=64, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.jti

    @classmethod
    def use_up(cls, jti: str, expires_at: datetime) -> None:
        """Mark a refresh token as used, and delete the marks of expired tokens.

        Raises ValidationError if the token was used before, also when two calls race.
        """
        cls.objects.filter(expires_at__lt=timezone.now()).delete()
        try:
            with transaction.atomic():
                cls.objects.create(jti=jti, expires_at=expires_at)
        except IntegrityError:
            raise ValidationError("The refresh token has been used; each works once.") from None
