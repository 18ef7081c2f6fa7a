"""Data sources: every rule about one row; `querysets` has those about many."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Lower
from django.http import Http404

from datasources.models.changing import ChangingDataSource
from datasources.models.field_names import UPDATABLE_FIELDS
from datasources.models.querysets import DataSourceQuerySet, UnrecordedChangeError, secrets_apart
from datasources.models.revision import Changes, DataSourceRevision
from organizations.models import Organization, Workspace

WORKSPACE_GONE = "The workspace has been removed."


class DataSource(ChangingDataSource):
    """A configured connection to a database, warehouse or file of an organization."""

    objects = DataSourceQuerySet.as_manager()

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

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Give a live connection: SQLAlchemy's, or DuckDB's or MongoDB's own.

        For operators and jobs, never for the web. It has the pool, time-outs, retries, tunnel and
        egress policy that are configured; see `datasources.connections.session`. Raises
        ConnectionFailure, CredentialsUnconfirmed and CredentialsUnreadable.
        """
        from datasources.connections.session import connect  # which knows of data sources

        with connect(self) as connection:
            yield connection

    def clean(self) -> None:
        """Check the fields against each other; raises ValidationError (400)."""
        if errors := self.contradictions({}):
            raise ValidationError(errors)

    def is_name_taken(self, name: str) -> bool:
        """Whether another data source of the workspace has this name, ignoring case."""
        namesakes = DataSource.objects.alias(lower_name=Lower("name")).filter(
            workspace_id=self.workspace_id, lower_name=Lower(models.Value(name))
        )
        return namesakes.exclude(pk=self.pk).exists()
