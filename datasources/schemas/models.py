"""What sources were found to have, when, and the readings that find it out."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Lag, RowNumber
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.reading.catalogue import Key
from datasources.schemas.schedule import next_refresh_at
from datasources.schemas.snapshots.changes import Change, changes_between
from datasources.schemas.snapshots.content import BLOCK_TABLES, Content, lines_of, read_list
from datasources.schemas.snapshots.search import tables_with
from organizations.models import Organization, User
from rivergen.http.pagination import PAGE_SIZE_MAX

# Some megabytes at a time, for a search through all.
BLOCKS_AT_ONCE = 20


class SchemaContent(models.Model):
    """The tables of a source at some time, once for all snapshots that found the same."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    digest = models.CharField(max_length=64)
    table_count = models.IntegerField()
    column_count = models.IntegerField()
    names = models.BinaryField(help_text="Compressed JSON: schema and name of each table, sorted.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "digest"], name="schema_content_unique")
        ]

    def __str__(self) -> str:
        return self.digest

    def keys(self) -> list[Key]:
        """Give schema and name of each table, in their order."""
        return [(schema, name) for schema, name in read_list(bytes(self.names))]

    def schemas(self) -> list[dict[str, Any]]:
        """Give the schemas that have tables: name and number of these."""
        counts = Counter(schema for schema, _ in self.keys())
        return [{"name": name, "table_count": count} for name, count in counts.items()]

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Give each table as JSON, with its position, from one on."""
        block_count = -(-self.table_count // BLOCK_TABLES)
        for number, lines in self._blocks(range(start // BLOCK_TABLES, block_count)):
            first = number * BLOCK_TABLES
            skipped = max(start - first, 0)
            yield from enumerate(lines[skipped:], first + skipped)

    def keyed_lines(self) -> Iterator[tuple[Key, bytes]]:
        """Give each table as JSON, with its schema and name."""
        return zip(self.keys(), (line for _, line in self.lines()), strict=True)

    def named(self, name: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Give the tables of a name, which may be of the form `schema.table`, likewise.

        `start` counts these tables alone.
        """
        found = (
            position
            for position, (schema, table) in enumerate(self.keys())
            if name in (table, f"{schema}.{table}")
        )
        positions: dict[int, list[int]] = {}
        for position in islice(found, start, None):
            positions.setdefault(position // BLOCK_TABLES, []).append(position)
        # They may be in as many blocks: those of a page at once.
        for number, lines in self._blocks([*positions], PAGE_SIZE_MAX + 1):
            for position in positions[number]:
                yield position, lines[position % BLOCK_TABLES]

    def _blocks(self, numbers: Sequence[int], count: int = 1) -> Iterator[tuple[int, list[bytes]]]:
        """Give blocks by their numbers, which are in order: the number, and the lines in it.

        `count` are fetched at first, one being enough for most pages, and then more at a time.
        """
        while numbers:
            blocks = self.blocks.filter(number__in=numbers[:count])
            for number, data in blocks.values_list("number", "data"):
                yield number, lines_of(bytes(data))
            numbers, count = numbers[count:], max(count, min(2 * count, BLOCKS_AT_ONCE))


class SchemaBlock(models.Model):
    """A part of a content: up to `BLOCK_TABLES` tables, compressed."""

    content = models.ForeignKey(
        SchemaContent, on_delete=models.CASCADE, related_name="blocks", db_index=False
    )
    number = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ["number"]
        constraints = [
            # Also the index that a content is read by.
            models.UniqueConstraint(fields=["content", "number"], name="schema_block_unique")
        ]

    def __str__(self) -> str:
        return f"{self.content_id}, block {self.number}"


class SchemaSnapshotQuerySet(models.QuerySet["SchemaSnapshot"]):
    """Snapshots of any data sources."""

    def summaries(self) -> Self:
        """Fetch how many tables and columns there are, and nothing that grows with their number."""
        return self.select_related("content").defer("row_estimates", "content__names")

    def outdated(self, count: int, days: int) -> Self:
        """Restrict to those that are not to be kept: never the last one, as nothing replaced it."""
        ranked = SchemaSnapshot.objects.annotate(
            rank=newest_first(RowNumber()), replaced_at=newest_first(Lag("read_at"))
        ).filter(
            models.Q(rank__gt=count) | models.Q(replaced_at__lt=timezone.now() - timedelta(days))
        )
        return self.filter(pk__in=ranked.values("pk"))


class SchemaSnapshot(models.Model):
    """That a data source was found to have other tables or columns than before."""

    data_source = models.ForeignKey(
        DataSource, on_delete=models.CASCADE, related_name="schema_snapshots", db_index=False
    )
    number = models.IntegerField(help_text="Counts the snapshots of the data source, from 1.")
    content = models.ForeignKey(SchemaContent, on_delete=models.RESTRICT, related_name="snapshots")
    read_at = models.DateTimeField()
    row_estimates = models.BinaryField(
        help_text="Compressed JSON: one for each table, by the last refresh that found the same."
    )

    objects = SchemaSnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            # Also the index that the last one is found by.
            models.UniqueConstraint(fields=["data_source", "number"], name="schema_snapshot_unique")
        ]

    def __str__(self) -> str:
        return f"{self.data_source_id}, snapshot {self.number}"

    @property
    def etag(self) -> str:
        """The entity tag (RFC 9110, section 8.8.3): row estimates move while nothing changes."""
        digest = hashlib.sha256(bytes(self.row_estimates)).hexdigest()
        return f'"{self.number}-{digest[:16]}"'

    def tables(
        self, *, named: str | None = None, words: Sequence[str] = (), start: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Give the tables of a name, and with all these words, sorted, from a number on."""
        estimates = read_list(bytes(self.row_estimates))
        for position, line in self._find(named, words, start):
            yield {**json.loads(line), "row_estimate": estimates[position]}

    def _find(
        self, named: str | None, words: Sequence[str], start: int
    ) -> Iterator[tuple[int, bytes]]:
        find = self.content.lines if named is None else partial(self.content.named, named)
        if not words:
            return find(start)
        return islice(tables_with(words, find()), start, None)

    def previous(self) -> "SchemaSnapshot | None":
        """Give the snapshot before this one, of those that are kept."""
        before = SchemaSnapshot.objects.using(self._state.db).filter(
            data_source_id=self.data_source_id, number__lt=self.number
        )
        return before.select_related("content").first()

    def changes_since(self, before: "SchemaSnapshot") -> Iterator[Change]:
        """Give what has changed from another snapshot to this one."""
        if self.content_id == before.content_id:
            return iter(())
        return changes_between(before.content.keyed_lines(), self.content.keyed_lines())


def newest_first(function: models.Func) -> models.Window:
    """Apply a window function to the snapshots of each data source."""
    return models.Window(function, partition_by="data_source", order_by="-number")


class SchemaRefreshQuerySet(models.QuerySet["SchemaRefresh"]):
    """The last refreshes of any data sources."""

    def running(self) -> Self:
        """Restrict to those that have not ended."""
        return self.filter(finished_at=None)

    def waiting(self) -> Self:
        """Restrict to those of which no worker has reached the source yet."""
        return self.running().filter(tables_total=None)

    def lost(self) -> Self:
        """Restrict to those that nobody runs, or will: both come and end with their jobs."""
        jobs = ProcrastinateJob.objects.filter(
            task_name="refresh_schema", status__in=("todo", "doing")
        )
        refresh_id = Cast(KeyTextTransform("refresh_id", "args"), models.UUIDField())
        return self.running().exclude(refresh_id__in=jobs.values(of_job=refresh_id))

    def start(
        self, data_sources: Iterable[DataSource], user: User | None = None
    ) -> list["SchemaRefresh"]:
        """Store that these are to be refreshed; they are locked, and not being refreshed.

        `user` is None if the schedule asks, which it does as of the time that one is due: it may
        itself be late.
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
            update_fields=[*SchemaRefresh.OF_ONE],
        )
        started = DataSource.objects.filter(pk__in=[one.data_source_id for one in refreshes])
        started.record_schema(schema_status=DataSource.SchemaStatus.REFRESHING)
        return refreshes


