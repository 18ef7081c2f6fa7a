"""Connection strings: which URLs fit a type, and that none of them holds a secret.

The grammar is narrower than any driver's on purpose. Drivers disagree about where a host ends
(libpq takes `a,b`, a directory, `?host=` and `?hostaddr=`), so only what all of them read alike is
accepted: scheme://user@host:port/database?option=value. Errors are in our own words, for drivers
repeat the string, password included, in theirs.
"""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ValidationError

from datasources.source_types import SourceType
from datasources.validators import is_host, names_secret

PUT_IT_THERE = (
    "Secrets go to the credentials: PUT /api/v1/data-sources/{data_source_id}/credentials."
)
# What RFC 3986 wants escaped (letters beyond ASCII aside, for host names), and fragments.
FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\<>\"`^{|}#]")


def validate_connection_string(text: str, source_type: SourceType, type_name: str) -> None:
    """Check a connection string for a source of the given type.

    Raises ValidationError (400) with one sentence that never repeats a part that may be secret.
    """
    schemes = source_type.url_schemes
    if not schemes:
        raise ValidationError(f"A source of type {type_name} takes no connection string.")
    scheme, separator, _ = text.partition("://")
    # "postgresql+psycopg" is how SQLAlchemy names a scheme and a driver.
    if not separator or not {scheme.lower(), scheme.lower().partition("+")[0]} & {*schemes}:
        names = ", ".join(f"{name}://" for name in schemes)
        raise ValidationError(f"Must be a URL that starts with {names}.")
    if FORBIDDEN_CHARACTERS.search(text):
        raise ValidationError("Must be a URL without spaces, fragments or quotes.")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValidationError("Must be a valid URL.") from None
    user, _, address = url.netloc.rpartition("@")
    if ":" in user:
        raise ValidationError(f"Must not contain a password. {PUT_IT_THERE}")
    if "@" in user or port == 0 or address.endswith(":"):
        raise ValidationError("Must be a URL with one user, one host and one port.")
    # Without a host libpq would look for a socket on this machine.
    if url.hostname is None or not is_host(url.hostname):
        raise ValidationError("Must name one host, by a host name or an IP address.")
    if any(ord(character) < 0x20 for character in unquote(url.path)):
        raise ValidationError("Must not contain control characters.")
    _validate_options(url.query, source_type.url_options)


def _validate_options(query: str, allowed: tuple[str, ...]) -> None:
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValidationError("The options after ? must be name=value, joined by &.") from None
    seen = set()
    for name, value in options:
        if names_secret(name):
            raise ValidationError(f"Must not contain a password. {PUT_IT_THERE}")
        if name not in allowed:
            raise ValidationError(f"Only these options are allowed: {', '.join(allowed)}.")
        if name in seen:
            raise ValidationError("Must not name an option twice.")
        if any(ord(character) < 0x20 for character in value):
            raise ValidationError("Must not contain control characters.")
        seen.add(name)
