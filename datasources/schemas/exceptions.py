"""Errors of schemas that cannot be shown."""

from rest_framework.exceptions import NotFound


class SchemaNotRead(NotFound):
    """The schema of the data source has not been read yet."""

    error_code = "SCHEMA_NOT_READ"
    default_detail = "The schema has not been read yet. Refresh it first."


class SnapshotGone(NotFound):
    """The data source has no such snapshot: it never existed, or was pruned."""

    error_code = "SNAPSHOT_NOT_FOUND"
    default_detail = "There is no such snapshot. The list of snapshots shows those that are kept."