class SchemaRefresh(models.Model):
    """The last refresh of a data source, running or ended: there is never a second one."""

    # What is another refresh's at the next.
    OF_ONE = (
        *("refresh_id", "version", "requested_at", "requested_by"),
        *("finished_at", "code", "tables_read", "tables_total"),
    )

    data_source = models.OneToOneField(
        DataSource, on_delete=models.CASCADE, primary_key=True, related_name="schema_refresh"
    )
    refresh_id = models.UUIDField(default=uuid.uuid4)
    version = models.BigIntegerField(help_text="Of the data source, when it was asked for.")
    requested_at = models.DateTimeField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text="Null: the schedule.",
    )
    finished_at = models.DateTimeField(null=True, default=None)
    code = models.CharField(max_length=32, null=True, default=None)
    tables_read = models.IntegerField(null=True, default=None)
    tables_total = models.IntegerField(null=True, default=None)
    failures = models.IntegerField(default=0, help_text="In a row.")

    objects = SchemaRefreshQuerySet.as_manager()

    class Meta:
        indexes = [
            # How long they wait, however many have ended.
            models.Index(
                "requested_at",
                condition=models.Q(finished_at__isnull=True, tables_total__isnull=True),
                name="schema_refresh_waiting",
            )
        ]

    def __str__(self) -> str:
        return str(self.refresh_id)

    def finish(
        self, code: Code, of: DataSource | None = None, content: Content | None = None
    ) -> None:
        """Store how it ended and what was read, in one: all of it or nothing.

        `of` is the data source as it was when the reading began; what was read is dropped if it is
        found elsewhere by now. Without it nothing was read, and any change since the refresh was
        asked for is one to read again for. Does nothing if this refresh has ended, or is not the
        last one.
        """
        with transaction.atomic():
            # The data source first, as a deletion does it: nobody waits in a circle.
            data_source = DataSource.objects.for_update().filter(pk=self.data_source_id).first()
            refresh = self._running().select_for_update().first()
            if data_source is None or refresh is None:
                return
            now = timezone.now()
            if content is not None and of is not None and place_of(data_source) != place_of(of):
                code = Code.SOURCE_CHANGED
            elif content is not None:
                store_snapshot(data_source, content)
                refresh.tables_read = refresh.tables_total = content.table_count
            refresh.code, refresh.finished_at = code, now
            refresh.failures = 0 if code == Code.OK else refresh.failures + 1
            refresh.save()
            status = DataSource.SchemaStatus
            has_changed = (refresh if of is None else of).version != data_source.version
            DataSource.objects.filter(pk=data_source.pk).record_schema(
                schema_status=status.READY if code == Code.OK else status.FAILED,
                schema_refreshed_at=now if code == Code.OK else data_source.schema_refreshed_at,
                schema_next_refresh_at=next_refresh_at(data_source, refresh.failures, has_changed),
            )

    def advance(self, tables_read: int | None, tables_total: int | None) -> None:
        """Show how far it is."""
        self._running().update(tables_read=tables_read, tables_total=tables_total)

    def _running(self) -> SchemaRefreshQuerySet:
        refreshes = SchemaRefresh.objects.running()
        return refreshes.filter(data_source_id=self.data_source_id, refresh_id=self.refresh_id)

    @property
    def ok(self) -> bool | None:
        """Whether it ended well; None: it has not ended."""
        return None if self.code is None else self.code == Code.OK

    @property
    def message(self) -> str | None:
        """Say in a sentence how it ended."""
        if self.code == Code.OK:
            return "The schema was read."
        return None if self.code is None else str(Code(self.code).label)


