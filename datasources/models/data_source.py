"""The model of a data source: creation and connecting. Changes are in `changing`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from psycopg.errors import ForeignKeyViolation

from datasources.connections.configuration import Configuration
from datasources.connections.files.storage import path_in_storage
from datasources.models.changing import size_of
from datasources.models.columns import NAME_TAKEN, NAME_UNIQUE
from datasources.models.connection_strings import read_connection_string, split_secrets
from datasources.models.field_names import UPDATABLE_FIELDS
from datasources.models.querysets import (
    DataSourceQuerySet,
    UnrecordedChangeError,
    extracted_secrets,
)
from datasources.models.restoring import RestorableDataSource
from datasources.models.revision import Author, Changes, DataSourceRevision
from organizations.models import Organization, Workspace
from rivergen.errors import Gone
from rivergen.postgresql.constraints import unique_violation_as_validation_error

WORKSPACE_GONE = "The workspace was removed."
GIVEN_TWICE = "The connection string has one, too. Give it in one place only."


class DataSource(RestorableDataSource):
    """A configured connection to a database, warehouse or file of an organization."""

    objects = DataSourceQuerySet["DataSource"].as_manager()

    def save(
        self,
        *args: Any,
        author: Author | None = None,
        credentials: Mapping[str, str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Insert a new data source, its secrets and the first revision of its history.

        Without `author`, the author is `created_by` at a shell. `credentials` are those that
        `set_credentials` takes. Raises ValidationError (400) if the data source or a credential is
        invalid or the name taken, and QuotaExceeded (409) if the organization has as many data
        sources, or as much history, as it may. Raises UnrecordedChangeError if it is already
        stored: use `apply_changes`.
        """
        if not self._state.adding:
            raise UnrecordedChangeError
        given = {field: text for field, text in (credentials or {}).items() if text is not None}
        self.username = given.pop("username", self.username)
        self.complete()
        if twice := self.given_twice(given):
            raise ValidationError(twice)
        unique_name = unique_violation_as_validation_error(NAME_UNIQUE, "name", NAME_TAKEN)
        try:
            with extracted_secrets([self], given) as [secrets], unique_name, transaction.atomic():
                organization = Organization.objects.lock(self.organization_id)
                self.history_bytes = size_of(self.first_changes(secrets))
                super().save(*args, **kwargs)
                self.credentials.seal_all(self.credentials.read(secrets), self.created_by)
                self.first_revision(secrets, author or Author(self.created_by)).save()
                # Check now, not at the commit: the workspace may have been removed.
                connection.check_constraints()
                DataSource.objects.check_quotas(organization, "data_sources", "history_bytes")
        except Gone:
            raise ValidationError({"workspace_id": WORKSPACE_GONE}) from None
        except IntegrityError as error:
            if isinstance(error.__cause__, ForeignKeyViolation) and "workspace_id" in str(error):
                raise ValidationError({"workspace_id": WORKSPACE_GONE}) from None
            raise

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete the data source, and all that refers to it."""
        with transaction.atomic():
            DataSource.objects.filter(pk=self.pk).lock_for_removal()
            return super().delete(*args, **options)

    def complete(self) -> None:
        """Set the fields that follow from others before the first save, and check all fields.

        Raises ValidationError (400).
        """
        if self.workspace_id is None:
            workspace = Workspace.objects.first_of(self.organization_id)
            if workspace is None:
                raise ValidationError({"workspace_id": WORKSPACE_GONE})
            self.workspace = workspace
        self.organization_id = self.workspace.organization_id
        self._check(("name", "type", "username", *UPDATABLE_FIELDS))
        self._schedule_refresh({"schema_auto_refresh"})

    def given_twice(self, credentials: Iterable[str]) -> dict[str, str]:
        """Return a sentence for each of these credentials that the connection string has, too."""
        if self.connection_string is None:
            return {}
        _, secrets = split_secrets(self.connection_string, self.connector)
        return {field: GIVEN_TWICE for field in credentials if field in secrets}

    def first_revision(self, secrets: Iterable[str], author: Author) -> DataSourceRevision:
        """Return the revision that records the creation with these secrets."""
        return self.revision(self.first_changes(secrets), author, self.created_at)

    def first_changes(self, secrets: Iterable[str]) -> Changes:
        """Return, as changes, all fields that differ from their default, and these secrets."""
        unset = DataSource()
        changes: Changes = {}
        for field in ("type", *UPDATABLE_FIELDS, "username", "credentials_status"):
            value = getattr(self, field)
            if value != getattr(unset, field):
                changes[field] = {"from": None, "to": value}
        status = self.CredentialsStatus
        return changes | {field: {"from": status.UNSET, "to": status.SET} for field in secrets}

    def configuration(self, secrets: Mapping[str, str] | None = None) -> Configuration:
        """Return the configuration of a connection: the fields of this instance and the secrets.

        Without `secrets`, the stored ones are decrypted: raises CredentialsUnconfirmed and
        CredentialsUnreadable (409). The connection string overrides the fields. If neither has a
        port, it is the default port of the type.
        """
        if secrets is None:
            secrets = self.credentials.open()
        names = [name for name in Configuration.field_names() if hasattr(self, name)]
        values = {name: getattr(self, name) for name in names}
        if self.connection_string is not None:
            url = read_connection_string(self.connection_string, self.connector)
            values |= {name: value for name, value in url.items() if value is not None}
        if self.file_path is not None:
            values["file_path"] = path_in_storage(self.workspace.organization_id, self.file_path)
        configuration = Configuration(**values, secrets=secrets)
        if configuration.port is not None:
            return configuration
        return replace(configuration, port=self.connector.usual_port(configuration))

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Yield a live connection: SQLAlchemy's, or the client of DuckDB or MongoDB.

        For operators and jobs, never for web requests. The configured pool, timeouts, retries,
        tunnel and the egress policy apply; see `datasources.connections.session`. Raises
        ConnectionFailure, CredentialsUnconfirmed and CredentialsUnreadable.
        """
        # Imported here: web processes never connect to data sources, and must not load the drivers.
        from datasources.connections.session import connect

        with connect(self.configuration()) as live_connection:
            yield live_connection

    def clean(self) -> None:
        """Raise ValidationError (400) if the fields contradict each other."""
        if errors := self.contradictions({}):
            raise ValidationError(errors)

    def is_name_taken(self, name: str) -> bool:
        """Return whether another data source of the workspace has this name, ignoring case."""
        namesakes = DataSource.objects.with_name(name).filter(workspace_id=self.workspace_id)
        return namesakes.exclude(pk=self.pk).exists()
