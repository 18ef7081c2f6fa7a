"""Errors of schemas that cannot be shown."""

from rivergen.errors import Gone


class SchemaNotRead(Gone):
    """The schema of the data source has not been read yet."""

    code = "SCHEMA_NOT_READ"
    message = "The schema has not been read yet. Refresh it first."


class SnapshotGone(Gone):
    """The data source has no such snapshot, or it was pruned."""

    code = "SNAPSHOT_NOT_FOUND"
    message = "There is no such snapshot. The list of snapshots shows those that are kept."