def place_of(data_source: DataSource) -> dict[str, Any]:
    """Give all that decides what is read of a data source."""
    return data_source.configuration(secrets={}).place()


def store_snapshot(data_source: DataSource, content: Content) -> None:
    """Store what was read of a locked data source: anew only if it is not what was read before."""
    last = data_source.schema_snapshots.select_related("content").first()
    if last is not None and last.content.digest == content.digest:
        if bytes(last.row_estimates) != content.row_estimates:
            last.row_estimates = content.row_estimates
            last.save(update_fields=["row_estimates"])
        return
    SchemaSnapshot.objects.create(
        data_source=data_source,
        number=last.number + 1 if last else 1,
        content=store_content(data_source.organization_id, content),
        read_at=timezone.now(),
        row_estimates=content.row_estimates,
    )


def store_content(organization_id: int, content: Content) -> SchemaContent:
    """Store a content, unless the organization has it; locked, so that nobody removes it."""
    stored, is_new = SchemaContent.objects.select_for_update(no_key=True).get_or_create(
        organization_id=organization_id,
        digest=content.digest,
        defaults={
            "table_count": content.table_count,
            "column_count": content.column_count,
            "names": content.names,
        },
    )
    if is_new:
        SchemaBlock.objects.bulk_create(
            SchemaBlock(content=stored, number=number, data=data)
            for number, data in enumerate(content.blocks)
        )
    return stored
