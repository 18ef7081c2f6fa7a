"""docs/openapi.json: the description of the API, committed so that a review shows its changes."""

import json

from rivergen.http.openapi.view import document
from rivergen.settings import BASE_DIR

COMMITTED = BASE_DIR / "docs" / "openapi.json"


def text() -> str:
    """Return the description that the code builds, as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
