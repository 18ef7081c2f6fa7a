"""Description of the endpoint for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.declarations.serializers import DeclarationsSerializer, PlanSerializer
from organizations.openapi import DATA_SOURCES_QUOTA, HISTORY_QUOTA

BOOLEAN = {"type": "boolean", "default": False}
APPLY: dict[str, Any] = {
    "summary": "Apply declarations",
    "operation_id": "applyDeclarations",
    "request": {"application/json": DeclarationsSerializer},
    "response": PlanSerializer,
    "errors": (401, 403, 404, 409),
    "examples": (DATA_SOURCES_QUOTA, HISTORY_QUOTA),
    "parameters": (
        OpenApiParameter(
            "dry_run", BOOLEAN, description="Return the plan without storing anything."
        ),
        OpenApiParameter(
            "prune", BOOLEAN, description="Delete data sources that are not declared (admin)."
        ),
    ),
}
