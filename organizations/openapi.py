"""Descriptions for openapi.json that several endpoints have in common."""

from drf_spectacular.utils import OpenApiExample

from organizations.exceptions import QuotaExceeded
from rivergen.http.responses import error_body


def quota_example(name: str, limit: int) -> OpenApiExample:
    """Return the example of a 409: the organization has as many of `name` as it may."""
    error = QuotaExceeded(name, limit)
    return OpenApiExample(
        f"The quota of {name}",
        error_body(409, str(error), dict(error.details), error.code),
        response_only=True,
        status_codes=["409"],
    )


DATA_SOURCES_QUOTA = quota_example("data_sources", 10_000)
HISTORY_QUOTA = quota_example("history_bytes", 1024**3)
