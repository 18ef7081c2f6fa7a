"""Description of the endpoint for openapi.json."""

from typing import Any

UPDATE_MANY: dict[str, Any] = {
    "summary": "Update many data sources",
    "errors": (401, 403, 409),
}
