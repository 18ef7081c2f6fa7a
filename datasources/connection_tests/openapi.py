"""Descriptions of the connection test endpoints for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.connection_tests.serializers import (
    ConnectionTestSerializer,
    DataSourceTypeInfoSerializer,
    DraftSerializer,
    HostKeyConfirmationSerializer,
)
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS
from datasources.openapi import IF_MATCH
from datasources.serializers import DataSourceSerializer

WAIT = OpenApiParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_SECONDS},
    description="Seconds to wait for the result: 200 if the test finishes in time, else 202.",
)
TEST: dict[str, Any] = {
    "summary": "Test a data source",
    "response": ConnectionTestSerializer,
    "status": 202,
    "ok": True,
    "errors": (401, 403, 404, 409, 413, 415),
    "headers": ("Location",),
    "parameters": (WAIT,),
}
TEST_DRAFT: dict[str, Any] = {
    **TEST,
    "summary": "Test a configuration",
    "operation_id": "testDraft",
    "request": DraftSerializer,
    "errors": (401, 403, 404, 409),
}
RESULT: dict[str, Any] = {
    "summary": "Get a connection test",
    "response": ConnectionTestSerializer,
    "errors": (401, 403, 404),
}
CONFIRM_HOST_KEY: dict[str, Any] = {
    "summary": "Confirm the SSH host key",
    "changes": True,
    "request": HostKeyConfirmationSerializer,
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
}
TYPES: dict[str, Any] = {
    "summary": "List the types of data sources",
    "response": DataSourceTypeInfoSerializer,
    "many": True,
    "errors": (401, 403),
}
