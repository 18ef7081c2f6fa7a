"""The secrets of data sources: each sealed separately, to its data source and destination."""

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
from datasources.credentials.private_keys import OpenedKey, open_entered_key
from datasources.credentials.validators import read_secret, validate_field
from datasources.models import DataSource
from datasources.models.revision import Changes
from organizations.models import User

Status = DataSource.CredentialsStatus
# Outcomes that the history shows for a secret, in addition to the states of `Status`.
CONFIRMED = "confirmed"
CARRIED_OVER = "carried over"

SEALED_COLUMNS = ("key_id", "ciphertext", "destination")
# Passes over the table are limited: a process with the old key may keep sealing with it.
ROTATION_MAX_PASSES = 5


class CredentialQuerySet(models.QuerySet["Credential"]):
    """Secrets of any data sources, for counting and rotating keys."""

    def of_other_keys(self) -> Self:
        """Restrict to secrets that are not sealed by the first key."""
        return self.exclude(key_id=key_ring().current_id)

    def with_context(self) -> Self:
        """Fetch only the columns that opening a secret needs, those of the data source included."""
        return self.select_related("data_source").only(
            "data_source__organization_id", "field", *SEALED_COLUMNS
        )

    def count_by_key(self) -> dict[str, int]:
        """Return the number of secrets by the id of the key that seals them."""
        counts = self.order_by("key_id").values_list("key_id").annotate(models.Count("pk"))
        return dict(counts)

    def data_source_ids(self, limit: int) -> list[int]:
        """Return the first `limit` ids of the data sources of these secrets."""
        ids = self.order_by("data_source_id").values_list("data_source_id", flat=True)
        return [*ids.distinct()[:limit]]

    def rotate(self, batch_size: int) -> Iterator[int]:
        """Seal all secrets by the first key; yield the number done in each batch.

        Each batch is a separate transaction, so a rotation that was killed can be continued by
        calling this again. Rows that are locked are skipped and tried again in the next pass.
        Secrets that cannot be opened stay as they are.
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
        """Seal the next secrets by the first key; return their number and the last pk, or None."""
        batch = [
            *self.of_other_keys()
            .with_context()
            .filter(pk__gt=after_pk)
            .order_by("pk")
            # Never waits for a lock, so it cannot be part of a deadlock.
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

    The methods of `DataSource` call these with its row locked, and record the changes that they
    return: the old and new state of each secret.
    """

    instance: DataSource  # only a related manager has it

    def read(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """Return credentials in the form that is stored.

        Raises ValidationError (400), by field, for those that are invalid or do not fit. A username
        must only fit the type. None, which clears a credential, is always valid.
        """
        mended = {**credentials}
        errors: dict[str, ValidationError] = {}
        for field, text in credentials.items():
            try:
                if text is not None:
                    validate_field(field, self.instance)
                    if field in SECRET_FIELDS and not isinstance(text, OpenedKey):
                        mended[field] = read_secret(field, text)
            except ValidationError as error:
                errors[field] = error
        if errors:
            raise ValidationError(errors)
        return mended | open_entered_key(self.instance, mended)

    def seal_all(self, secrets: Mapping[str, str | None], user: User | None) -> Changes:
        """Seal valid secrets to the current destination; None clears one. Return what differs."""
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
        """Bind the confirmed secrets to the current destination, after it changed.

        With `carries_over` they are sealed to it. Otherwise, or if a secret cannot be opened, they
        become unconfirmed. Returns what differs.
        """
        changes: Changes = {}
        new_destination = self.instance.destination
        for credential in self.filter(is_confirmed=True).exclude(destination=new_destination):
            if carries_over and credential.reseal(old_destination, new_destination):
                credential.save(update_fields=SEALED_COLUMNS)
                outcome = CARRIED_OVER
            else:
                credential.is_confirmed = False
                # Save only this column: a key rotation may be writing the others.
                credential.save(update_fields=["is_confirmed"])
                outcome = Status.UNCONFIRMED
            changes[credential.field] = {"from": Status.SET, "to": outcome}
        return changes

    def confirm(self) -> Changes:
        """Seal the unconfirmed secrets to the current destination; return what differs.

        Raises CredentialsUnreadable (409) if one cannot be opened; then none is confirmed.
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
        """Return the status of all secrets together: unset, set, or unconfirmed if one is."""
        destination = self.instance.destination
        usable = [credential.may_be_sent_to(destination) for credential in self.all()]
        if not usable:
            return Status.UNSET
        return Status.SET if all(usable) else Status.UNCONFIRMED

    def open(self) -> dict[str, PlainText]:
        """Return the decrypted secrets by field, to be sent to the current destination.

        Raises CredentialsUnconfirmed (409) if one is unconfirmed, and CredentialsUnreadable (409)
        if one cannot be opened: its key is missing, or its row was changed by other means.
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

    Its ciphertext is bound to the organization, the data source, the field and the destination: it
    cannot be opened for any other, even if a row is copied or edited in the database.
    """

    data_source = models.ForeignKey(
        DataSource,
        on_delete=models.CASCADE,
        related_name="credentials",
        db_index=False,  # the index of the constraint below serves
    )
    field = models.CharField(max_length=32, choices=[(field, field) for field in SECRET_FIELDS])
    key_id = models.CharField(max_length=KEY_ID_LENGTH)
    ciphertext = models.BinaryField()
    destination = models.CharField(
        max_length=64, help_text="The digest of the destination that the secret is sealed to."
    )
    is_confirmed = models.BooleanField(
        default=True,
        help_text="False after a user who may not confirm secrets changed the destination.",
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
        """The state of this secret according to its row alone."""
        if self.pk is None:
            return Status.UNSET
        return Status.SET if self.is_confirmed else Status.UNCONFIRMED

    def may_be_sent_to(self, destination: str) -> bool:
        """Return whether the secret may be sent to `destination`, its data source's current one.

        False also if the destination was changed by other means than `DataSource`, which would
        have marked the secret as unconfirmed.
        """
        return self.is_confirmed and self.destination == destination

    @property
    def is_readable(self) -> bool:
        """Return whether the secret can be opened: its key is there and its row is unchanged."""
        try:
            self.open(self.destination)
        except UnreadableError:
            return False
        return True

    def enter(self, text: str, user: User | None) -> None:
        """Store a new value, sealed to the current destination of the data source.

        Writes all columns, so that a concurrent rotation cannot mix the old value with the new one.
        """
        self.seal(text, self.data_source.destination)
        self.is_confirmed = True
        self.set_at = timezone.now()
        self.set_by = user
        self.save()

    def seal(self, text: str, destination: str) -> None:
        """Set the columns to the secret, sealed to a destination, without saving."""
        sealed = key_ring().seal(text, self.context(destination))
        self.key_id, self.ciphertext = sealed.key_id, sealed.ciphertext
        self.destination = destination

    def open(self, destination: str) -> PlainText:
        """Return the decrypted secret. Raises UnreadableError, also for another destination."""
        sealed = Sealed(self.key_id, bytes(self.ciphertext))
        return key_ring().open(sealed, self.context(destination))

    def reseal(self, destination: str, new_destination: str) -> bool:
        """Seal the secret by the first key to a new destination; False if it is unreadable."""
        try:
            self.seal(self.open(destination), new_destination)
        except UnreadableError:
            return False
        return True

    def context(self, destination: str) -> bytes:
        """Return the associated data of the encryption: everything the ciphertext is bound to."""
        source = self.data_source
        return json.dumps([source.organization_id, source.pk, self.field, destination]).encode()
