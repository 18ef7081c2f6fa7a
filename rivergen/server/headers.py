"""Limits for headers whose parsers do more work than a header is long."""

from typing import Any

# As long as any media type that DRF takes: a longer one is 415. The parser of the standard library
# counts all quotes again before each semicolon.
CONTENT_TYPE_MAX_LENGTH = 256


def limit_headers(environ: dict[str, Any]) -> None:
    """Shorten what a request's parsers would take too long for, before Django reads it."""
    content_type = environ.get("CONTENT_TYPE", "")
    if len(content_type) > CONTENT_TYPE_MAX_LENGTH:
        environ["CONTENT_TYPE"] = content_type[: CONTENT_TYPE_MAX_LENGTH + 1]
    # Before Python 3.11.10, a quoted cookie is searched again from each backslash to its end. The
    # cookies of this service have no backslashes.
    cookies = environ.get("HTTP_COOKIE", "")
    if "\\" in cookies:
        kept = [cookie for cookie in cookies.split(";") if "\\" not in cookie]
        environ["HTTP_COOKIE"] = ";".join(kept)
