"""Connection strings: validation, the parts of a URL, and the secrets in it.

The grammar is stricter than that of any driver. Drivers disagree about where a host ends (libpq
takes `a,b`, a directory, `?host=` and `?hostaddr=`), so only what all of them read the same way is
accepted: scheme://user:password@host:port/database?option=value. No error repeats the string,
which may have a password in it.
"""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from django.core.exceptions import ValidationError

from datasources.connections.connectors.base import Connector
from datasources.models.validators import (
    CONNECTION_STRING_MAX_LENGTH,
    NAMES_SECRET,
    SECRETS_ELSEWHERE,
    documented,
    is_mask,
    names_secret,
)
from rivergen.hosts import comparable_host, is_host

# Characters that RFC 3986 requires to be escaped (except letters beyond ASCII, for host names),
# incomplete escapes, fragments, and the semicolon, which separates options for some drivers.
FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\<>\"`^{|}#;]|%(?![0-9A-Fa-f]{2})")
# urlsplit ignores text beside the brackets of an IPv6 address; drivers do not.
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]+)?")
OF_THE_ADDRESS = re.compile(r"[@\[\]]")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
# The options that contain a secret, in the spellings of all drivers, and the credential of each.
SECRET_OPTIONS = {
    "password": "password",
    "passwd": "password",
    "pwd": "password",
    "token": "token",
    "access_token": "token",
}


@documented(format="connection-string")
def validate_connection_string(text: str) -> None:
    """Check that a connection string is a URL that all drivers read the same way.

    Raises ValidationError (400) with a sentence that repeats no part that may be secret.
    """
    if len(text) > CONNECTION_STRING_MAX_LENGTH:
        most = f"{CONNECTION_STRING_MAX_LENGTH:,}"
        raise ValidationError(f"Must have at most {most} characters.")
    if FORBIDDEN_CHARACTERS.search(text):
        raise ValidationError("Must be a URL without spaces, fragments, semicolons or quotes.")
    url = _parse(text)
    user, _, address = url.netloc.rpartition("@")
    # An unescaped / or ? in a password starts the path, which then has the rest of the password.
    if OF_THE_ADDRESS.search(f"{user}{url.path}{url.query}"):
        raise ValidationError(
            "Must be a URL with one user and one host. Write any other @, [ or ] as %40, %5B or "
            "%5D."
        )
    # Without a host, libpq would connect to a socket on this machine.
    if not ADDRESS.fullmatch(address) or not is_host(_host(url) or ""):
        raise ValidationError("Must be a URL with one host: a host name or an IP address.")
    if url.port == 0:
        raise ValidationError("Must be a URL with a port from 1 to 65535, or none.")
    if CONTROL_CHARACTERS.search(unquote(text)):
        raise ValidationError("Must not contain control characters.")
    if "+" in url.query:
        raise ValidationError("In the options, write a space as %20 and a plus sign as %2B.")
    names = [name for name, _ in _options(url.query)]
    if len({*names}) < len(names):
        raise ValidationError("Must not have the same option twice.")
    if any(names_secret(name) and name.lower() not in SECRET_OPTIONS for name in names):
        raise ValidationError(
            f"Has an option that names a secret. {SECRETS_ELSEWHERE}", code=NAMES_SECRET
        )
    if any(is_mask(secret) for _, secret in _secrets(url)):
        raise ValidationError(
            "Has a mask for a password. Leave the password out to keep the stored one."
        )


def validate_fit(text: str, connector: type[Connector]) -> None:
    """Check that the type takes the scheme, options and secrets of a valid connection string.

    Raises ValidationError (400).
    """
    schemes = connector.url_schemes
    if not schemes:
        raise ValidationError(f"A source of type {connector.name} takes no connection string.")
    url = _parse(text)
    if url.scheme not in schemes:
        names = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValidationError(f"Must start with {names} for a source of type {connector.name}.")
    options = {name for name, _ in _options(url.query) if name.lower() not in SECRET_OPTIONS}
    if options - {*connector.url_options}:
        names = ", ".join(connector.url_options) or "none"
        raise ValidationError(f"Has an option that is not allowed here. Allowed: {names}.")
    secrets = [_credential(option, connector) for option, _ in _secrets(url)]
    for field in secrets:
        if field not in connector.credential_fields:
            raise ValidationError(f"A source of type {connector.name} takes no {field}.")
    if len({*secrets}) < len(secrets):
        raise ValidationError("Must not have the same secret twice.")


