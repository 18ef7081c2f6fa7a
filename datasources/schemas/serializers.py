"""Serializers of refreshes, snapshots, tables and changes."""

from rest_framework import serializers

from datasources.connection_tests.serializers import (
    ConnectionTestWarningSerializer,
    FailureDetailsSerializer,
)
from datasources.connections.failures import Code
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.catalogue import Action, Kind
from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.snapshots.changes import ChangedObject, ChangeKind
from datasources.schemas.snapshots.models import SchemaSnapshot
from rivergen.http.serializers import OutputSerializer


class SchemaRefreshSerializer(OutputSerializer):
    """A schema refresh. What is not known yet is null."""

    data_source_id = serializers.IntegerField(
        read_only=True, help_text="The data source whose schema is read."
    )
    requested_by_user_id = serializers.IntegerField(
        source="requested_by_id",
        read_only=True,
        allow_null=True,
        help_text="The user who asked for it. Null: the schedule did.",
    )
    ok = serializers.BooleanField(
        read_only=True, allow_null=True, help_text="Whether the schema was read."
    )
    code = serializers.ChoiceField(
        choices=Code.choices,
        read_only=True,
        allow_null=True,
        help_text="The result, for programs.",
    )
    message = serializers.CharField(
        read_only=True, allow_null=True, help_text="What the code means, and what to do."
    )
    details = FailureDetailsSerializer(
        read_only=True, help_text="What the code is about, for programs."
    )
    warnings = ConnectionTestWarningSerializer(
        source="explained_warnings",
        many=True,
        read_only=True,
        help_text="What the connection did not protect, and what is a guess about a file.",
    )

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
            "details",
            "warnings",
            "tables_read",
            "tables_total",
        )
        read_only_fields = fields


class SchemaSnapshotSerializer(OutputSerializer):
    """A snapshot: the schema from `read_at` until the next snapshot."""

    snapshot = serializers.IntegerField(
        source="number", help_text="Counts the snapshots of this data source, from 1."
    )
    digest = serializers.CharField(
        source="content.digest", help_text="SHA-256 of the tables: the same for equal schemas."
    )
    table_count = serializers.IntegerField(
        source="content.table_count", help_text="The tables of all schemas together."
    )
    column_count = serializers.IntegerField(
        source="content.column_count", help_text="The columns of all tables together."
    )

    class Meta:
        model = SchemaSnapshot
        fields: tuple[str, ...] = ("snapshot", "read_at", "digest", "table_count", "column_count")
        read_only_fields = fields


class ColumnSerializer(serializers.Serializer):
    """A column of a table, or a field of the documents of a collection."""

    name = serializers.CharField(help_text="The name of the column.")
    type = serializers.CharField(help_text="The type as the source spells it.")
    common_type = serializers.ChoiceField(
        choices=CommonType.choices, help_text="The type in words that all sources share."
    )
    nullable = serializers.BooleanField(help_text="Whether values may be null.")
    has_default = serializers.BooleanField(help_text="Whether the source fills in a value.")
    default_value = serializers.CharField(
        allow_null=True,
        help_text="The value that the source fills in, as it spells it; also `GENERATED …`. Null: "
        "there is none, or the source does not say.",
    )
    comment = serializers.CharField(allow_null=True, help_text="The comment in the source, if any.")


class PrimaryKeySerializer(serializers.Serializer):
    """The primary key of a table."""

    name = serializers.CharField(allow_null=True, help_text="Null if the source names none.")
    columns = serializers.ListField(
        child=serializers.CharField(), help_text="Column names, in the order of the key."
    )
    options = serializers.CharField(
        allow_null=True,
        help_text="Other clauses of its definition, as the source spells them, such as "
        "`DEFERRABLE`. Null: there are none.",
    )


class ForeignKeySerializer(serializers.Serializer):
    """A foreign key: columns that refer to those of another table."""

    name = serializers.CharField(allow_null=True, help_text="Null if the source names none.")
    columns = serializers.ListField(
        child=serializers.CharField(), help_text="Column names of this table."
    )
    referred_schema = serializers.CharField(
        allow_null=True, help_text="The schema of the other table. Null: the same schema."
    )
    referred_table = serializers.CharField(help_text="The name of the other table.")
    referred_columns = serializers.ListField(
        child=serializers.CharField(),
        help_text="Column names of the other table, in the order of `columns`.",
    )
    on_update = serializers.ChoiceField(
        choices=Action.choices,
        allow_null=True,
        help_text="What happens when the referred row changes. Null: the source does not say.",
    )
    on_delete = serializers.ChoiceField(
        choices=Action.choices,
        allow_null=True,
        help_text="What happens when the referred row is deleted. Null: the source does not say.",
    )
    options = serializers.CharField(
        allow_null=True,
        help_text="Other clauses of its definition, as the source spells them, such as "
        "`MATCH FULL`. Null: there are none.",
    )


