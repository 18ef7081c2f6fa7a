"""Data sources: every rule about one row; `querysets` has those about many."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Lower, Upper
from django.http import Http404
from django.utils import timezone

from datasources.connection_strings import (
    split_secrets,
    url_destination,
    validate_connection_string,
    validate_fit,
)
from datasources.connections.connectors import CONNECTORS, DataSourceType, type_choices
from datasources.connections.connectors.base import SECRET_FIELDS, ConnectorClass
from datasources.connections.exceptions import NoHostKey
from datasources.connections.host_keys import MAX_LENGTH as HOST_KEY_MAX_LENGTH
from datasources.connections.host_keys import fingerprint as host_key_fingerprint
from datasources.fields import TrimmedCharField, number_field, text_field
from datasources.history import Changes, is_same_json
from datasources.history import DataSourceRevision as DataSourceRevision
from datasources.querysets import (
    SEARCHED_FIELDS,
    DataSourceQuerySet,
    UnrecordedChangeError,
    secrets_apart,
)
from datasources.validators import (
    HOST_MAX_LENGTH,
    TAG_MAX_LENGTH,
    validate_file_path,
    validate_host,
    validate_metadata,
    validate_name,
    validate_tags,
    validate_text,
)
from organizations.models import Membership, Organization, Role, User, Workspace
from rivergen.compiled import update_row
from rivergen.constraints import unique

WORKSPACE_GONE = "The workspace has been removed."
NAME_TAKEN = "The workspace has a data source of this name."
# What an update may change, in the order of the API document.
UPDATABLE_FIELDS = (
    "name",
    "description",
    "host",
    "port",
    "database_name",
    "schema_name",
    "connection_string",
    "file_path",
    "use_ssh_tunnel",
    "ssh_host",
    "ssh_port",
    "ssh_username",
    "ssh_local_port",
    "connection_pool_size",
    "connection_timeout",
    "query_timeout",
    "max_retries",
    "schema_auto_refresh",
    "schema_refresh_interval",
    "metadata",
    "tags",
)
# What decides where secrets would travel, beside the connection string (contract, section 4a).
DESTINATION_FIELDS = (
    "type",
    "host",
    "port",
    "use_ssh_tunnel",
    "ssh_host",
    "ssh_port",
    "ssh_username",
    "ssh_local_port",
    "ssh_host_key",
)
# Which SSH server it is: another one has another host key.
SSH_SERVER_FIELDS = ("ssh_host", "ssh_port")
# A change of these may let another schema be read, or let it be read at all.
SCHEMA_FIELDS = frozenset(DESTINATION_FIELDS) | {
    *("connection_string", "database_name", "schema_name", "file_path", "username"),
    *SECRET_FIELDS,
}


def list_indexes(field: str, suffix: str) -> list[models.Index]:
    """Give the indexes that a list is read from in one `?ordering=`, page by page.

    One is for a single organization. In the other, the caller's organizations are looked for among
    all, which is less work than to sort what they have if that is much.
    """
    return [
        models.Index(fields=["organization", field, "id"], name=f"data_source_by_{suffix}"),
        models.Index(fields=[field, "id", "organization"], name=f"data_source_all_by_{suffix}"),
    ]


class DataSource(models.Model):
    """A configured connection to a database, warehouse or file of an organization."""

    Type = DataSourceType

    class Status(models.TextChoices):
        """What the last use of the source showed."""

        ACTIVE = "active"
        INACTIVE = "inactive"
        ERROR = "error"

    class CredentialsStatus(models.TextChoices):
        """Whether secrets are stored, and may be used (contract, section 4a)."""

        UNSET = "unset"
        SET = "set"
        UNCONFIRMED = "unconfirmed"

    class SchemaStatus(models.TextChoices):
        """Whether the schema was read, and is being read."""

        UNREAD = "unread"
        REFRESHING = "refreshing"
        READY = "ready"
        FAILED = "failed"

    role: str  # set by `for_user`
    requires_if_match: bool  # set by `with_policy`
    name_key: str  # set by `named`

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="data_sources",
        db_index=False,  # the list indexes below start with it
        editable=False,
    )
    workspace = models.ForeignKey(
        Workspace, on_delete=models.RESTRICT, related_name="data_sources", db_index=False
    )
    name = TrimmedCharField(max_length=255, validators=[validate_name])
    type = models.CharField(max_length=32, choices=type_choices)
    description = models.CharField(
        max_length=10_000, blank=True, default="", validators=[validate_text]
    )

    host = text_field(HOST_MAX_LENGTH, validate_host, help_text="Host name or IP address.")
    port = number_field(1, 65_535, null=True, help_text="At creation the default is the type's.")
    database_name = text_field(255)
    schema_name = text_field(255)
    connection_string = text_field(
        4_096,
        validate_connection_string,
        help_text="A URL whose scheme fits the type. A password in it goes to the credentials.",
    )
    file_path = text_field(1_000, validate_file_path, help_text="Relative object path in storage.")

    use_ssh_tunnel = models.BooleanField(
        default=False, help_text="True needs `ssh_host` and `ssh_username`."
    )
    ssh_host = text_field(HOST_MAX_LENGTH, validate_host, help_text="Host name or IP address.")
    ssh_port = number_field(1, 65_535, 22, null=True)
    ssh_username = text_field(255)
    ssh_local_port = number_field(1, 65_535, null=True, help_text="Null: any free port.")

    # Of the SSH server, in OpenSSH's form; nothing is sent to one that shows another.
    ssh_host_key = text_field(HOST_KEY_MAX_LENGTH, editable=False)

    connection_pool_size = number_field(1, 100, 5)
    connection_timeout = number_field(1, 300, 30, help_text="Seconds.")
    query_timeout = number_field(1, 86_400, 300, help_text="Seconds.")
    max_retries = number_field(0, 10, 3)

    schema_auto_refresh = models.BooleanField(default=False)
    schema_refresh_interval = number_field(60, 2_592_000, 3_600, help_text="Seconds.")

    schema_status = models.CharField(
        max_length=16, choices=SchemaStatus.choices, default=SchemaStatus.UNREAD, editable=False
    )
    schema_refreshed_at = models.DateTimeField(null=True, default=None, editable=False)
    schema_next_refresh_at = models.DateTimeField(null=True, default=None, editable=False)

    # Set with the secrets, shown with them, and, unlike them, in clear.
    username = text_field(255, editable=False)
    metadata = models.JSONField(default=dict, blank=True, validators=[validate_metadata])
    tags = ArrayField(
        models.CharField(max_length=TAG_MAX_LENGTH),
        default=list,
        blank=True,
        validators=[validate_tags],
    )

    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.ACTIVE, editable=False
    )
    last_test = models.JSONField(null=True, default=None, editable=False)
    credentials_status = models.CharField(
        max_length=16,
        choices=CredentialsStatus.choices,
        default=CredentialsStatus.UNSET,
        editable=False,
    )
    version = models.BigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        editable=False,
    )
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        editable=False,
    )

    objects = DataSourceQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                "workspace",
                Lower("name"),
                name="data_source_name_unique",
                violation_error_message=NAME_TAKEN,
            )
        ]
        indexes = [
            *list_indexes("name", "name"),
            *list_indexes("created_at", "created"),
            *list_indexes("updated_at", "updated"),
            # Those that few have of many: `?workspace_id=`, `?type=` and so on.
            models.Index(fields=["workspace", "name", "id"], name="data_source_of_workspace"),
            models.Index(fields=["organization", "type", "name", "id"], name="data_source_type"),
            models.Index(
                fields=["organization", "status", "name", "id"], name="data_source_status"
            ),
            models.Index(
                fields=["organization", "credentials_status", "name", "id"],
                name="data_source_credentials",
            ),
            models.Index(
                "schema_next_refresh_at",
                condition=models.Q(schema_next_refresh_at__isnull=False),
                name="data_source_due_for_refresh",
            ),
            GinIndex("tags", name="data_source_tags"),  # `?tag=`
            # `?search=`: icontains compares upper case.
            GinIndex(
                *(OpClass(Upper(field), "gin_trgm_ops") for field in SEARCHED_FIELDS),
                name="data_source_search",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def connector(self) -> ConnectorClass:
        """What all sources of this type have in common."""
        return CONNECTORS[self.type]

    @property
    def etag(self) -> str:
        """The entity tag (RFC 9110, section 8.8.3): the version, quoted."""
        return f'"{self.version}"'

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

    def save(self, *args: Any, origin: str = "shell", request_id: str = "", **kwargs: Any) -> None:
        """Insert a new data source and the first revision of its history.

        Raises ValidationError (400) if it is invalid or its name taken, and UnrecordedChangeError
        for a stored one: those change by `apply_changes`.
        """
        if not self._state.adding:
            raise UnrecordedChangeError
        self.complete()
        try:
            with secrets_apart([self]) as [secrets], self._unique_name(), transaction.atomic():
                Organization.objects.lock(self.organization_id)
                super().save(*args, **kwargs)
                entered = self.credentials.enter(secrets, self.created_by)
                self.first_revision(entered, origin, request_id).save()
        except (Http404, IntegrityError) as error:
            if isinstance(error, IntegrityError) and "workspace_id" not in str(error):
                raise
            raise ValidationError({"workspace_id": WORKSPACE_GONE}) from None

    def complete(self) -> None:
        """Fill in what follows from other fields, before the first save, and check them all.

        Raises ValidationError (400).
        """
        if self.workspace_id is None:
            workspace = Workspace.objects.first_of(self.organization_id)
            if workspace is None:
                raise ValidationError({"workspace_id": WORKSPACE_GONE})
            self.workspace = workspace
        self.organization_id = self.workspace.organization_id
        self._schedule_refresh({"schema_auto_refresh"})
        self._check(("name", "type", "username", *UPDATABLE_FIELDS))

    def take_secrets(self) -> dict[str, str]:
        """Leave the connection string without the secrets it brought; give those, by field."""
        if self.connection_string is None:
            return {}
        self.connection_string, secrets = split_secrets(self.connection_string, self.connector)
        return secrets

    def first_revision(
        self, entered: Changes, origin: str, request_id: str = ""
    ) -> "DataSourceRevision":
        """Give the revision that records the creation.

        It has all fields that are not at their default, and the secrets that were entered.
        """
        unset = DataSource()
        changes: Changes = {}
        for field in ("type", *UPDATABLE_FIELDS, "username", "credentials_status"):
            value = getattr(self, field)
            if value != getattr(unset, field):
                changes[field] = {"from": None, "to": value}
        changes |= entered
        return DataSourceRevision(
            data_source=self,
            version=self.version,
            changed_at=self.created_at,
            changed_by_id=self.created_by_id,
            origin=origin,
            request_id=request_id,
            changes=changes,
        )

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

    @property
    def met_host_key(self) -> str | None:
        """The host key that the SSH server showed in the last test, else the confirmed one."""
        met = (self.last_test or {}).get("ssh_host_key") or {}
        key: str | None = met.get("key", self.ssh_host_key)
        return key

    @property
    def has_waiting_host_key(self) -> bool:
        """Whether the last test, of this version, met a host key that is not the confirmed one."""
        is_new = self.met_host_key != self.ssh_host_key
        return is_new and (self.last_test or {}).get("version") == self.version

    def has_later_test(self, result: Mapping[str, Any]) -> bool:
        """Whether the last test was asked for after the one with this result."""
        asked_at: str = (self.last_test or {}).get("requested_at", "")
        return asked_at > result["requested_at"]

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

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Give a live connection: SQLAlchemy's, or DuckDB's or MongoDB's own.

        For operators and jobs, never for the web. It has the pool, time-outs, retries, tunnel and
        egress policy that are configured; see `datasources.connections.connect`. Raises
        ConnectionFailure, CredentialsUnconfirmed and CredentialsUnreadable.
        """
        from datasources.connections.connect import connect  # which knows of data sources

        with connect(self) as connection:
            yield connection

    def has_version(self, version: int) -> bool:
        """Whether this data source was once at `version`, or is."""
        return 1 <= version <= self.version

    def clean(self) -> None:
        """Check the fields against each other; raises ValidationError (400)."""
        if errors := self.contradictions({}):
            raise ValidationError(errors)

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

    def is_name_taken(self, name: str) -> bool:
        """Whether another data source of the workspace has this name, ignoring case."""
        namesakes = DataSource.objects.alias(lower_name=Lower("name")).filter(
            workspace_id=self.workspace_id, lower_name=Lower(models.Value(name))
        )
        return namesakes.exclude(pk=self.pk).exists()

    @contextmanager
    def _changing(self, is_locked: bool, dry_run: bool = False) -> Iterator[None]:
        """Hold the row, locked and read anew, for a change; a dry run is undone in the end."""
        # Whoever holds the lock has a transaction, and no use for a savepoint in it.
        with transaction.atomic(savepoint=dry_run or not is_locked):
            if not is_locked:
                self.refresh_from_db(from_queryset=DataSource.objects.for_update())
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

    def may_be_confirmed_by(self, user: User | None) -> bool:
        """Whether `user` may confirm secrets here: an admin or owner, whichever way in."""
        if user is None:
            return False
        admins = Membership.objects.for_user(user).including(Role.ADMIN)
        return admins.filter(organization_id=self.organization_id).exists()

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
