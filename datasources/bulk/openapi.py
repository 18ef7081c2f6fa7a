"""Description of the endpoint for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from datasources.bulk.exceptions import NotApplied, SomeFailed
from datasources.bulk.serializers import (
    DataSourcesMergePatchSerializer,
    DataSourcesUpdateSerializer,
    UpdateResultSerializer,
    UpdatesFailedResponseSerializer,
)
from datasources.examples import CSV, STALE, UPDATED_AT, data_source
from rivergen.http.openapi.examples import MERGE_PATCH, answer, body, failure
from rivergen.http.serializers import utc_text

SLOWER = {"connection_timeout": 60}
TAGGED = {"tags": ["demo", "finance"]}
RESULTS = [
    {
        "id": 1,
        "status": 200,
        "data": data_source(**SLOWER, version=2, updated_at=UPDATED_AT),
        "changes": {"connection_timeout": {"from": 30, "to": 60}},
    },
    {
        "id": 2,
        "status": 200,
        "data": CSV | TAGGED | {"version": 2, "updated_at": utc_text(UPDATED_AT)},
        "changes": {"tags": {"from": ["demo"], "to": ["demo", "finance"]}},
    },
]
FAILED = [
    {"id": 1, "status": 412, "error": STALE.value["error"]},
    {"id": 2, "status": 424, "error": failure("", NotApplied()).value["error"]},
]
UPDATE_MANY: dict[str, Any] = {
    "summary": "Update many data sources",
    "description": "Change the given fields of up to 200 data sources, and return a result for "
    "each, in their order. Needs the role editor for each. All or none are stored; with "
    "`atomic=false` each that is valid. It costs much less than as many requests.",
    "operation_id": "updateDataSources",
    "request": {
        "application/json": DataSourcesUpdateSerializer,
        MERGE_PATCH: DataSourcesMergePatchSerializer,
    },
    "response": UpdateResultSerializer,
    "many": True,
    "errors": (401, 403, 409),
    "failures": {409: UpdatesFailedResponseSerializer},
    "parameters": (
        OpenApiParameter(
            "atomic",
            {"type": "boolean", "default": True},
            description="If true, all updates are stored or none is (409). If false, each that is "
            "valid is stored, and the answer is 200 with a `status` for each.",
        ),
        OpenApiParameter(
            "dry_run",
            bool,
            description="If true, validate and store nothing. The results say what each update "
            "would lead to.",
        ),
    ),
    "examples": (
        body("Two data sources", {"updates": [{"id": 1} | SLOWER, {"id": 2} | TAGGED]}),
        body(
            "Only if each has this version",
            {"updates": [{"id": 1, "if_match": '"1"'} | SLOWER]},
        ),
        answer(RESULTS, "2 of 2 data sources updated successfully"),
        failure("One has another version", SomeFailed(FAILED)),
    ),
}
