"""How a data source changes: every writer of a row, and the revision that records each change."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.utils import timezone

from datasources.connection_tests.exceptions import NoHostKey
from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.connections.ssh.host_keys import fingerprint as host_key_fingerprint
from datasources.models.columns import NAME_TAKEN, DataSourceColumns
from datasources.models.connection_strings import split_secrets, url_destination, validate_fit
from datasources.models.field_names import (
    DESTINATION_FIELDS,
    SCHEMA_FIELDS,
    SSH_SERVER_FIELDS,
    UPDATABLE_FIELDS,
)
from datasources.models.revision import Changes, DataSourceRevision, is_same_json
from organizations.models import Membership, Role, User
from rivergen.postgresql.constraints import unique
from rivergen.postgresql.prepared import update_row

if TYPE_CHECKING:
    pass


class ChangingDataSource(DataSourceColumns):
    """The methods that write a row; each locks it, and records what differs as a revision."""

    objects: "ClassVar[models.Manager[Any]]"
    credentials: Any  # the related manager of `datasources.credentials.models.Credential`
    revisions: Any

    class Meta(DataSourceColumns.Meta):
        abstract = True

    @property
    def has_secrets(self) -> bool:
        """Whether secrets are stored."""
        return self.credentials_status != self.CredentialsStatus.UNSET

    @property
    def destination(self) -> str:
        """What the secrets are sealed to: a digest of all that decides where they would travel."""
        parts: list[Any] = [getattr(self, field) for field in DESTINATION_FIELDS]
        if self.connection_string is not None:
            parts.append(url_destination(self.connection_string))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def etag(self) -> str:
        """The entity tag (RFC 9110, section 8.8.3): the version, quoted."""
        return f'"{self.version}"'

    def apply_changes(
        self,
        changes: Mapping[str, Any],
        *,
        user: User | None,
        origin: str = "shell",
        request_id: str = "",
        is_locked: bool = False,
        dry_run: bool = False,
    ) -> Changes:
        """Write the given fields, and only those, to this data source; record what changed.

        `changes` maps names of `UPDATABLE_FIELDS` to values; timeouts and intervals are whole
        seconds. Also sets `updated_at` (UTC) and `updated_by`, and, if a value really differs,
        moves `version` by one and adds a revision, all in one transaction. Without any field it
        does nothing. Returns what differs.

        A password in `connection_string` is entered as a secret, and the string stored without
        it. If the destination moves, the other secrets are sealed to the new one if `user` is an
        admin or owner, and else wait to be confirmed (contract, section 4a).

        The row is locked and read anew first, so that concurrent writers of other fields lose
        nothing, unless `is_locked` says that it comes from `for_update` in this transaction. With
        `dry_run` this instance becomes what would be stored, and nothing is.

        Raises ValidationError (400) if a value is invalid, the fields contradict each other, or
        the name is taken. Source: "Update Data Source", Features; contract, section 4.
        """
        with self._changing(is_locked, dry_run):
            if unknown := [field for field in changes if field not in UPDATABLE_FIELDS]:
                raise ValidationError(dict.fromkeys(unknown, "This field cannot be changed."))
            if not changes:
                return {}
            fields = [*changes, "ssh_host_key"]
            before = {field: getattr(self, field) for field in fields}
            old_destination = self.destination if self.has_secrets else None
            for field, value in changes.items():
                setattr(self, field, value)
            self._check(changes)
            secrets = self.take_secrets() if "connection_string" in changes else {}
            if any(
                before.get(field) != value
                for field, value in changes.items()
                if field in SSH_SERVER_FIELDS
            ):
                self.ssh_host_key = None  # it was that of another server
            differences: Changes = {
                field: {"from": before[field], "to": getattr(self, field)}
                for field in fields
                if not is_same_json(before[field], getattr(self, field))
            }
            differences |= self.credentials.enter(secrets, user)
            if old_destination is not None and self.destination != old_destination:
                differences |= self.credentials.follow(
                    old_destination, self.may_be_confirmed_by(user)
                )
            self._record(differences, user=user, origin=origin, request_id=request_id)
            return differences

    def set_credentials(
        self,
        credentials: Mapping[str, str | None],
        *,
        user: User | None,
        origin: str = "shell",
        request_id: str = "",
        is_locked: bool = False,
    ) -> Changes:
        """Enter the given credentials, and only those; null clears one. Record which.

        `credentials` maps names of `CREDENTIAL_FIELDS` to text. A secret is sealed to the
        destination as it is now, and may be used there. What is returned, stored beside it and
        locked is as with `apply_changes`.

        Raises ValidationError (400) if a value is invalid or does not fit the type.
        Source: contract, section 4a.
        """
        with self._changing(is_locked):
            if not credentials:
                return {}
            self.credentials.validate(credentials)
            secrets = {**credentials}
            differences: Changes = {}
            if "username" in secrets:
                before, self.username = self.username, secrets.pop("username")
                self._check(["username"])
                if self.username != before:
                    differences["username"] = {"from": before, "to": self.username}
            differences |= self.credentials.enter(secrets, user)
            self._record(differences, user=user, origin=origin, request_id=request_id)
            return differences

    def confirm_credentials(
        self,
        *,
        user: User | None,
        origin: str = "shell",
        request_id: str = "",
        is_locked: bool = False,
    ) -> Changes:
        """Let the secrets that wait be used at the destination as it is now. Record which.

        Without any that waits it does nothing. Raises PermissionDenied (403) unless `user` is an
        admin or owner, and CredentialsUnreadable (409). Source: contract, section 4a.
        """
        with self._changing(is_locked):
            if not self.may_be_confirmed_by(user):
                raise PermissionDenied("Only an admin or owner may confirm secrets.")
            if differences := self.credentials.confirm():
                self._record(differences, user=user, origin=origin, request_id=request_id)
            return differences

    def confirm_ssh_host_key(
        self,
        fingerprint: str | None = None,
        *,
        user: User | None,
        origin: str = "shell",
        request_id: str = "",
        is_locked: bool = False,
    ) -> Changes:
        """Trust the host key that the SSH server showed in the last test; give what differs.

        `fingerprint` says which one was looked at, in case that another test has met another one
        since. Secrets that may be used now are sealed to the destination with this key. Raises
        PermissionDenied (403) unless `user` is an admin or owner, and NoHostKey (409) if no such
        key waits, and it is not the confirmed one either.
        """
        with self._changing(is_locked):
            if not self.may_be_confirmed_by(user):
                raise PermissionDenied("Only an admin or owner may confirm a host key.")
            key = self.met_host_key
            if key is None or (key != self.ssh_host_key and not self.has_waiting_host_key):
                raise NoHostKey(self.pk)
            if fingerprint not in (None, host_key_fingerprint(key)):
                raise NoHostKey(self.pk, fingerprint)
            if not self.has_waiting_host_key:
                return {}
            old_destination = self.destination
            differences: Changes = {"ssh_host_key": {"from": self.ssh_host_key, "to": key}}
            self.ssh_host_key = key
            differences |= self.credentials.follow(old_destination, carries_over=True)
            self._record(differences, user=user, origin=origin, request_id=request_id)
            return differences

    def restore(
        self, version: int, *, user: User | None, request_id: str = "", is_locked: bool = False
    ) -> Changes:
        """Bring all fields back to what they were at `version`, as a change of its own.

        Undoes the later revisions, newest first; credentials stay as they are, under the rule of
        `apply_changes`. Raises DataSourceRevision.DoesNotExist (404) if there was no such version,
        and ValidationError (409) if the old values cannot be had any more, because the name is
        taken, say.
        """
        with self._changing(is_locked):
            if not self.has_version(version):
                raise DataSourceRevision.DoesNotExist
            old_values: dict[str, Any] = {}
            for revision in self.revisions.filter(version__gt=version).order_by("-version"):
                for field, change in revision.changes.items():
                    if field in UPDATABLE_FIELDS:
                        old_values[field] = change["from"]
            return self.apply_changes(
                old_values,
                user=user,
                origin=DataSourceRevision.Origin.RESTORE,
                request_id=request_id,
                is_locked=True,
            )

    @contextmanager
    def proposed(
        self,
        changes: Mapping[str, Any],
        credentials: Mapping[str, str | None],
        *,
        user: User | None,
        is_locked: bool = False,
    ) -> Iterator[None]:
        """Be, while the block lasts, what these changes and credentials would make of it.

        Under all rules of `apply_changes` and `set_credentials`, those for secrets included;
        nothing is stored. Raises what they raise.
        """
        with self._changing(is_locked, dry_run=True):
            self.apply_changes(changes, user=user, is_locked=True)
            self.set_credentials(credentials, user=user, is_locked=True)
            yield

    def may_be_confirmed_by(self, user: User | None) -> bool:
        """Whether `user` may confirm secrets here: an admin or owner, whichever way in."""
        if user is None:
            return False
        admins = Membership.objects.for_user(user).including(Role.ADMIN)
        return admins.filter(organization_id=self.organization_id).exists()

    def contradictions(self, changes: Mapping[str, Any]) -> dict[str, str]:
        """Say, by field, what would be contradictory once `changes` were made."""

        def value(field: str) -> Any:
            return changes.get(field, getattr(self, field))

        errors: dict[str, str] = {}
        if value("use_ssh_tunnel"):
            for field in ("ssh_host", "ssh_username"):
                if value(field) is None:
                    errors[field] = "An SSH tunnel needs this field."
        if value("connection_string") is not None and self.type in CONNECTORS:
            try:
                validate_fit(value("connection_string"), self.connector)
            except ValidationError as error:
                errors["connection_string"] = str(error.message)
        return errors

    def take_secrets(self) -> dict[str, str]:
        """Leave the connection string without the secrets it brought; give those, by field."""
        if self.connection_string is None:
            return {}
        self.connection_string, secrets = split_secrets(self.connection_string, self.connector)
        return secrets

    @contextmanager
    def _changing(self, is_locked: bool, dry_run: bool = False) -> Iterator[None]:
        """Hold the row, locked and read anew, for a change; a dry run is undone in the end."""
        # Whoever holds the lock has a transaction, and no use for a savepoint in it.
        with transaction.atomic(savepoint=dry_run or not is_locked):
            if not is_locked:
                self.refresh_from_db(from_queryset=self._meta.default_manager.for_update())
            yield
            if dry_run:
                transaction.set_rollback(True)

    def _record(
        self, differences: Changes, *, user: User | None, origin: str, request_id: str
    ) -> None:
        """Store what differs, who and when, and, if anything does, the version and a revision."""
        self._update_credentials_status(differences)
        self.updated_at = timezone.now()
        self.updated_by = user
        self.version += bool(differences)
        # Secrets have rows of their own, and all else that differs is a column of this one.
        columns = [field for field in differences if field not in SECRET_FIELDS]
        columns += ["version", "updated_at", "updated_by"]
        if self._schedule_refresh(differences.keys()):
            columns.append("schema_next_refresh_at")
        revision = DataSourceRevision(
            data_source=self,
            version=self.version,
            changed_at=self.updated_at,
            changed_by=user,
            origin=origin,
            request_id=request_id,
            changes=differences,
        )
        with self._unique_name():
            update_row(self, columns, revision if differences else None)

    def _schedule_refresh(self, changed: AbstractSet[str]) -> bool:
        """Say when the schema is to be read next, after a change; give whether that moves.

        Due at once is one that was never read, or may be another one now; the others keep their
        distance from the last time. One that is being read is scheduled anew when that has ended.
        """
        before, now = self.schema_next_refresh_at, timezone.now()
        if not self.schema_auto_refresh:
            self.schema_next_refresh_at = None
        elif not changed.isdisjoint(SCHEMA_FIELDS):
            self.schema_next_refresh_at = now
        elif not changed.isdisjoint(("schema_auto_refresh", "schema_refresh_interval")):
            interval = timedelta(seconds=self.schema_refresh_interval)
            last = self.schema_refreshed_at
            self.schema_next_refresh_at = now if last is None else max(now, last + interval)
        return self.schema_next_refresh_at != before

    def _update_credentials_status(self, differences: Changes) -> None:
        """Sum up what became of the secrets, if anything did."""
        if differences.keys().isdisjoint(SECRET_FIELDS):
            return
        before, self.credentials_status = self.credentials_status, self.credentials.status()
        if self.credentials_status != before:
            differences["credentials_status"] = {"from": before, "to": self.credentials_status}

    def _check(self, fields: Iterable[str]) -> None:
        """Validate these fields, and the rules across all; every fault is in one error."""
        errors: dict[str, Any] = {}
        try:
            others = {field.name for field in self._meta.fields} - {*fields}
            self.clean_fields(exclude=others)
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        for field, message in self.contradictions({}).items():
            errors.setdefault(field, [message])
        if errors:
            raise ValidationError(errors)

    def _unique_name(self) -> AbstractContextManager[None]:
        """Tell of a name that is taken, also when two writers race for it (400)."""
        return unique("data_source_name_unique", "name", NAME_TAKEN)
