"""Descriptions of the endpoints for openapi.json: failures, headers, parameters, examples."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from datasources.serializers import (
    DataSourceMergePatchSerializer,
    DataSourceRevisionSerializer,
    DataSourceSerializer,
    DataSourceUpdateSerializer,
)
from organizations.openapi import DATA_SOURCES_QUOTA, HISTORY_QUOTA

IF_MATCH = OpenApiParameter(
    "If-Match",
    {"type": "string", "format": "entity-tag"},
    OpenApiParameter.HEADER,
    description='`"<version>"`: change only this version; 412 if another one is current. If the '
    "organization requires `If-Match`, a request without a version, or with `*`, is 428.",
)
IF_MATCH_REQUIRED = OpenApiParameter(
    "If-Match",
    {"type": "string", "format": "entity-tag"},
    OpenApiParameter.HEADER,
    required=True,
    description='`"<version>"`: the version you have looked at; 412 if another one is current, 428 '
    "without a version, or with `*`.",
)
IF_MATCH_READ = OpenApiParameter(
    "If-Match",
    {"type": "string", "format": "entity-tag"},
    OpenApiParameter.HEADER,
    description='The `ETag` of a version, such as `"3"`. If another one is current, the answer is '
    "412, which says what changed since.",
)
ALLOW_DISJOINT = OpenApiParameter(
    "allow_disjoint",
    bool,
    description="If true, an earlier version in `If-Match` or `version` will do, as long as "
    "nothing that the body names was changed since. `metadata` and `tags` count as one field each, "
    "and all fields that say where to connect as one group.",
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    {"type": "string", "format": "entity-tag"},
    OpenApiParameter.HEADER,
    description="The `ETag` of an earlier response: answer 304, without a body, if it would be the "
    "same now.",
)
LIST: dict[str, Any] = {
    "summary": "List data sources",
    "response": DataSourceSerializer,
    "many": True,
    "errors": (401, 403),
}
CREATE: dict[str, Any] = {
    "summary": "Create a data source",
    "response": DataSourceSerializer,
    "status": 201,
    "errors": (401, 403, 409),
    "headers": ("ETag", "Location"),
    "examples": (
        OpenApiExample(
            "A PostgreSQL database",
            {
                "name": "Production PostgreSQL",
                "type": "postgresql",
                "host": "db.example.com",
                "database_name": "production",
                "schema_name": "public",
                "tags": ["production"],
            },
            request_only=True,
        ),
        DATA_SOURCES_QUOTA,
    ),
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get a data source",
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 412),
    "not_modified": True,
    "headers": ("ETag",),
    "parameters": (IF_MATCH_READ, IF_NONE_MATCH),
}
UPDATE: dict[str, Any] = {
    "summary": "Update a data source",
    "request": {
        "application/json": DataSourceUpdateSerializer,
        "application/merge-patch+json": DataSourceMergePatchSerializer,
    },
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 422, 428),
    "headers": ("ETag",),
    "parameters": (
        OpenApiParameter(
            "verify",
            bool,
            description="Connect with the new settings first. If that fails, nothing is stored: "
            "422.",
        ),
        OpenApiParameter(
            "dry_run",
            bool,
            description="Validate and store nothing. `data` is what would be stored; beside it, "
            '`"changes": {field: {"from", "to"}}` has what would change.',
        ),
        ALLOW_DISJOINT,
        IF_MATCH,
    ),
    "changes": True,
    "examples": (
        OpenApiExample(
            "The name and the pool size",
            {"name": "Updated PostgreSQL", "connection_pool_size": 10},
            request_only=True,
        ),
        HISTORY_QUOTA,
    ),
}
DESTROY: dict[str, Any] = {
    "summary": "Delete a data source",
    "status": 204,
    "errors": (401, 403, 404, 412, 413, 415, 428),
    "parameters": (IF_MATCH,),
}
HISTORY: dict[str, Any] = {
    "summary": "List the changes of a data source",
    "response": DataSourceRevisionSerializer,
    "many": True,
    "errors": (401, 403, 404),
}
RESTORE: dict[str, Any] = {
    "summary": "Restore a version",
    "changes": True,
    "operation_id": "restoreDataSource",
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
    "examples": (HISTORY_QUOTA,),
}
