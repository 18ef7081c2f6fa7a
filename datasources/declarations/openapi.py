"""Description of the endpoint for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.declarations.serializers import DeclarationsSerializer, PlanSerializer
from organizations.openapi import DATA_SOURCES_QUOTA, HISTORY_QUOTA
from rivergen.http.openapi.examples import answer, body

BOOLEAN = {"type": "boolean", "default": False}
APPLY: dict[str, Any] = {
    "summary": "Apply declarations",
    "description": "Create and change the declared data sources in one transaction, and return the "
    "steps. Needs the role editor; with `prune` or with secrets, the role admin. Up to 500 data "
    "sources. The body may also be YAML (`application/yaml`); errors in it name their lines.",
    "operation_id": "applyDeclarations",
    "request": {"application/json": DeclarationsSerializer},
    "response": PlanSerializer,
    "errors": (401, 403, 404, 409),
    "examples": (
        body(
            "New tags",
            {
                "organization": "demo-acme",
                "data_sources": [{"name": "Orders CSV", "tags": ["demo", "finance"]}],
            },
        ),
        answer(
            {
                "steps": [
                    {
                        "action": "change",
                        "workspace": "Default",
                        "name": "Orders CSV",
                        "type": "csv",
                        "changes": {"tags": {"from": ["demo"], "to": ["demo", "finance"]}},
                    }
                ],
                "summary": {"create": 0, "change": 1, "delete": 0, "keep": 0},
            },
            "Applied",
        ),
        DATA_SOURCES_QUOTA,
        HISTORY_QUOTA,
    ),
    "parameters": (
        OpenApiParameter(
            "dry_run", BOOLEAN, description="If true, return the steps and store nothing."
        ),
        OpenApiParameter(
            "prune",
            BOOLEAN,
            description="If true, also delete what is not declared. Needs the role admin.",
        ),
    ),
}
