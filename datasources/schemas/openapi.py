"""Descriptions of the schema endpoints for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.filters import SEARCH_MAX_LENGTH
from datasources.openapi import IF_NONE_MATCH
from datasources.schemas.lookups import TABLE_MAX_LENGTH
from datasources.schemas.serializers import (
    SchemaChangesSerializer,
    SchemaRefreshSerializer,
    SchemaSnapshotSerializer,
    SnapshotContentSerializer,
)
from rivergen.http.pagination import page_parameters

NUMBER = {"type": "integer", "format": "int64", "minimum": 1}
PAGES = tuple(OpenApiParameter(name, schema) for name, schema in page_parameters().items())
SNAPSHOT = OpenApiParameter("snapshot", NUMBER, description="Default: the last snapshot.")
TABLE = OpenApiParameter(
    "table",
    {"type": "string", "minLength": 1, "maxLength": TABLE_MAX_LENGTH, "pattern": r"\S"},
    description="Only tables with this name, or with this schema and name: `public.orders`.",
)
SEARCH = OpenApiParameter(
    "search",
    {"type": "string", "minLength": 1, "maxLength": SEARCH_MAX_LENGTH, "pattern": r"\S"},
    description="Only tables that contain each of these words in a name or comment, their own or "
    "a column's.",
)
REFRESH: dict[str, Any] = {
    "summary": "Refresh the schema",
    "response": SchemaRefreshSerializer,
    "status": 202,
    "errors": (401, 403, 404, 409, 413, 415),
    "headers": ("Location",),
}
RETRIEVE_REFRESH: dict[str, Any] = {
    "summary": "Get the last refresh of the schema",
    "response": SchemaRefreshSerializer,
    "errors": (401, 403, 404),
}
RETRIEVE: dict[str, Any] = {
    "summary": "Get the schema",
    "response": SnapshotContentSerializer,
    "errors": (401, 403, 404),
    "headers": ("ETag",),
    "parameters": (SNAPSHOT, TABLE, SEARCH, *PAGES, IF_NONE_MATCH),
    "not_modified": True,
}
SNAPSHOTS: dict[str, Any] = {
    "summary": "List the snapshots of the schema",
    "response": SchemaSnapshotSerializer,
    "many": True,
    "errors": (401, 403, 404),
}
CHANGES: dict[str, Any] = {
    "summary": "List what changed between two snapshots",
    "response": SchemaChangesSerializer,
    "errors": (401, 403, 404),
    "parameters": (
        OpenApiParameter("from", NUMBER, description="Default: the snapshot before `to`."),
        OpenApiParameter("to", NUMBER, description="Default: the last snapshot."),
        *PAGES,
    ),
}
