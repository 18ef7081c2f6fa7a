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
from datasources.validators import documented, is_host, names_secret

PUT_IT_THERE = (
    "Secrets go to the credentials: PUT /api/v1/data-sources/{data_source_id}/credentials."
)
# What RFC 3986 wants escaped (letters beyond ASCII aside, for host names), half an escape,
# fragments, and the semicolon by which some drivers part options.
FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\<>\"`^{|}#;]|%(?![0-9A-Fa-f]{2})")
# urlsplit looks past what stands beside the brackets of an IPv6 address; drivers do not.
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]+)?")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


@documented(format="connection-string")
def validate_connection_string(text: str) -> None:
    """Accept a URL of that grammar.

    Raises ValidationError (400) with one sentence that never repeats a part that may be secret.
    """
    if FORBIDDEN_CHARACTERS.search(text):
        raise ValidationError("Must be a URL without spaces, fragments, semicolons or quotes.")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValidationError("Must be a valid URL.") from None
    user, _, address = url.netloc.rpartition("@")
    if ":" in user:
        raise ValidationError(f"Must not contain a password. {PUT_IT_THERE}")
    if "@" in user or port == 0:
        raise ValidationError("Must be a URL with one user, one host and one port.")
    # Without a host libpq would look for a socket on this machine.
    if not ADDRESS.fullmatch(address) or not is_host(url.hostname or ""):
        raise ValidationError("Must be a URL with one host: a host name or an IP address.")
    if CONTROL_CHARACTERS.search(unquote(text)):
        raise ValidationError("Must not contain control characters.")
    names = [name for name, _ in _options(url.query)]
    if any(map(names_secret, names)):
        raise ValidationError(f"Must not contain a password. {PUT_IT_THERE}")
    if len({*names}) < len(names):
        raise ValidationError("Must not name an option twice.")


def validate_fit(text: str, type_name: str, source_type: SourceType) -> None:
    """Accept a valid connection string whose scheme and options are those of the type.

    Raises ValidationError (400).
    """
    schemes = source_type.url_schemes
    if not schemes:
        raise ValidationError(f"A source of type {type_name} takes no connection string.")
    url = urlsplit(text)
    if url.scheme not in schemes:
        names = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValidationError(f"Must start with {names} for a source of type {type_name}.")
    if {name for name, _ in _options(url.query)} - {*source_type.url_options}:
        names = ", ".join(source_type.url_options) or "none"
        raise ValidationError(f"Has an option that is not allowed here; allowed are: {names}.")


def _options(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValidationError("The options after ? must be name=value, joined by &.") from None
