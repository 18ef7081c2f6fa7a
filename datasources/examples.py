"""Examples of data sources for openapi.json: the demo of `make run`, and what becomes of it."""

from datetime import UTC, datetime
from typing import Any

from datasources.connections.failures import Code
from datasources.models import NAME_TAKEN, DataSource
from datasources.models.exceptions import RestoreImpossible
from datasources.serializers import DataSourceSerializer
from organizations.openapi import CREATED_AT
from rivergen.http.exceptions import PreconditionFailed
from rivergen.http.openapi.examples import REQUEST_ID, described_failure, failure

UPDATED_AT = datetime(2024, 12, 1, 11, tzinfo=UTC)
UNCONFIRMED = described_failure(
    "Secrets to confirm",
    409,
    "The destination was changed. Enter password again, or ask an admin to confirm the "
    "credentials.",
    "CREDENTIALS_UNCONFIRMED",
)


def data_source(**values: Any) -> Any:
    """Return data source 1 of the demo as the API shows it, with some other values."""
    demo: dict[str, Any] = {
        "id": 1,
        "organization_id": 1,
        "workspace_id": 1,
        "name": "Production PostgreSQL",
        "type": "postgresql",
        "description": "The orders database",
        "host": "db.example.com",
        "port": 5432,
        "database_name": "production",
        "schema_name": "public",
        "tags": ["production"],
        "created_by_id": 1,
        "updated_by_id": 1,
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT,
    }
    return DataSourceSerializer(DataSource(**{**demo, **values})).data


# The example of the document "Update Data Source", to the letter.
UPDATE_BODY = {
    "name": "Updated PostgreSQL",
    "description": "Updated description",
    "host": "newhost.example.com",
    "port": 5433,
    "connection_pool_size": 10,
    "connection_timeout": 60,
    "tags": ["updated", "production"],
}
UPDATED = data_source(**UPDATE_BODY, version=2, updated_at=UPDATED_AT)
CHANGES = {
    name: {"from": value, "to": UPDATED[name]}
    for name, value in data_source().items()
    if name in UPDATE_BODY
}
CONFLICT = {
    "version": 2,
    "changed_since": [
        {
            "version": 2,
            "changed_at": UPDATED["updated_at"],
            "changed_by_user_id": 1,
            "origin": "api",
            "fields": sorted(UPDATE_BODY),
        }
    ],
    "overlapping": ["port"],
}
STALE = failure(
    "Another version",
    PreconditionFailed('Version 2 is current; If-Match named "1".', '"2"', CONFLICT),
)
CSV = data_source(
    **{"id": 2, "name": "Orders CSV", "type": "csv", "description": "A file in the demo storage"},
    **{"host": None, "port": None, "database_name": None, "schema_name": None},
    **{"file_path": "demo/orders.csv", "tags": ["demo"]},
)
CREATE_BODY = {
    "name": "Analytics warehouse",
    "type": "postgresql",
    "host": "warehouse.example.com",
    "database_name": "analytics",
    "schema_name": "public",
    "tags": ["analytics"],
}
REVISIONS = [
    {
        "version": 2,
        "changed_at": UPDATED["updated_at"],
        "changed_by_user_id": 1,
        "origin": "api",
        "request_id": REQUEST_ID,
        "changes": {
            "name": {"from": "Production PostgreSQL", "to": "Updated PostgreSQL"},
            "connection_pool_size": {"from": 5, "to": 10},
        },
    }
]
NOT_RESTORABLE = failure(
    "The name is taken", RestoreImpossible(f"Version 1 cannot be restored: {NAME_TAKEN}")
)
TEST_ID = "badd7a68-f6c8-4423-9c13-4aa80cf1099d"
CONNECTION_FAILED = described_failure(
    "The new settings do not connect",
    422,
    f"Nothing was saved: the new settings do not connect. {Code.TCP_REFUSED.label}",
    "CONNECTION_FAILED",
    {
        "code": [Code.TCP_REFUSED],
        "stages": ["dns: passed after 2.1 ms", "tcp: failed after 701.9 ms"],
        "test_id": [TEST_ID],
    },
)
