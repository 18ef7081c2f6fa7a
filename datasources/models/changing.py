"""Changes of a stored data source: the methods that write its row and record a revision."""

import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import SECRET_FIELDS, Connector
from datasources.connections.ssh.host_keys import fingerprint as host_key_fingerprint
from datasources.models.columns import NAME_TAKEN, NAME_UNIQUE, DataSourceColumns, destination_parts
from datasources.models.connection_strings import (
    missing_beside,
    split_secrets,
    validate_fit,
)
from datasources.models.exceptions import NoHostKey
from datasources.models.field_names import SCHEMA_FIELDS, SSH_SERVER_FIELDS, UPDATABLE_FIELDS
from datasources.models.revision import Author, Changes, DataSourceRevision
from organizations.models import Membership, Role, User
from rivergen.postgresql.constraints import raise_if_unique_violation
from rivergen.postgresql.prepared import update_row

# The quota of history is checked whenever the history of a data source has grown by this part.
CHECKS_PER_QUOTA = 65_536
# What a revision takes beside its changes: the other columns, and its entry in the index.
REVISION_BYTES = 200


class ChangingDataSource(DataSourceColumns):
    """The methods that change a row. Each locks it, and records what differs as a revision.

    `user` is the author of the change: a User, None for an operator at a shell, or an `Author`,
    which also has the origin and the request id. `is_locked`: this transaction has already locked
    the row.
    """

    credentials: Any
    """The related manager of `datasources.credentials.models.Credential`."""

    class Meta(DataSourceColumns.Meta):
        abstract = True

    def apply_changes(
        self,
        changes: Mapping[str, Any],
        *,
        user: User | Author | None,
        is_locked: bool = False,
        is_validated: bool = False,
        dry_run: bool = False,
    ) -> Changes:
        """Write the given fields, and only those; return what differs.

        `changes` maps names of `UPDATABLE_FIELDS` to values; timeouts and intervals are whole
        seconds. Sets `updated_at` (UTC) and `updated_by`. If a value differs, also increments
        `version` and adds a revision, in the same transaction. Without any field it does nothing.

        A password in `connection_string` is sealed as a secret and not stored in the string. If
        the destination changes, the other secrets are sealed to the new one if `user` is an admin
        or owner; otherwise they become unconfirmed (contract, section 4a). `is_validated`: a
        serializer has checked the values against this row. With `dry_run` only this instance is
        changed; nothing is stored.

        Raises ValidationError (400) if a value is invalid, the fields contradict each other, or
        the name is taken. Source: "Update Data Source", Features; contract, section 4.
        """
        # A locked row has a transaction already: a savepoint would cost two more statements.
        with transaction.atomic(savepoint=dry_run or not is_locked):
            if not is_locked:
                self._lock()
            if unknown := [field for field in changes if field not in UPDATABLE_FIELDS]:
                raise ValidationError(dict.fromkeys(unknown, "This field cannot be changed."))
            if not changes:
                return {}
            author = as_author(user)
            differences = self._assign(changes, author, is_validated)
            self._record(differences, author)
            if dry_run:
                transaction.set_rollback(True)
            return differences

    def _assign(self, changes: Mapping[str, Any], author: Author, is_validated: bool) -> Changes:
        """Set the fields and what follows from them in this instance; return what differs."""
        fields = [*changes, "ssh_host_key"]
        before = {field: getattr(self, field) for field in fields}
        server = [field for field in SSH_SERVER_FIELDS if field in changes]
        old_destination = self.destination if self.has_secrets else None
        for field, value in changes.items():
            setattr(self, field, value)
        if not is_validated:
            # What is stored may be older than the rules for it.
            self._check([name for name in changes if not is_same_json(before[name], changes[name])])
        secrets = self.pop_secrets() if "connection_string" in changes else {}
        if server and destination_parts(before, server) != destination_parts(changes, server):
            self.ssh_host_key = None  # the key belongs to the old server
        differences: Changes = {
            field: difference(before[field], getattr(self, field))
            for field in fields
            if not is_same_json(before[field], getattr(self, field))
        }
        if secrets:
            differences |= self.credentials.seal_all(secrets, author.user)
        if old_destination is not None and self.destination != old_destination:
            may_confirm = self.may_be_confirmed_by(author.user)
            differences |= self.credentials.rebind(old_destination, carries_over=may_confirm)
        return differences

    def set_credentials(
        self,
        credentials: Mapping[str, str | None],
        *,
        user: User | Author | None,
        is_locked: bool = False,
    ) -> Changes:
        """Store the given credentials, and only those; return what differs. None clears one.

        `credentials` maps names of `CREDENTIAL_FIELDS` to text. Each secret is sealed to the
        current destination and is confirmed. The revision names the secrets, never their values.

        Raises ValidationError (400) if a value is invalid or does not fit the type.
        Source: contract, section 4a.
        """
        with self._changing(is_locked):
            if not credentials:
                return {}
            author, secrets = as_author(user), self.credentials.read(credentials)
            differences: Changes = {}
            if "username" in secrets:
                before, self.username = self.username, secrets.pop("username")
                self._check(["username"])
                if self.username != before:
                    differences["username"] = {"from": before, "to": self.username}
            differences |= self.credentials.seal_all(secrets, author.user)
            self._record(differences, author)
            return differences

    def confirm_credentials(
        self, *, user: User | Author | None, is_locked: bool = False
    ) -> Changes:
        """Confirm the unconfirmed secrets for the current destination; return what differs.

        Without unconfirmed secrets it does nothing. Raises PermissionDenied (403) unless `user` is
        an admin or owner, and CredentialsUnreadable (409) if a secret cannot be decrypted.
        Source: contract, section 4a.
        """
        with self._changing(is_locked):
            author = as_author(user)
            if not self.may_be_confirmed_by(author.user):
                raise PermissionDenied("Only an admin or owner may confirm secrets.")
            if differences := self.credentials.confirm():
                self._record(differences, author)
            return differences

    def confirm_ssh_host_key(
        self,
        fingerprint: str | None = None,
        *,
        user: User | Author | None,
        is_locked: bool = False,
    ) -> Changes:
        """Trust the host key that the SSH server presented in the last test; return what differs.

        `fingerprint` is that of the key the user has seen: a later test may have presented another
        one. None, in the shell only, trusts whichever key the last test met. Confirmed secrets are
        sealed to the destination with this key. Raises PermissionDenied (403) unless `user` is an
        admin or owner, and NoHostKey (409) if there is no such key.
        """
        with self._changing(is_locked):
            author = as_author(user)
            if not self.may_be_confirmed_by(author.user):
                raise PermissionDenied("Only an admin or owner may confirm a host key.")
            key, is_new = self.presented_host_key, self.has_unconfirmed_host_key
            if key is None or (key != self.ssh_host_key and not is_new):
                raise NoHostKey
            if fingerprint not in (None, host_key_fingerprint(key)):
                raise NoHostKey(fingerprint)
            if not is_new:
                return {}
            old_destination = self.destination
            differences: Changes = {"ssh_host_key": {"from": self.ssh_host_key, "to": key}}
            self.ssh_host_key = key
            differences |= self.credentials.rebind(old_destination, carries_over=True)
            self._record(differences, author)
            return differences

    @contextmanager
    def proposed(
        self,
        changes: Mapping[str, Any],
        credentials: Mapping[str, str | None],
        *,
        user: User | Author | None,
        is_locked: bool = False,
    ) -> Iterator[None]:
        """Apply changes and credentials to this instance within the block, then roll back.

        The rules of `apply_changes` and `set_credentials` apply, including those for secrets, and
        their errors are raised. Nothing is stored.
        """
        with transaction.atomic(), self._changing(is_locked):
            self.apply_changes(changes, user=user, is_locked=True)
            self.set_credentials(credentials, user=user, is_locked=True)
            yield
            transaction.set_rollback(True)

    @property
    def missing_fields(self) -> list[str]:
        """The fields that a connection of this type still needs, secrets apart."""
        connector = CONNECTORS.get(self.type, Connector)
        missing = [field for field in connector.required_fields if getattr(self, field) is None]
        if not connector.required_options and (not missing or self.connection_string is None):
            return missing
        return missing_beside(self.connection_string, connector, missing)

    @property
    def has_secrets(self) -> bool:
        """Return whether secrets are stored."""
        return self.credentials_status != self.CredentialsStatus.UNSET

    def may_be_confirmed_by(self, user: User | None) -> bool:
        """Return whether `user` is an admin or owner here, and so may confirm secrets."""
        if user is None:
            return False
        admins = Membership.objects.for_user(user).including(Role.ADMIN)
        return admins.filter(organization_id=self.organization_id).exists()

    def pop_secrets(self) -> dict[str, str]:
        """Remove the secrets from the connection string, and return them by field."""
        if self.connection_string is None:
            return {}
        self.connection_string, secrets = split_secrets(self.connection_string, self.connector)
        return secrets

    def contradictions(self, changes: Mapping[str, Any]) -> dict[str, str]:
        """Return a sentence for each field that would contradict another one after `changes`."""

        def value(field: str) -> Any:
            return changes.get(field, getattr(self, field))

        errors: dict[str, str] = {}
        if value("use_ssh_tunnel"):
            for field in ("ssh_host", "ssh_username"):
                if value(field) is None:
                    errors[field] = "An SSH tunnel needs this field."
        url = value("connection_string")
        if isinstance(url, str) and self.type in CONNECTORS:  # `clean_fields` refuses other types
            try:
                validate_fit(url, self.connector, value("use_ssh_tunnel"))
            except ValidationError as error:
                errors["connection_string"] = str(error.message)
        return errors

    def _check(self, fields: Iterable[str]) -> None:
        """Raise ValidationError (400) if one of these fields is invalid, or fields contradict."""
        errors: dict[str, Any] = {}
        try:
            others = {field.name for field in self._meta.fields} - {*fields}
            self.clean_fields(exclude=others)
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        # An invalid field contradicts no other one.
        for field, message in self.contradictions(dict.fromkeys(errors)).items():
            errors.setdefault(field, [message])
        if errors:
            raise ValidationError(errors)

    @contextmanager
    def _changing(self, is_locked: bool) -> Iterator[None]:
        """Open a transaction for a change, with the row locked and read again."""
        with transaction.atomic(savepoint=not is_locked):
            if not is_locked:
                self._lock()
            yield

    def _lock(self) -> None:
        """Lock the row until the transaction ends, and read it again."""
        data_sources: Any = type(self)._default_manager
        self.refresh_from_db(from_queryset=data_sources.for_update())

    def _record(self, differences: Changes, author: Author) -> None:
        """Write the changed columns, author and time; if anything differs, a new version too."""
        self._update_credentials_status(differences)
        self.updated_at = timezone.now()
        self.updated_by = author.user
        self.version += bool(differences)
        self.has_changed_within_version = not differences
        # Secrets have their own table; everything else that differs is a column of this row.
        columns = [field for field in differences if field not in SECRET_FIELDS]
        columns += ["version", "has_changed_within_version", "history_bytes"]
        columns += ["updated_at", "updated_by"]
        if self._schedule_refresh(differences.keys()):
            columns.append("schema_next_refresh_at")
        revision = self.revision(differences, author, self.updated_at)
        before = self.history_bytes
        self.history_bytes += size_of(differences)
        try:
            update_row(self, columns, revision if differences else None)
        except IntegrityError as error:
            raise_if_unique_violation(error, NAME_UNIQUE, "name", NAME_TAKEN)
            raise
        # Not with each change: the history of all data sources of the organization is added up.
        step = max(1, settings.QUOTA_HISTORY_BYTES // CHECKS_PER_QUOTA)
        if self.history_bytes // step != before // step:
            data_sources: Any = type(self)._default_manager
            data_sources.check_quotas(self.organization, "history_bytes")

    def revision(self, changes: Changes, author: Author, at: datetime) -> DataSourceRevision:
        """Return the revision that records how this version came to be; it is not saved yet."""
        return DataSourceRevision(
            data_source_id=self.pk,
            version=self.version,
            changed_at=at,
            changed_by=author.user,
            origin=author.origin,
            request_id=author.request_id,
            changes=changes,
        )

    def _schedule_refresh(self, changed: AbstractSet[str]) -> bool:
        """Set the time of the next schema refresh after a change; return whether it differs.

        After a change of what is read, the refresh is due at once. A new interval counts from the
        last refresh; if there was none, the refresh is due at once. A running refresh sets the
        next time when it ends.
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
        """Update `credentials_status` if a secret differs, and add that to `differences`."""
        if differences.keys().isdisjoint(SECRET_FIELDS):
            return
        before, self.credentials_status = self.credentials_status, self.credentials.status()
        if self.credentials_status != before:
            differences["credentials_status"] = {"from": before, "to": self.credentials_status}


def size_of(differences: Changes) -> int:
    """Return the bytes that a revision takes; without differences there is none."""
    text = json.dumps(differences, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="replace")) + REVISION_BYTES if differences else 0


def as_author(user: User | Author | None) -> Author:
    """Return an Author; a User is wrapped in an Author whose origin is the shell."""
    return user if isinstance(user, Author) else Author(user)


def is_same_json(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON. Unlike `==`, distinguishes true, 1 and 1.0."""
    if isinstance(one, dict | list):
        try:
            return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        except (TypeError, ValueError, RecursionError):  # reached from Python only
            return False
    return type(one) is type(other) and one == other


def difference(before: Any, after: Any) -> dict[str, Any]:
    """Return what differs between two values that are not the same, `{"from": …, "to": …}`.

    Of two objects only the members that differ, at any depth: one that was added is in "to" only,
    one that was removed in "from" only. Other values are whole. `restoring.undo` is the inverse.
    """
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {"from": before, "to": after}
    old = {name: value for name, value in before.items() if name not in after}
    new = {name: value for name, value in after.items() if name not in before}
    for name in before:
        if name in after and not is_same_json(before[name], after[name]):
            change = difference(before[name], after[name])
            old[name], new[name] = change["from"], change["to"]
    return {"from": old, "to": new}
