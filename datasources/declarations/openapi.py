"""How the endpoint is described in openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.declarations.serializers import DeclarationsSerializer, PlanSerializer

BOOLEAN = {"type": "boolean", "default": False}
APPLY: dict[str, Any] = {
    "summary": "Apply declarations",
    "operation_id": "data_sources_apply",
    "request": {"application/json": DeclarationsSerializer},
    "response": PlanSerializer,
    "errors": (401, 403, 404),
    "parameters": (
        OpenApiParameter("dry_run", BOOLEAN, description="Say what would be done; store nothing."),
        OpenApiParameter("prune", BOOLEAN, description="Delete what is not declared (admin)."),
    ),
}
