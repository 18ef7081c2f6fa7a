"""Descriptions of the schema endpoints for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.connections.failures import Code
from datasources.connections.protection import WarningCode, explain_warnings
from datasources.examples import UNCONFIRMED
from datasources.filters import SEARCH_MAX_LENGTH
from datasources.openapi import entity_tag_header
from datasources.schemas.exceptions import SchemaNotRead, SnapshotGone
from datasources.schemas.lookups import TABLE_MAX_LENGTH
from datasources.schemas.serializers import (
    SchemaChangesSerializer,
    SchemaRefreshSerializer,
    SchemaSnapshotSerializer,
    SnapshotContentSerializer,
)
from rivergen.http.openapi.examples import PAGE_OF_ALL, answer, failure, page
from rivergen.http.pagination import PAGE_WORDS, page_parameters

NUMBER = {"type": "integer", "format": "int64", "minimum": 1}
PAGES = tuple(
    OpenApiParameter(name, schema, description=PAGE_WORDS[name])
    for name, schema in page_parameters().items()
)
SNAPSHOT = OpenApiParameter(
    "snapshot", NUMBER, description="The number of a snapshot. Default: the last one."
)
IF_NONE_MATCH = entity_tag_header(
    "If-None-Match",
    "The `ETag` of what you have. If it is still current, the answer is 304 without a body.",
)
TABLE = OpenApiParameter(
    "table",
    {"type": "string", "minLength": 1, "maxLength": TABLE_MAX_LENGTH, "pattern": r"\S"},
    description="Only tables with this name, or with this schema and name, as in `public.orders`.",
)
SEARCH = OpenApiParameter(
    "search",
    {"type": "string", "minLength": 1, "maxLength": SEARCH_MAX_LENGTH, "pattern": r"\S"},
    description="Only tables that contain each of these words in a name or comment, their own or "
    "a column's.",
)
# The CSV file of the demo, after its column `shipped` was added.
DIGEST = "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"
AFTER = {
    "snapshot": 2,
    "read_at": "2024-12-01T11:00:02.530406Z",
    "digest": DIGEST,
    "table_count": 1,
    "column_count": 2,
}
BEFORE = AFTER | {
    "snapshot": 1,
    "read_at": "2024-12-01T10:00:02.104233Z",
    "digest": DIGEST[::-1],
    "column_count": 1,
}
ORDER_ID = {
    "name": "order_id",
    "type": "BIGINT",
    "common_type": "integer",
    "nullable": True,
    "has_default": False,
    "default_value": None,
    "comment": None,
}
SHIPPED = ORDER_ID | {"name": "shipped", "type": "BOOLEAN", "common_type": "boolean"}
CONTENT = AFTER | {
    "schemas": [{"name": "main", "table_count": 1}],
    "tables": [
        {
            "schema": "main",
            "name": "data",
            "kind": "file",
            "comment": None,
            "columns": [ORDER_ID, SHIPPED],
            "primary_key": None,
            "foreign_keys": [],
            "indexes": [],
            "problem": None,
            "row_estimate": None,
        }
    ],
}
ADDED = {
    "change": "added",
    "object": "column",
    "schema": "main",
    "table": "data",
    "name": "shipped",
    "from": None,
    "to": SHIPPED,
    "breaks_readers": False,
}
RUNNING: dict[str, Any] = {
    "refresh_id": "0b9ad8a4-2f0e-4c38-8f0a-0d3c1c9b5f6e",
    "data_source_id": 1,
    "requested_at": "2024-12-01T11:00:00.303209Z",
    "requested_by_user_id": 1,
    **dict.fromkeys(("finished_at", "ok", "code", "message", "tables_read", "tables_total")),
    "details": {},
    "warnings": [],
}
REFRESH: dict[str, Any] = {
    "summary": "Refresh the schema",
    "description": "Start to read the tables and columns of the data source, as a worker's job, "
    "and return the refresh, or the one that is already running. Needs the role editor. All tests "
    "and schema refreshes of an organization share a rate limit (429).",
    "examples": (answer(RUNNING, "The schema is being refreshed", status=202), UNCONFIRMED),
    "response": SchemaRefreshSerializer,
    "status": 202,
    "errors": (401, 403, 404, 409, 413, 415),
    "headers": ("Location",),
}
RETRIEVE_REFRESH: dict[str, Any] = {
    "summary": "Get the last refresh of the schema",
    "description": "Return the last refresh, with its progress while it is running, and its result "
    "once it has ended. Any member may ask.",
    "examples": (
        answer(
            RUNNING
            | {"finished_at": "2024-12-01T11:00:02.530406Z", "ok": True, "code": Code.OK}
            | {"message": Code.OK.label, "tables_read": 1, "tables_total": 1}
            | {"warnings": explain_warnings([WarningCode.ENCODING_GUESSED])},
            "The last refresh was retrieved successfully",
        ),
    ),
    "response": SchemaRefreshSerializer,
    "errors": (401, 403, 404),
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get the schema",
    "description": "Return the tables and columns of a snapshot, page by page. Any member may ask. "
    "Nothing connects to the source: this is what the last refresh found.",
    "examples": (
        answer(CONTENT, "Schema retrieved successfully", pagination=PAGE_OF_ALL),
        failure("No refresh yet", SchemaNotRead()),
        failure("No such snapshot", SnapshotGone()),
    ),
    "response": SnapshotContentSerializer,
    "errors": (401, 403, 404),
    "headers": ("ETag",),
    "parameters": (SNAPSHOT, TABLE, SEARCH, *PAGES, IF_NONE_MATCH),
    "not_modified": True,
}
SNAPSHOTS: dict[str, Any] = {
    "summary": "List the snapshots of the schema",
    "description": "Return the snapshots that are kept, the newest first. A refresh that finds no "
    "change adds none. Any member may ask.",
    "examples": (page([AFTER, BEFORE], "Snapshots retrieved successfully"),),
    "response": SchemaSnapshotSerializer,
    "many": True,
    "errors": (401, 403, 404),
}
CHANGES: dict[str, Any] = {
    "summary": "List what changed between two snapshots",
    "description": "Return the tables, columns, keys and indexes that were added, removed or "
    "changed, page by page. Any member may ask.",
    "examples": (
        answer(
            {
                "from": BEFORE,
                "to": AFTER,
                "summary": {"added": 1, "removed": 0, "changed": 0, "breaks_readers": 0},
                "changes": [ADDED],
            },
            "Schema changes retrieved successfully",
            pagination=PAGE_OF_ALL,
        ),
        failure("No refresh yet", SchemaNotRead()),
        failure("No such snapshot", SnapshotGone()),
    ),
    "response": SchemaChangesSerializer,
    "errors": (401, 403, 404),
    "parameters": (
        OpenApiParameter(
            "from",
            NUMBER,
            description="The number of the earlier snapshot. Default: the one before `to`.",
        ),
        OpenApiParameter(
            "to", NUMBER, description="The number of the later snapshot. Default: the last one."
        ),
        *PAGES,
    ),
}