class TableIndexSerializer(serializers.Serializer):
    """An index other than the primary key's."""

    name = serializers.CharField(help_text="The name of the index.")
    columns = serializers.ListField(
        child=serializers.CharField(),
        help_text="Column names, or expressions as the source spells them.",
    )
    column_options = serializers.ListField(
        child=serializers.CharField(allow_blank=True),
        help_text="What the definition adds to each of `columns`, as the source spells it, such as "
        "`DESC` or the length of a prefix. Empty: nothing.",
    )
    is_unique = serializers.BooleanField(
        help_text="Whether no two rows of the index may have the same values."
    )
    method = serializers.CharField(
        allow_null=True,
        help_text="The kind of the index in the source's words, such as `btree`. Null: the source "
        "has one kind only.",
    )
    included_columns = serializers.ListField(
        child=serializers.CharField(),
        help_text="Columns that are stored in the index, but are no part of its key.",
    )
    predicate = serializers.CharField(
        allow_null=True,
        help_text="The condition that a row meets to be in the index, as the source spells it. "
        "Null: all rows are.",
    )
    options = serializers.CharField(
        allow_null=True,
        help_text="Other clauses of its definition, as the source spells them, such as "
        "`NULLS NOT DISTINCT`. Null: there are none.",
    )


class TableSerializer(serializers.Serializer):
    """A table, view, collection or file."""

    schema = serializers.CharField(help_text="The name of its schema.")
    name = serializers.CharField(help_text="The name of the table.")
    kind = serializers.ChoiceField(choices=Kind.choices, help_text="What it is in the source.")
    comment = serializers.CharField(allow_null=True, help_text="The comment in the source, if any.")
    columns = ColumnSerializer(many=True, help_text="The columns, in the order of the source.")
    primary_key = PrimaryKeySerializer(allow_null=True, help_text="Null if there is none.")
    foreign_keys = ForeignKeySerializer(many=True, help_text="References to other tables.")
    indexes = TableIndexSerializer(many=True, help_text="All indexes but that of the primary key.")
    problem = serializers.CharField(
        allow_null=True,
        help_text="Why the columns could not be read, in a sentence. Null: they were read.",
    )
    row_estimate = serializers.IntegerField(
        allow_null=True,
        help_text="The number of rows by the source's own statistics, at the last refresh.",
    )


class SchemaSummarySerializer(serializers.Serializer):
    """A schema in a snapshot, with the number of its tables."""

    name = serializers.CharField(help_text="The name of the schema.")
    table_count = serializers.IntegerField(help_text="How many tables it has.")


class SnapshotContentSerializer(SchemaSnapshotSerializer):
    """A snapshot with a page of its tables, sorted by schema and name."""

    is_paged = True

    schemas = SchemaSummarySerializer(
        many=True, source="content.schemas", help_text="All schemas of the snapshot."
    )
    tables = TableSerializer(many=True, help_text="The tables of this page.")

    class Meta(SchemaSnapshotSerializer.Meta):
        fields = (*SchemaSnapshotSerializer.Meta.fields, "schemas", "tables")
        read_only_fields = fields


class SchemaChangeSerializer(serializers.Serializer):
    """One change of a table, column, key or index."""

    change = serializers.ChoiceField(choices=ChangeKind.choices, help_text="What happened to it.")
    object = serializers.ChoiceField(choices=ChangedObject.choices, help_text="What changed.")
    schema = serializers.CharField(help_text="The schema of the table.")
    table = serializers.CharField(help_text="The table that changed, or that it belongs to.")
    name = serializers.CharField(
        allow_null=True, help_text="The name of the column, key or index. Null: the table itself."
    )
    to = serializers.DictField(
        allow_null=True,
        help_text="The properties that differ, as they are now; all of what was added. Null: it "
        "was removed.",
    )
    breaks_readers = serializers.BooleanField(
        help_text="Whether a query that ran before may fail, or meet values of a new kind."
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        before = serializers.DictField(
            allow_null=True,
            help_text="The properties that differ, as they were; all of what was removed. Null: it "
            "was added.",
        )
        return {**super().get_fields(), "from": before}


class SchemaChangesSummarySerializer(serializers.Serializer):
    """The number of changes on all pages together."""

    added = serializers.IntegerField(help_text="How many tables, columns and so on were added.")
    removed = serializers.IntegerField(help_text="How many were removed.")
    changed = serializers.IntegerField(help_text="How many were changed.")
    breaks_readers = serializers.IntegerField(help_text="How many of all these break readers.")


class SchemaChangesSerializer(serializers.Serializer):
    """What changed from one snapshot to another."""

    is_paged = True

    to = SchemaSnapshotSerializer(help_text="The later snapshot.")
    summary = SchemaChangesSummarySerializer(
        help_text="The number of changes on all pages together."
    )
    changes = SchemaChangeSerializer(
        many=True, help_text="The changes of this page, sorted by schema and table."
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        before = SchemaSnapshotSerializer(
            allow_null=True, help_text="The earlier snapshot. Null: none is kept."
        )
        return {"from": before, **super().get_fields()}
