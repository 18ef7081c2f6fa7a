"""The secrets of data sources: each sealed by itself, to its source and its destination."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.credentials.cipher import (
    KEY_ID_LENGTH,
    PlainText,
    Sealed,
    UnreadableError,
    key_ring,
)
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.credentials.validators import validate_field, validate_secret
from datasources.models import DataSource
from datasources.models.revision import Changes
from organizations.models import User

Status = DataSource.CredentialsStatus
# How the history calls what becomes of a secret, beside the states of `Status`.
CONFIRMED = "confirmed"
CARRIED_OVER = "carried over"

SEALED_COLUMNS = ("key_id", "ciphertext", "destination")
# More would only chase a process that still seals by another key.
ROTATION_MAX_PASSES = 5


class CredentialQuerySet(models.QuerySet["Credential"]):
    """Secrets of any data sources: by which key they are sealed."""

    def of_other_keys(self) -> Self:
        """Restrict to those that are not sealed by the first key."""
        return self.exclude(key_id=key_ring().current_id)

    def with_context(self) -> Self:
        """Fetch what is needed to open them, too, and nothing else of their data sources."""
        return self.select_related("data_source").only(
            "data_source__organization_id", "field", *SEALED_COLUMNS
        )

    def count_by_key(self) -> dict[str, int]:
        """Count them by the id of the key that they are sealed by."""
        counts = self.order_by("key_id").values_list("key_id").annotate(models.Count("pk"))
        return dict(counts)

    def data_source_ids(self, limit: int) -> list[int]:
        """Give the ids of their data sources, the first `limit` of them."""
        ids = self.order_by("data_source_id").values_list("data_source_id", flat=True)
        return [*ids.distinct()[:limit]]

    def rotate(self, batch_size: int) -> Iterator[int]:
        """Seal all by the first key; give the number done after each batch.

        Each batch is a transaction of its own: killed at any moment, it goes on where it was when
        it is called again. Rows that somebody else is changing are passed over and tried again
        later. Those that cannot be opened stay as they are.
        """
        for _ in range(ROTATION_MAX_PASSES):
            last_pk = total = 0
            while batch := self._seal_batch(last_pk, batch_size):
                done, last_pk = batch
                total += done
                yield done
            if not total:
                return

    @transaction.atomic
    def _seal_batch(self, after_pk: int, size: int) -> tuple[int, int] | None:
        """Seal the next ones by the first key; give how many, and the last pk, or None."""
        batch = [
            *self.of_other_keys()
            .with_context()
            .filter(pk__gt=after_pk)
            .order_by("pk")
            # Waits for nobody, so that no two can wait for each other.
            .select_for_update(of=("self",), no_key=True, skip_locked=True)[:size]
        ]
        if not batch:
            return None
        done = [
            credential
            for credential in batch
            if credential.reseal(credential.destination, credential.destination)
        ]
        Credential.objects.bulk_update(done, ["key_id", "ciphertext"])
        return len(done), batch[-1].pk


class CredentialManager(models.Manager.from_queryset(CredentialQuerySet)):  # type: ignore[misc]
    """The secrets of one data source, as `data_source.credentials`.

    `DataSource` asks them to change when it does. It has locked its row, and records what the
    methods return: from which state each secret went to which, or how.
    """

    instance: DataSource  # of a related manager, and of no other

    def validate(self, credentials: Mapping[str, Any]) -> None:
        """Raise ValidationError (400), by field, for all that are invalid or do not fit the type.

        A username is not checked for anything but that, and null, which clears, for nothing.
        """
        errors: dict[str, ValidationError] = {}
        for field, text in credentials.items():
            try:
                if text is not None:
                    validate_field(field, self.instance)
                    if field in SECRET_FIELDS:
                        validate_secret(field, text)
            except ValidationError as error:
                errors[field] = error
        if errors:
            raise ValidationError(errors)

    def seal_all(self, secrets: Mapping[str, str | None], user: User | None) -> Changes:
        """Seal the given secrets, valid ones, to the destination as it is now; null clears."""
        if not secrets:
            return {}
        stored = {credential.field: credential for credential in self.filter(field__in=secrets)}
        changes: Changes = {}
        for field, text in secrets.items():
            credential = stored.get(field) or Credential(data_source=self.instance, field=field)
            before = credential.state
            if text is not None:
                credential.enter(text, user)
            elif credential.pk:
                credential.delete()
            else:
                continue
            changes[field] = {"from": before, "to": credential.state}
        return changes

    def rebind(self, old_destination: str, *, carries_over: bool) -> Changes:
        """Let the secrets that were good for the old destination follow to the one of now.

        They are sealed to it if `carries_over`; else, or if one cannot be opened, they wait to be
        confirmed.
        """
        changes: Changes = {}
        new_destination = self.instance.destination
        for credential in self.filter(is_confirmed=True).exclude(destination=new_destination):
            if carries_over and credential.reseal(old_destination, new_destination):
                credential.save(update_fields=SEALED_COLUMNS)
                outcome = CARRIED_OVER
            else:
                credential.is_confirmed = False
                # Not the others: the key may be rotated at this moment.
                credential.save(update_fields=["is_confirmed"])
                outcome = Status.UNCONFIRMED
            changes[credential.field] = {"from": Status.SET, "to": outcome}
        return changes

    def confirm(self) -> Changes:
        """Seal the secrets that wait to the destination as it is now.

        Raises CredentialsUnreadable (409) if any of them cannot be opened; then none is.
        """
        destination = self.instance.destination
        waiting = [
            credential for credential in self.all() if not credential.may_be_sent_to(destination)
        ]
        if lost := [
            credential.field
            for credential in waiting
            if not credential.reseal(credential.destination, destination)
        ]:
            raise CredentialsUnreadable(self.instance.pk, lost)
        for credential in waiting:
            credential.is_confirmed = True
            credential.save(update_fields=[*SEALED_COLUMNS, "is_confirmed"])
        change = {"from": Status.UNCONFIRMED, "to": CONFIRMED}
        return {credential.field: change for credential in waiting}

    def status(self) -> str:
        """Sum up whether any are stored, and may be used."""
        destination = self.instance.destination
        usable = [credential.may_be_sent_to(destination) for credential in self.all()]
        if not usable:
            return Status.UNSET
        return Status.SET if all(usable) else Status.UNCONFIRMED

    def open(self) -> dict[str, PlainText]:
        """Give the secrets in clear, by field, to be sent to the destination as it is now.

        Raises CredentialsUnconfirmed (409) if any of them waits to be confirmed, and
        CredentialsUnreadable (409) if any cannot be opened: the key is gone, or the row is not as
        it was written.
        """
        destination = self.instance.destination
        secrets: dict[str, PlainText] = {}
        waiting: list[str] = []
        lost: list[str] = []
        for credential in self.all():
            if not credential.may_be_sent_to(destination):
                waiting.append(credential.field)
                continue
            try:
                secrets[credential.field] = credential.open(destination)
            except UnreadableError:
                lost.append(credential.field)
        if waiting:
            raise CredentialsUnconfirmed(waiting)
        if lost:
            raise CredentialsUnreadable(self.instance.pk, lost)
        return secrets


class Credential(models.Model):
    """One secret of a data source.

    Its ciphertext opens for this source of this organization, this field and the destination it
    was sealed to, and for nothing else, whoever wrote the row.
    """

    data_source = models.ForeignKey(
        DataSource,
        on_delete=models.CASCADE,
        related_name="credentials",
        db_index=False,  # the constraint below starts with it
    )
    field = models.CharField(max_length=32, choices=[(field, field) for field in SECRET_FIELDS])
    key_id = models.CharField(max_length=KEY_ID_LENGTH)
    ciphertext = models.BinaryField()
    destination = models.CharField(max_length=64, help_text="The digest it is sealed to.")
    is_confirmed = models.BooleanField(
        default=True, help_text="False once the destination was moved by one who may not confirm."
    )
    set_at = models.DateTimeField()
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )

    objects = CredentialManager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["data_source", "field"], name="credential_unique")
        ]

    def __str__(self) -> str:
        return f"{self.field} of data source {self.data_source_id}"

    @property
    def state(self) -> str:
        """Whether it is stored, and confirmed, as far as its row knows."""
        if self.pk is None:
            return Status.UNSET
        return Status.SET if self.is_confirmed else Status.UNCONFIRMED

    def may_be_sent_to(self, destination: str) -> bool:
        """Whether it may be sent there, where its source leads as it is now.

        Not if the destination was moved behind the back of `DataSource`, which knows of no move.
        """
        return self.is_confirmed and self.destination == destination

    @property
    def is_readable(self) -> bool:
        """Whether it can be opened: its key is there, and the row is as it was written."""
        try:
            self.open(self.destination)
        except UnreadableError:
            return False
        return True

    def enter(self, text: str, user: User | None) -> None:
        """Store another value, sealed to the destination of its source as it is now.

        All columns are written: a rotation at this moment seals the old value or the new one.
        """
        self.seal(text, self.data_source.destination)
        self.is_confirmed = True
        self.set_at = timezone.now()
        self.set_by = user
        self.save()

    def seal(self, text: str, destination: str) -> None:
        """Hold the secret sealed to a destination; `save` stores it."""
        sealed = key_ring().seal(text, self.context(destination))
        self.key_id, self.ciphertext = sealed.key_id, sealed.ciphertext
        self.destination = destination

    def open(self, destination: str) -> PlainText:
        """Give the secret in clear, if it is sealed to this destination, else UnreadableError."""
        sealed = Sealed(self.key_id, bytes(self.ciphertext))
        return key_ring().open(sealed, self.context(destination))

    def reseal(self, destination: str, new_destination: str) -> bool:
        """Seal it by the first key, to a new destination; say whether it could be opened."""
        try:
            self.seal(self.open(destination), new_destination)
        except UnreadableError:
            return False
        return True

    def context(self, destination: str) -> bytes:
        """Give the associated data: all that the ciphertext must not be taken away from."""
        source = self.data_source
        return json.dumps([source.organization_id, source.pk, self.field, destination]).encode()
