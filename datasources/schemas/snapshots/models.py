"""Models of snapshots: what a source was found to contain, and when.

A snapshot is stored only when the schema differs from the last one. Its tables are stored as a
`SchemaContent`, which all snapshots of an organization with the same tables share.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, Self

from django.db import models
from django.db.models.functions import Lag, RowNumber
from django.utils import timezone

from datasources.models import DataSource
from datasources.schemas.reading.catalogue import Key
from datasources.schemas.snapshots.changes import Change, changes_between
from datasources.schemas.snapshots.content import BLOCK_TABLES, Content, lines_of, read_list
from datasources.schemas.snapshots.search import tables_with
from organizations.models import Organization
from rivergen.http.pagination import PAGE_SIZE_MAX

# A block can take some megabytes in memory.
BLOCKS_AT_ONCE = 20


class SchemaContent(models.Model):
    """The tables of a source, stored once for all snapshots of an organization that match."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    digest = models.CharField(max_length=64)
    table_count = models.IntegerField()
    column_count = models.IntegerField()
    size = models.BigIntegerField(help_text="Bytes of the compressed tables.")
    names = models.BinaryField(help_text="Compressed JSON: schema and name of each table, sorted.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "digest"], name="schema_content_unique")
        ]

    def __str__(self) -> str:
        return self.digest

    @classmethod
    def bytes_by_organization(cls, *ids: int) -> dict[int, int]:
        """Return the bytes that are stored for each organization that has any, or for these."""
        contents = cls.objects.filter(organization__in=ids) if ids else cls.objects.all()
        return dict(contents.values_list("organization").annotate(models.Sum("size")))

    def keys(self) -> list[Key]:
        """Return schema and name of each table, sorted."""
        return [(schema, name) for schema, name in read_list(bytes(self.names))]

    def schemas(self) -> list[dict[str, Any]]:
        """Return the name and table count of each schema that has tables."""
        counts = Counter(schema for schema, _ in self.keys())
        return [{"name": name, "table_count": count} for name, count in counts.items()]

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield position and JSON of each table, beginning with the position `start`."""
        block_count = -(-self.table_count // BLOCK_TABLES)
        for number, lines in self._blocks(range(start // BLOCK_TABLES, block_count)):
            first = number * BLOCK_TABLES
            skipped = max(start - first, 0)
            yield from enumerate(lines[skipped:], first + skipped)

    def keyed_lines(self) -> Iterator[tuple[Key, bytes]]:
        """Return an iterator over the key and JSON of each table."""
        return zip(self.keys(), (line for _, line in self.lines()), strict=True)

    def named(self, name: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield position and JSON of the tables with a name, or a name such as `schema.table`.

        The first `start` matching tables are skipped.
        """
        found = (
            position
            for position, (schema, table) in enumerate(self.keys())
            if name in (table, f"{schema}.{table}")
        )
        positions: dict[int, list[int]] = {}
        for position in islice(found, start, None):
            positions.setdefault(position // BLOCK_TABLES, []).append(position)
        # Each table may be in another block: fetch the blocks of a whole page at once.
        for number, lines in self._blocks([*positions], PAGE_SIZE_MAX + 1):
            for position in positions[number]:
                yield position, lines[position % BLOCK_TABLES]

    def _blocks(self, numbers: Sequence[int], count: int = 1) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number and lines of each block, for block numbers in ascending order.

        `count` blocks are fetched at first, as one is enough for most pages, then more at a time.
        """
        while numbers:
            blocks = self.blocks.filter(number__in=numbers[:count])
            for number, data in blocks.values_list("number", "data"):
                yield number, lines_of(bytes(data))
            numbers, count = numbers[count:], max(count, min(2 * count, BLOCKS_AT_ONCE))


class SchemaBlock(models.Model):
    """A compressed part of a `SchemaContent`: up to `BLOCK_TABLES` tables."""

    content = models.ForeignKey(
        SchemaContent, on_delete=models.CASCADE, related_name="blocks", db_index=False
    )
    number = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ["number"]
        constraints = [
            # The index of this constraint also serves reading the blocks of a `SchemaContent`.
            models.UniqueConstraint(fields=["content", "number"], name="schema_block_unique")
        ]

    def __str__(self) -> str:
        return f"{self.content_id}, block {self.number}"


class SchemaSnapshotQuerySet(models.QuerySet["SchemaSnapshot"]):
    """Queries on snapshots."""

    def summaries(self) -> Self:
        """Leave out the columns whose size grows with the number of tables."""
        return self.select_related("content").defer("row_estimates", "content__names")

    def outdated(self, count: int, days: int) -> Self:
        """Restrict to snapshots beyond the last `count` that were replaced over `days` days ago.

        The last snapshot of a data source is never outdated: nothing has replaced it.
        """
        ranked = SchemaSnapshot.objects.annotate(
            rank=newest_first(RowNumber()), replaced_at=newest_first(Lag("read_at"))
        ).filter(rank__gt=count, replaced_at__lt=timezone.now() - timedelta(days))
        return self.filter(pk__in=ranked.values("pk"))


class SchemaSnapshot(models.Model):
    """The schema of a data source as read once, stored if it differs from the previous snapshot."""

    data_source = models.ForeignKey(
        DataSource, on_delete=models.CASCADE, related_name="schema_snapshots", db_index=False
    )
    number = models.IntegerField(help_text="Counts the snapshots of the data source, from 1.")
    content = models.ForeignKey(SchemaContent, on_delete=models.RESTRICT, related_name="snapshots")
    read_at = models.DateTimeField(help_text="When this schema was first read.")
    row_estimates = models.BinaryField(
        help_text="Compressed JSON: one for each table, by the last refresh that found the same."
    )

    objects = SchemaSnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            # The index of this constraint also serves finding the last snapshot.
            models.UniqueConstraint(fields=["data_source", "number"], name="schema_snapshot_unique")
        ]

    def __str__(self) -> str:
        return f"{self.data_source_id}, snapshot {self.number}"

    @property
    def etag(self) -> str:
        """The entity tag (RFC 9110, section 8.8.3) of number and row estimates.

        The estimates may change while the snapshot stays the same.
        """
        digest = hashlib.sha256(bytes(self.row_estimates)).hexdigest()
        return f'"{self.number}-{digest[:16]}"'

    def tables(
        self, *, named: str | None = None, words: Sequence[str] = (), start: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Yield the tables, sorted, restricted to a name and to tables that contain all `words`.

        The first `start` matching tables are skipped.
        """
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
        """Return the snapshot before this one, or None if none is kept."""
        before = SchemaSnapshot.objects.using(self._state.db).filter(
            data_source_id=self.data_source_id, number__lt=self.number
        )
        return before.select_related("content").first()

    def changes_since(self, before: "SchemaSnapshot") -> Iterator[Change]:
        """Return an iterator over the changes from another snapshot to this one."""
        if self.content_id == before.content_id:
            return iter(())
        return changes_between(before.content.keyed_lines(), self.content.keyed_lines())


def newest_first(function: models.Func) -> models.Window:
    """Return a window function over the snapshots of each data source, newest first."""
    return models.Window(function, partition_by="data_source", order_by="-number")


def store_snapshot(data_source: DataSource, content: Content) -> None:
    """Store a snapshot of a locked data source, if its tables differ from the last one.

    Otherwise update only the row estimates. Raises QuotaExceeded (see `store_content`).
    """
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
    """Return the stored content of an organization, created if missing.

    The row is locked, so that pruning cannot delete it before the transaction uses it. Raises
    QuotaExceeded if the organization has too many; those of concurrent transactions do not count.
    """
    stored, is_new = SchemaContent.objects.select_for_update(no_key=True).get_or_create(
        organization_id=organization_id,
        digest=content.digest,
        defaults={
            "table_count": content.table_count,
            "column_count": content.column_count,
            "size": content.size,
            "names": content.names,
        },
    )
    if is_new:
        SchemaBlock.objects.bulk_create(
            SchemaBlock(content=stored, number=number, data=data)
            for number, data in enumerate(content.blocks)
        )
        used = SchemaContent.bytes_by_organization(organization_id)[organization_id]
        Organization.objects.get(pk=organization_id).check_quota("schema_bytes", used)
    return stored
