"""The model of schema refreshes: the last one of each data source, running or finished."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connections.failures import Code, Details, message_of
from datasources.connections.protection import explain_warnings
from datasources.models import DataSource
from datasources.models.field_names import SCHEMA_FIELDS
from datasources.schemas.schedule import next_refresh_at
from datasources.schemas.snapshots.content import Content
from datasources.schemas.snapshots.models import store_snapshot
from organizations.exceptions import QuotaExceeded
from organizations.models import User


class SchemaRefreshQuerySet(models.QuerySet["SchemaRefresh"]):
    """Queries on refreshes."""

    def running(self) -> Self:
        """Restrict to refreshes that have not finished."""
        return self.filter(finished_at=None)

    def waiting(self) -> Self:
        """Restrict to refreshes for which no worker has reached the source yet."""
        return self.running().filter(tables_total=None)

    def lost(self) -> Self:
        """Restrict to unfinished refreshes without a job that could finish them."""
        jobs = ProcrastinateJob.objects.filter(
            task_name="refresh_schema", status__in=("todo", "doing")
        )
        refresh_id = Cast(KeyTextTransform("refresh_id", "args"), models.UUIDField())
        return self.running().exclude(refresh_id__in=jobs.values(of_job=refresh_id))

    def start(
        self, data_sources: Iterable[DataSource], user: User | None = None
    ) -> list["SchemaRefresh"]:
        """Store and return new refreshes of data sources that are locked and not being refreshed.

        `user` is None if the schedule starts them; `requested_at` is then the time at which each
        was due, so that a late schedule shows in the metrics.
        """
        now = timezone.now()
        refreshes: Any = [
            SchemaRefresh(
                data_source=data_source,
                version=data_source.version,
                requested_at=now if user else min(data_source.schema_next_refresh_at or now, now),
                requested_by=user,
            )
            for data_source in data_sources
        ]
        self.bulk_create(
            refreshes,
            update_conflicts=True,
            unique_fields=["data_source"],
            update_fields=[*SchemaRefresh.FIELDS_OF_A_RUN],
        )
        started = DataSource.objects.filter(
            pk__in=[refresh.data_source_id for refresh in refreshes]
        )
        started.record_schema(schema_status=DataSource.SchemaStatus.REFRESHING)
        return refreshes


class SchemaRefresh(models.Model):
    """The last refresh of a data source. A new one overwrites the row."""

    # The fields that a new refresh overwrites; `failures` is counted over all refreshes.
    FIELDS_OF_A_RUN = (
        *("refresh_id", "version", "requested_at", "requested_by"),
        *("finished_at", "code", "details", "warnings", "tables_read", "tables_total"),
    )

    data_source = models.OneToOneField(
        DataSource, on_delete=models.CASCADE, primary_key=True, related_name="schema_refresh"
    )
    refresh_id = models.UUIDField(default=uuid.uuid4, help_text="Identifies this refresh.")
    version = models.BigIntegerField(help_text="Of the data source, when it was asked for.")
    requested_at = models.DateTimeField(
        help_text="When the refresh was asked for, or due by schedule."
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text="Null: the schedule.",
    )
    finished_at = models.DateTimeField(
        null=True, default=None, help_text="When the refresh ended. Null while it is running."
    )
    code = models.CharField(max_length=32, null=True, default=None)
    details = models.JSONField(default=dict, help_text="What the code is about.")
    warnings = models.JSONField(
        default=list, help_text="The codes of what the connection did not protect, or guessed."
    )
    tables_read = models.IntegerField(
        null=True, default=None, help_text="Tables read so far. Null until the source is reached."
    )
    tables_total = models.IntegerField(
        null=True, default=None, help_text="Tables to read. Null until the source is reached."
    )
    failures = models.IntegerField(default=0, help_text="In a row.")

    objects = SchemaRefreshQuerySet.as_manager()

    class Meta:
        indexes = [
            # This index serves the metric of the longest wait, among many finished refreshes.
            models.Index(
                "requested_at",
                condition=models.Q(finished_at__isnull=True, tables_total__isnull=True),
                name="schema_refresh_waiting",
            )
        ]

    def __str__(self) -> str:
        return str(self.refresh_id)

    def finish(
        self,
        code: Code,
        of: DataSource | None = None,
        content: Content | None = None,
        details: Details | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Store the outcome, and the schema that was read, in one transaction.

        `of` is the data source as it was when reading began. If it has been moved since, the
        schema is discarded. A change of `SCHEMA_FIELDS` since then (without `of`, since the refresh
        was requested) makes the next one due at once. Does nothing if this refresh has finished, or
        a newer one has replaced it.
        """
        with transaction.atomic():
            # Lock the data source first, as a deletion does: another order could deadlock.
            data_source = DataSource.objects.for_update().filter(pk=self.data_source_id).first()
            refresh = self._running().select_for_update().first()
            if data_source is None or refresh is None:
                return
            now = timezone.now()
            if content is not None and of is not None and place_of(data_source) != place_of(of):
                code = Code.SOURCE_CHANGED
            elif content is not None:
                refresh.tables_read = refresh.tables_total = content.table_count
                if not stored_within_quota(data_source, content):
                    code = Code.SCHEMA_QUOTA_EXCEEDED
            refresh.code, refresh.details, refresh.finished_at = code, details or {}, now
            refresh.warnings = [*warnings]
            refresh.failures = 0 if code == Code.OK else refresh.failures + 1
            refresh.save()
            status = DataSource.SchemaStatus
            begun_at = (refresh if of is None else of).version
            has_changed = data_source.has_changed_since(begun_at, SCHEMA_FIELDS)
            DataSource.objects.filter(pk=data_source.pk).record_schema(
                schema_status=status.READY if code == Code.OK else status.FAILED,
                schema_refreshed_at=now if code == Code.OK else data_source.schema_refreshed_at,
                schema_next_refresh_at=next_refresh_at(data_source, refresh.failures, has_changed),
            )

    def advance(self, tables_read: int | None, tables_total: int | None) -> None:
        """Store the progress of this refresh."""
        self._running().update(tables_read=tables_read, tables_total=tables_total)

    def _running(self) -> SchemaRefreshQuerySet:
        refreshes = SchemaRefresh.objects.running()
        return refreshes.filter(data_source_id=self.data_source_id, refresh_id=self.refresh_id)

    @property
    def ok(self) -> bool | None:
        """Return whether the refresh succeeded; None while it is unfinished."""
        return None if self.code is None else self.code == Code.OK

    @property
    def message(self) -> str | None:
        """The outcome as a sentence; None while the refresh is unfinished."""
        if self.code == Code.OK:
            return "The schema was read."
        return None if self.code is None else message_of(self.code, self.details)

    @property
    def explained_warnings(self) -> list[dict[str, str]]:
        """The warnings, each with its code and its message."""
        return explain_warnings(self.warnings)


def stored_within_quota(data_source: DataSource, content: Content) -> bool:
    """Store a snapshot of a locked data source, unless a quota forbids it; return whether it is."""
    try:
        with transaction.atomic():
            store_snapshot(data_source, content)
    except QuotaExceeded:
        return False
    return True


def place_of(data_source: DataSource) -> dict[str, Any]:
    """Return the settings that decide which schema is read."""
    return data_source.configuration(secrets={}).place()
