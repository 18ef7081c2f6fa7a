"""The stored answers to requests with an `Idempotency-Key`."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

ANSWERS_KEPT_FOR = timedelta(days=1)


class IdempotencyRecord(models.Model):
    """The answer to a request with an `Idempotency-Key`, for retries of the request.

    Only a keyed digest of the request is stored: its body may hold secrets.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,  # the index of the constraint below serves
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="+"
    )
    status = models.SmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    stored_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="idempotency_record_unique")
        ]

    def __str__(self) -> str:
        return f"{self.status} to {self.user_id} for {self.key}"

    @classmethod
    def valid_since(cls) -> CombinedExpression:
        """Return the earliest `stored_at` of valid records, by the database's clock."""
        return Now() - ANSWERS_KEPT_FOR

    @classmethod
    def delete_outdated(cls) -> None:
        """Delete the records that are no longer valid."""
        cls.objects.filter(stored_at__lte=cls.valid_since()).delete()
