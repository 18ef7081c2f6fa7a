"""Why there is no schema to show."""

from rest_framework.exceptions import NotFound


class SchemaNotRead(NotFound):
    """The schema of the data source has not been read yet."""

    error_code = "SCHEMA_NOT_READ"

    def __init__(self, data_source_id: int) -> None:
        super().__init__(
            "The schema has not been read yet. Read it: "
            f"POST /api/v1/data-sources/{data_source_id}/schema/refresh."
        )


class SnapshotGone(NotFound):
    """The data source has no such snapshot, or not any more."""

    error_code = "SNAPSHOT_NOT_FOUND"
    default_detail = "There is no such snapshot. GET …/schema/snapshots lists those that are kept."