def split_secrets(text: str, connector: type[Connector]) -> tuple[str, dict[str, str]]:
    """Return a connection string without its secrets, and the secrets by credential field."""
    secrets = _secrets(_parse(text))
    return without_secrets(text), {
        _credential(option, connector): secret for option, secret in secrets
    }


def without_secrets(text: str) -> str:
    """Return a valid connection string without the secrets in it."""
    url = _parse(text)
    userinfo, at, address = url.netloc.rpartition("@")
    user = userinfo.partition(":")[0]
    options = url.query.split("&") if url.query else []
    kept = [
        option
        for option in options
        if unquote(option.partition("=")[0]).lower() not in SECRET_OPTIONS
    ]
    if user == userinfo and kept == options:
        return text
    netloc = f"{user}{at}{address}" if user else address
    return urlunsplit(url._replace(netloc=netloc, query="&".join(kept)))


def read_connection_string(text: str) -> dict[str, Any]:
    """Return the scheme, host, port, database, user and options of a valid connection string.

    The keys are those of a `Configuration`; a part that the string does not have is None.
    """
    url = _parse(text)
    return {
        "url_scheme": url.scheme,
        "host": _host(url),
        "port": url.port,
        "database_name": unquote(url.path.removeprefix("/")) or None,
        "username": unquote(url.username) if url.username else None,
        "options": dict(_options(url.query)),
    }


def missing_beside(text: str | None, connector: type[Connector], missing: list[str]) -> list[str]:
    """Return which of the `missing` fields a connection string does not have either.

    The string itself is missing if it does not have the options that the type requires.
    """
    given: dict[str, str | None] = {}
    with suppress(ValidationError):  # invalid, because it was stored by other means
        if text is not None:
            url = _parse(text)
            given = {"host": url.hostname, "database_name": url.path.removeprefix("/")}
            if connector.required_options:  # not for all: lists have many rows
                given |= _options(url.query)
    still = [field for field in missing if not given.get(field)]
    has_options = all(map(given.get, connector.required_options))
    return still if has_options else [*still, "connection_string"]


def url_destination(text: str) -> tuple[object, ...]:
    """Return the parts of a connection string that decide where secrets would travel.

    These are all but the user, the password and the database. If the string is invalid, because it
    was stored by other means, it is returned whole: drivers may find another host in it.
    """
    try:
        validate_connection_string(text)
    except ValidationError:
        return (text,)
    url = _parse(text)
    return url.scheme, comparable_host(_host(url)), url.port, sorted(_options(url.query))


def _parse(text: str) -> SplitResult:
    """Split a URL. Raises ValidationError (400), which repeats none of it, unlike `urlsplit`."""
    try:
        url = urlsplit(text)
        _ = url.port  # raises, too
        unquote(text, errors="strict")
    except ValueError:
        raise ValidationError("Must be a valid URL.") from None
    return url


def _host(url: SplitResult) -> str | None:
    """Return the host of a URL; letters beyond ASCII may be escaped (RFC 3986, section 3.2.2)."""
    return None if url.hostname is None else unquote(url.hostname)


def _secrets(url: SplitResult) -> list[tuple[str, str]]:
    """Return the secrets in a URL as pairs of a value of `SECRET_OPTIONS` and a secret."""
    userinfo = url.netloc.rpartition("@")[0]
    secrets = [("password", unquote(userinfo.partition(":")[2]))]
    for name, value in _options(url.query):
        if option := SECRET_OPTIONS.get(name.lower()):
            secrets.append((option, value))
    return [(option, secret) for option, secret in secrets if secret]


def _credential(option: str, connector: type[Connector]) -> str:
    """Return the credential field of a secret; some types use a token as the password."""
    if option == "password" and (field := connector.password_field()):
        return field
    return option


def _options(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValidationError("The options after ? must be name=value, joined by &.") from None
