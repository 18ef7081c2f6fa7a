"""Descriptions of the endpoints for openapi.json: words, failures, parameters, examples.

The examples show the demo of `make run`, and what becomes of its data source 1.
"""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources import examples
from datasources.examples import CREATE_BODY, STALE, UPDATE_BODY, data_source
from datasources.serializers import (
    DataSourceMergePatchSerializer,
    DataSourceRevisionSerializer,
    DataSourceSerializer,
    DataSourceUpdateSerializer,
)
from organizations.openapi import DATA_SOURCES_QUOTA, HISTORY_QUOTA
from rivergen.http.openapi.examples import MERGE_PATCH, answer, body, page


def entity_tag_header(name: str, description: str, *, required: bool = False) -> OpenApiParameter:
    """Return the parameter for a header of entity tags."""
    return OpenApiParameter(
        name,
        {"type": "string", "format": "entity-tag"},
        OpenApiParameter.HEADER,
        required=required,
        description=description,
    )


IF_MATCH = entity_tag_header(
    "If-Match",
    'The `ETag` of the version you read, such as `"3"`. If another version is current, '
    "nothing is changed (412). Optional, unless the organization requires it (428).",
)
IF_MATCH_REQUIRED = entity_tag_header(
    "If-Match",
    'The `ETag` of the version you have looked at, such as `"3"`. If another one is '
    "current, nothing is confirmed (412). `*` is not a version (428).",
    required=True,
)
IF_MATCH_READ = entity_tag_header(
    "If-Match",
    'The `ETag` of a version, such as `"3"`. If another one is current, the answer is '
    "412, which says what changed since.",
)
ALLOW_DISJOINT = OpenApiParameter(
    "allow_disjoint",
    bool,
    description="If true, an earlier version in `If-Match` or `version` is enough, if nothing "
    "that the body names was changed since. `metadata` and `tags` count as one field each, "
    "and all fields that say where to connect as one group.",
)
IF_NONE_MATCH = entity_tag_header(
    "If-None-Match",
    "The `ETag` of an earlier response: answer 304, without a body, if it would be the same now.",
)
LIST: dict[str, Any] = {
    "summary": "List data sources",
    "description": "Return the data sources of all organizations that the caller belongs to, page "
    "by page. Any member may ask. Filters that are given together must all match.",
    "response": DataSourceSerializer,
    "many": True,
    "errors": (401, 403),
    "examples": (page([examples.CSV, data_source()], "Data sources retrieved successfully"),),
}
CREATE: dict[str, Any] = {
    "summary": "Create a data source",
    "description": "Store a new data source, and its credentials if they are given, and return the "
    "data source. Needs the role editor. Nothing connects to it: test it afterwards.",
    "response": DataSourceSerializer,
    "status": 201,
    "errors": (401, 403, 409),
    "headers": ("ETag", "Location"),
    "examples": (
        body("A PostgreSQL database", CREATE_BODY),
        body(
            "A database with its credentials",
            CREATE_BODY | {"credentials": {"username": "reader", "password": "correct horse"}},
        ),
        body("A CSV file", {"name": "Orders 2024", "type": "csv", "file_path": "demo/orders.csv"}),
        answer(
            data_source(**CREATE_BODY, id=3, description=""),
            "Data source created successfully",
            status=201,
        ),
        DATA_SOURCES_QUOTA,
        HISTORY_QUOTA,
    ),
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get a data source",
    "description": "Return one data source, with its version as `ETag`. Any member may ask.",
    "examples": (answer(data_source(), "Data source retrieved successfully"), STALE),
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 412),
    "not_modified": True,
    "headers": ("ETag",),
    "parameters": (IF_MATCH_READ, IF_NONE_MATCH),
}
UPDATE: dict[str, Any] = {
    "summary": "Update a data source",
    "description": "Change the given fields and no others, all or none, and return the whole data "
    "source. Needs the role editor. Nothing connects to the source, except with `verify`. If an "
    "editor changes where secrets would be sent, they wait for an admin to confirm them.",
    "request": {
        "application/json": DataSourceUpdateSerializer,
        MERGE_PATCH: DataSourceMergePatchSerializer,
    },
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 422, 428),
    "headers": ("ETag",),
    "parameters": (
        OpenApiParameter(
            "verify",
            bool,
            description="If true, connect with the new settings first. If that fails, nothing is "
            "stored (422). This may take 25 seconds.",
        ),
        OpenApiParameter(
            "dry_run",
            bool,
            description="If true, validate and store nothing. `data` is what would be stored, and "
            "`changes` beside it what would change.",
        ),
        ALLOW_DISJOINT,
        IF_MATCH,
    ),
    "changes": True,
    "examples": (
        body("Several fields", UPDATE_BODY),
        body(
            "The name and the pool size", {"name": "Updated PostgreSQL", "connection_pool_size": 10}
        ),
        body(
            "Merge metadata: null removes a member",
            {"metadata": {"team": "data", "cost_center": None}},
            MERGE_PATCH,
        ),
        answer(examples.UPDATED, "Data source updated successfully", changes=examples.CHANGES),
        examples.UNCONFIRMED,
        HISTORY_QUOTA,
        STALE,
        examples.CONNECTION_FAILED,
    ),
}
DESTROY: dict[str, Any] = {
    "summary": "Delete a data source",
    "description": "Delete a data source with its credentials, its schema and its history. Needs "
    "the role admin.",
    "examples": (STALE,),
    "status": 204,
    "errors": (401, 403, 404, 412, 413, 415, 428),
    "parameters": (IF_MATCH,),
}
HISTORY: dict[str, Any] = {
    "summary": "List the changes of a data source",
    "description": "Return every change since the creation, the newest first: who changed which "
    "fields, when, and from what to what. Any member may ask.",
    "examples": (page(examples.REVISIONS, "History retrieved successfully"),),
    "response": DataSourceRevisionSerializer,
    "many": True,
    "errors": (401, 403, 404),
}
RESTORE: dict[str, Any] = {
    "summary": "Restore a version",
    "changes": True,
    "operation_id": "restoreDataSource",
    "description": "Set all fields to what they were at an earlier version, as a new version, and "
    "return the data source. Needs the role admin. Credentials are not restored.",
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
    "examples": (
        answer(
            data_source(version=3, updated_at=examples.UPDATED_AT),
            "Data source restored successfully",
            changes={"port": {"from": 5433, "to": 5432}},
        ),
        examples.NOT_RESTORABLE,
        HISTORY_QUOTA,
        STALE,
    ),
}
