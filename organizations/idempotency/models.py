"""The stored answers to requests with an `Idempotency-Key`."""

import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import Sum
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now, TruncHour
from psycopg import Binary

ANSWERS_KEPT_FOR = timedelta(days=1)
# What a record takes besides its body.
RECORD_BYTES = 500


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
    other_organizations = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="Ids of further organizations whose data the answer shows.",
    )
    status = models.SmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField(
        null=True, help_text="Null: nothing was changed, and the answer can be made again."
    )
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
        """Delete the records that are no longer valid, and the numbers of their bytes."""
        cls.objects.filter(stored_at__lte=cls.valid_since()).delete()
        KeptAnswers.objects.filter(hour__lt=TruncHour(cls.valid_since())).delete()

    def store(self) -> tuple[int, int | None]:
        """Store this record in place of an outdated one.

        Returns the bytes that are kept for the organization, and its own quota, if it has one. The
        bytes are those of the last 24 to 25 hours, without those of concurrent transactions of
        other users. The row that counts them stays locked until the commit, so store last.
        """
        parameters: dict[str, Any] = {
            "user": self.user_id,
            "organization": self.organization_id,
            "other_organizations": self.other_organizations,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "status": self.status,
            "headers": json.dumps(self.headers),
            # `Binary` shows only its start in a log of statements.
            "body": None if self.body is None else Binary(self.body),
            "bytes": RECORD_BYTES + len(self.body or b""),
            "kept_for": ANSWERS_KEPT_FOR,
        }
        with connection.cursor() as cursor:
            cursor.execute(STORE, parameters)
            used, own_quota = cursor.fetchone()
        return int(used), own_quota


class KeptAnswers(models.Model):
    """How many bytes of answers one user's requests to one organization stored in one hour."""

    organization = models.ForeignKey(
        "organizations.Organization",
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,  # the index of the constraint below serves
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    hour = models.DateTimeField(db_index=True, help_text="When it began.")
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user", "hour"], name="kept_answers_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.bytes} bytes of {self.user_id}"

    @classmethod
    def by_organization(cls, *ids: int) -> dict[int, int]:
        """Return the bytes that are kept for each organization that has any, or for those named."""
        valid = cls.objects.filter(hour__gte=TruncHour(IdempotencyRecord.valid_since()))
        if ids:
            valid = valid.filter(organization__in=ids)
        return dict(valid.values_list("organization").annotate(Sum("bytes")))


# One statement, because a PATCH has only five. Its SELECT sees the rows as they were before its
# INSERT, so it leaves out the row that the INSERT returns.
STORE = f"""
WITH stored AS (
    INSERT INTO {IdempotencyRecord._meta.db_table}
        (user_id, key, fingerprint, organization_id, other_organizations, status, headers, body,
        stored_at)
    VALUES (
        %(user)s, %(key)s, %(fingerprint)s, %(organization)s, %(other_organizations)s::bigint[],
        %(status)s, %(headers)s, %(body)s, statement_timestamp()
    )
    ON CONFLICT (user_id, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, organization_id = excluded.organization_id,
        other_organizations = excluded.other_organizations,
        status = excluded.status, headers = excluded.headers, body = excluded.body,
        stored_at = excluded.stored_at
), counted AS (
    INSERT INTO {KeptAnswers._meta.db_table} AS kept (organization_id, user_id, hour, bytes)
    VALUES (%(organization)s, %(user)s, date_trunc('hour', now(), 'UTC'), %(bytes)s)
    ON CONFLICT (organization_id, user_id, hour) DO UPDATE SET bytes = kept.bytes + excluded.bytes
    RETURNING user_id, hour, bytes
)
SELECT counted.bytes + coalesce((
    SELECT sum(other.bytes) FROM {KeptAnswers._meta.db_table} other
    WHERE other.organization_id = %(organization)s
        AND other.hour >= date_trunc('hour', now() - %(kept_for)s, 'UTC')
        AND (other.user_id, other.hour) <> (counted.user_id, counted.hour)
), 0), organization.quota_kept_answer_bytes
FROM counted JOIN organizations_organization organization ON organization.id = %(organization)s
"""
