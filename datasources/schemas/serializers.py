"""Serializers of refreshes, snapshots, tables and changes."""

from rest_framework import serializers

from datasources.connections.failures import Code
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.catalogue import Kind
from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.snapshots.changes import ChangedObject, ChangeKind
from datasources.schemas.snapshots.models import SchemaSnapshot
from rivergen.http.serializers import OutputSerializer


class SchemaRefreshSerializer(OutputSerializer):
    """A schema refresh; fields whose values are not known yet are null."""

    data_source_id = serializers.IntegerField(read_only=True)
    requested_by_user_id = serializers.IntegerField(
        source="requested_by_id",
        read_only=True,
        allow_null=True,
        help_text="Null: started by the schedule.",
    )
    ok = serializers.BooleanField(read_only=True, allow_null=True)
    code = serializers.ChoiceField(choices=Code.choices, read_only=True, allow_null=True)
    message = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = SchemaRefresh
        fields = (
            "refresh_id",
            "data_source_id",
            "requested_at",
            "requested_by_user_id",
            "finished_at",
            "ok",
            "code",
            "message",
            "tables_read",
            "tables_total",
        )
        read_only_fields = fields


class SchemaSnapshotSerializer(OutputSerializer):
    """A snapshot: the schema as read at `read_at`, unchanged until the next snapshot."""

    snapshot = serializers.IntegerField(
        source="number", help_text="Counts the snapshots of the data source, from 1."
    )
    digest = serializers.CharField(
        source="content.digest", help_text="SHA-256 of the tables: equal for equal schemas."
    )
    table_count = serializers.IntegerField(source="content.table_count")
    column_count = serializers.IntegerField(source="content.column_count")

    class Meta:
        model = SchemaSnapshot
        fields: tuple[str, ...] = ("snapshot", "read_at", "digest", "table_count", "column_count")
        read_only_fields = fields


class ColumnSerializer(serializers.Serializer):
    """A column of a table, or a field of the documents of a collection."""

    name = serializers.CharField()
    type = serializers.CharField(help_text="As the source spells it.")
    common_type = serializers.ChoiceField(choices=CommonType.choices)
    nullable = serializers.BooleanField()
    has_default = serializers.BooleanField()
    comment = serializers.CharField(allow_null=True)


class PrimaryKeySerializer(serializers.Serializer):
    """A primary key, its columns in the order of the key."""

    name = serializers.CharField(allow_null=True)
    columns = serializers.ListField(child=serializers.CharField())


class ForeignKeySerializer(serializers.Serializer):
    """A foreign key."""

    name = serializers.CharField(allow_null=True)
    columns = serializers.ListField(child=serializers.CharField())
    referred_schema = serializers.CharField(allow_null=True)
    referred_table = serializers.CharField()
    referred_columns = serializers.ListField(child=serializers.CharField())


class IndexSerializer(serializers.Serializer):
    """An index other than the primary key's."""

    name = serializers.CharField()
    columns = serializers.ListField(
        child=serializers.CharField(),
        help_text="Column names, or expressions as the source spells them.",
    )
    is_unique = serializers.BooleanField()


class TableSerializer(serializers.Serializer):
    """A table, view, collection or file."""

    schema = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    comment = serializers.CharField(allow_null=True)
    columns = ColumnSerializer(many=True)
    primary_key = PrimaryKeySerializer(allow_null=True)
    foreign_keys = ForeignKeySerializer(many=True)
    indexes = IndexSerializer(many=True)
    row_estimate = serializers.IntegerField(
        allow_null=True, help_text="From the source's own statistics, at the last refresh."
    )


class SchemaSummarySerializer(serializers.Serializer):
    """A schema in a snapshot, with the number of its tables."""

    name = serializers.CharField()
    table_count = serializers.IntegerField()


class SnapshotContentSerializer(SchemaSnapshotSerializer):
    """A snapshot with a page of its tables, sorted by schema and name."""

    is_paged = True

    schemas = SchemaSummarySerializer(many=True, source="content.schemas")
    tables = TableSerializer(many=True)

    class Meta(SchemaSnapshotSerializer.Meta):
        fields = (*SchemaSnapshotSerializer.Meta.fields, "schemas", "tables")
        read_only_fields = fields


class SchemaChangeSerializer(serializers.Serializer):
    """A change; `from` and `to` hold the properties that differ, or all if added or removed."""

    change = serializers.ChoiceField(choices=ChangeKind.choices)
    object = serializers.ChoiceField(choices=ChangedObject.choices)
    schema = serializers.CharField()
    table = serializers.CharField()
    name = serializers.CharField(allow_null=True, help_text="Null: the table itself.")
    to = serializers.DictField(allow_null=True)
    breaks_readers = serializers.BooleanField(
        help_text="Whether a query that ran before may fail, or meet values of a new kind."
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        return {**super().get_fields(), "from": serializers.DictField(allow_null=True)}


class SchemaChangesSummarySerializer(serializers.Serializer):
    """The number of changes on all pages together."""

    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    changed = serializers.IntegerField()
    breaks_readers = serializers.IntegerField()


class SchemaChangesSerializer(serializers.Serializer):
    """What changed from one snapshot to another, sorted by schema and table."""

    is_paged = True

    to = SchemaSnapshotSerializer()
    summary = SchemaChangesSummarySerializer()
    changes = SchemaChangeSerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        before = SchemaSnapshotSerializer(
            allow_null=True, help_text="Null: no earlier snapshot is kept."
        )
        return {"from": before, **super().get_fields()}
