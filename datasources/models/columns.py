"""The columns, constraints and indexes of data sources, and properties of a single row."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Lower, Upper
from django.utils import timezone

from datasources.connections.configuration import SSH_PORT
from datasources.connections.connectors import CONNECTORS, DataSourceType, type_choices
from datasources.connections.connectors.base import ConnectorClass
from datasources.connections.ssh.host_keys import MAX_LENGTH as HOST_KEY_MAX_LENGTH
from datasources.models.connection_strings import url_destination, validate_connection_string
from datasources.models.field_names import (
    DESTINATION_FIELDS,
    DESTINATION_GROUP,
    HOST_FIELDS,
    SEARCHED_FIELDS,
)
from datasources.models.fields import (
    MetadataField,
    TagsField,
    forget_author,
    number_field,
    text_field,
)
from datasources.models.validators import (
    CONNECTION_STRING_MAX_LENGTH,
    TAG_MAX_LENGTH,
    validate_file_path,
    validate_host,
    validate_line,
    validate_name,
    validate_ssh_host,
)
from organizations.models import Organization, Workspace
from rivergen.hosts import MAX_LENGTH as HOST_MAX_LENGTH
from rivergen.hosts import comparable_host
from rivergen.names import NameField
from rivergen.strict_fields import StrictBooleanField, StrictCharField, TrimmedCharField

NAME_TAKEN = "The workspace already has a data source with this name."
NAME_UNIQUE = "data_source_name_unique"


def list_indexes(field: str, suffix: str) -> list[models.Index]:
    """Return the two indexes for lists that are sorted by `field`.

    The first serves members of one organization. The second serves members of several: to read all
    rows in order and skip those of other organizations is cheaper than to sort many rows.
    """
    return [
        models.Index(fields=["organization", field, "id"], name=f"data_source_by_{suffix}"),
        models.Index(fields=[field, "id", "organization"], name=f"data_source_all_by_{suffix}"),
    ]


def destination_parts(values: Mapping[str, Any], fields: Iterable[str]) -> list[Any]:
    """Return values as destinations are compared: hosts in one spelling, the SSH port in use."""
    return [_destination_part(field, values[field]) for field in fields]


def _destination_part(field: str, value: Any) -> Any:
    if field in HOST_FIELDS:
        return comparable_host(value)
    return SSH_PORT if field == "ssh_port" and value is None else value


class DataSourceColumns(models.Model):
    """The columns, constraints and indexes; `DataSource` is the model of this table."""

    Type = DataSourceType

    class Status(models.TextChoices):
        """The result of the last connection test."""

        ACTIVE = "active"
        INACTIVE = "inactive"
        ERROR = "error"

    class CredentialsStatus(models.TextChoices):
        """Whether secrets are stored, and whether all are confirmed (contract, section 4a)."""

        UNSET = "unset"
        SET = "set"
        UNCONFIRMED = "unconfirmed"

    class SchemaStatus(models.TextChoices):
        """Whether the schema was read, is being read, or could not be read."""

        UNREAD = "unread"
        REFRESHING = "refreshing"
        READY = "ready"
        FAILED = "failed"

    revisions: Any

    role: str  # set by `for_user`
    requires_if_match: bool  # set by `with_policy`
    name_key: str  # set by `named`

    organization = models.ForeignKey(
        Organization,
        on_delete=models.CASCADE,
        related_name="data_sources",
        db_index=False,  # the list indexes below serve
        editable=False,
    )
    workspace = models.ForeignKey(
        Workspace, on_delete=models.RESTRICT, related_name="data_sources", db_index=False
    )
    name = NameField(
        max_length=255,
        validators=[validate_name],
        help_text="Unique in the workspace, whatever the case. Spaces around it are removed, "
        "and it is stored in Unicode's form NFC. Invisible characters are refused.",
    )
    type = StrictCharField(
        max_length=32,
        choices=type_choices,
        help_text="The kind of database, warehouse or file. Fixed once the data source exists.",
    )
    description = StrictCharField(
        max_length=10_000,
        blank=True,
        default="",
        help_text="Text for people: what the source holds, and whom to ask about it.",
    )

    host = text_field(
        HOST_MAX_LENGTH,
        validate_host,
        help_text="Host name or IP address of the server, without scheme, port or path.",
    )
    port = number_field(
        1, 65_535, null=True, help_text="TCP port of the server. Default: the port of the type."
    )
    database_name = text_field(255, help_text="The database on the server to connect to.")
    schema_name = text_field(
        255, help_text="The schema to use. If set, a schema refresh reads only this schema."
    )
    connection_string = text_field(
        CONNECTION_STRING_MAX_LENGTH,
        validate_connection_string,
        help_text="A URL whose scheme fits the type; what it contains overrides the fields. A "
        "password in it is moved to the credentials and is never shown.",
    )
    file_path = text_field(
        1_000,
        validate_file_path,
        help_text="Path of the file in the organization's storage, relative, with forward slashes.",
    )

    use_ssh_tunnel = StrictBooleanField(
        default=False,
        help_text="Connect through an SSH server. Requires ssh_host and ssh_username.",
    )
    ssh_host = text_field(
        HOST_MAX_LENGTH, validate_ssh_host, help_text="Host name or IP address of the SSH server."
    )
    ssh_port = number_field(
        1, 65_535, SSH_PORT, null=True, help_text="TCP port of the SSH server. Default: 22."
    )
    ssh_username = text_field(255, help_text="The name to log in to the SSH server with.")
    ssh_local_port = number_field(
        1,
        65_535,
        null=True,
        help_text="Port of the tunnel on the machine that connects. Default: any free port.",
    )

    # No secret is sent to a server that presents another key.
    ssh_host_key = text_field(
        HOST_KEY_MAX_LENGTH,
        editable=False,
        help_text="The confirmed host key of the SSH server, in OpenSSH format, if there is one.",
    )

    connection_pool_size = number_field(
        1, 100, 5, help_text="How many connections may be open at the same time. Default: 5."
    )
    connection_timeout = number_field(
        1, 300, 30, help_text="Seconds to wait until a connection is ready. Default: 30."
    )
    query_timeout = number_field(
        1, 86_400, 300, help_text="Seconds after which a statement is stopped. Default: 300."
    )
    max_retries = number_field(
        0,
        10,
        3,
        help_text="How often a refused connection is tried again, within the connection timeout. "
        "Default: 3.",
    )

    schema_auto_refresh = StrictBooleanField(
        default=False, help_text="Read the tables and columns again and again, by schedule."
    )
    schema_refresh_interval = number_field(
        60, 2_592_000, 3_600, help_text="Seconds between two scheduled refreshes. Default: 3,600."
    )

    schema_status = models.CharField(
        max_length=16,
        choices=SchemaStatus.choices,
        default=SchemaStatus.UNREAD,
        editable=False,
        help_text="Whether the schema is unread, refreshing, ready, or could not be read (failed).",
    )
    schema_refreshed_at = models.DateTimeField(
        null=True, default=None, editable=False, help_text="When the schema was last read."
    )
    schema_next_refresh_at = models.DateTimeField(
        null=True,
        default=None,
        editable=False,
        help_text="When the schedule will read the schema next. Null without a schedule.",
    )

    # Set and shown with the secrets, but not encrypted.
    username = TrimmedCharField(
        max_length=255,
        null=True,
        blank=True,
        default=None,
        editable=False,
        validators=[validate_line],
    )
    metadata = MetadataField(
        default=dict,
        blank=True,
        help_text="A JSON object of your own, up to 65,536 bytes and 20 levels deep. Its keys must "
        "not name secrets.",
    )
    tags = TagsField(
        models.CharField(max_length=TAG_MAX_LENGTH),
        default=list,
        blank=True,
        help_text="Labels to find data sources by, in this order, without duplicates. Spaces, NFC "
        "and invisible characters: as in the name.",
    )

    status = models.CharField(
        max_length=16,
        choices=Status.choices,
        default=Status.ACTIVE,
        editable=False,
        help_text="Active, or error if the last connection test failed.",
    )
    last_test = models.JSONField(
        null=True,
        default=None,
        editable=False,
        help_text="The result of the last connection test. Its version may be an earlier one.",
    )
    credentials_status = models.CharField(
        max_length=16,
        choices=CredentialsStatus.choices,
        default=CredentialsStatus.UNSET,
        editable=False,
        help_text="Whether secrets are set. Unconfirmed ones are not sent to the new destination.",
    )
    version = models.BigIntegerField(
        default=1,
        editable=False,
        help_text="Starts at 1 and increases by one with each change. In double quotes: the ETag.",
    )
    has_changed_within_version = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="What GET shows has changed since this version began, by a test for instance.",
    )
    history_bytes = models.BigIntegerField(
        default=0, db_default=0, editable=False, help_text="The size of all its revisions."
    )
    created_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When the data source was created."
    )
    updated_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When the data source was last updated."
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=forget_author,
        null=True,
        related_name="+",
        editable=False,
    )
    updated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=forget_author,
        null=True,
        related_name="+",
        editable=False,
    )

    class Meta:
        abstract = True
        ordering = ["name", "id"]
        constraints = [
            # The name first: its index also serves `?name=`.
            models.UniqueConstraint(
                Lower("name"),
                "workspace",
                name=NAME_UNIQUE,
                violation_error_message=NAME_TAKEN,
            )
        ]
        indexes = [
            *list_indexes("name", "name"),
            *list_indexes("created_at", "created"),
            *list_indexes("updated_at", "updated"),
            # Selective filters: `?workspace_id=`, `?type=` and so on.
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
                fields=["organization", "schema_status", "name", "id"],
                name="data_source_schema_status",
            ),
            models.Index(Lower("host"), "organization", name="data_source_host"),
            # Quotas and their metrics: the rows are wide, and all of them are counted.
            models.Index(
                fields=["organization"], include=["history_bytes"], name="data_source_usage"
            ),
            models.Index(
                "schema_next_refresh_at",
                condition=models.Q(schema_next_refresh_at__isnull=False),
                name="data_source_due_for_refresh",
            ),
            GinIndex("tags", name="data_source_tags"),  # `?tag=`
            # `?search=`: icontains compares in upper case.
            GinIndex(
                *(OpClass(Upper(field), "gin_trgm_ops") for field in SEARCHED_FIELDS),
                name="data_source_search",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def connector(self) -> ConnectorClass:
        """The connector class of this type."""
        return CONNECTORS[self.type]

    @property
    def destination(self) -> str:
        """The digest of all that decides where secrets would travel; each is sealed to one."""
        values = {field: getattr(self, field) for field in DESTINATION_FIELDS}
        parts = destination_parts(values, DESTINATION_FIELDS)
        if self.connection_string is not None:
            parts.append(url_destination(self.connection_string, self.connector, self.port))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def presented_host_key(self) -> str | None:
        """The host key that the SSH server presented in the last test, else the confirmed one."""
        presented = (self.last_test or {}).get("ssh_host_key") or {}
        key: str | None = presented.get("key", self.ssh_host_key)
        return key

    @property
    def has_unconfirmed_host_key(self) -> bool:
        """Return whether the SSH server presented an unconfirmed key in a test of this destination.

        A change of other fields since the test does not matter.
        """
        if self.presented_host_key == self.ssh_host_key:
            return False
        return not self.has_changed_since((self.last_test or {})["version"], DESTINATION_GROUP)

    def has_changed_since(self, version: int, fields: Iterable[str]) -> bool:
        """Return whether any of these fields was changed after a version."""
        if version == self.version:
            return False
        changed: bool = self.revisions.since(version).changing(fields).exists()
        return changed

    def has_later_test(self, result: Mapping[str, Any]) -> bool:
        """Return whether the last test was requested after the test with this result."""
        requested_at: str = (self.last_test or {}).get("requested_at", "")
        return requested_at > result["requested_at"]

    def has_version(self, version: int) -> bool:
        """Return whether `version` is the current or an earlier version of this data source."""
        return 1 <= version <= self.version
