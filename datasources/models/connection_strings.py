"""Connection strings: which URLs fit a type, where they lead, and which secrets they bring.

The grammar is narrower than any driver's on purpose. Drivers disagree about where a host ends
(libpq takes `a,b`, a directory, `?host=` and `?hostaddr=`), so only what all of them read alike is
accepted: scheme://user:password@host:port/database?option=value. Errors are in our own words, for
drivers repeat the string, password included, in theirs.
"""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from django.core.exceptions import ValidationError

from datasources.connections.connectors.base import Connector
from datasources.models.validators import (
    SECRETS_ELSEWHERE,
    documented,
    is_host,
    is_mask,
    names_secret,
)

# What RFC 3986 wants escaped (letters beyond ASCII aside, for host names), half an escape,
# fragments, and the semicolon by which some drivers part options.
FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\<>\"`^{|}#;]|%(?![0-9A-Fa-f]{2})")
# urlsplit looks past what stands beside the brackets of an IPv6 address; drivers do not.
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]+)?")
OF_THE_ADDRESS = re.compile(r"[@\[\]]")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
# The options that bring a secret, in the spellings of all drivers, and which one.
SECRET_OPTIONS = {
    "password": "password",
    "passwd": "password",
    "pwd": "password",
    "token": "token",
    "access_token": "token",
}


@documented(format="connection-string")
def validate_connection_string(text: str) -> None:
    """Accept a URL of that grammar.

    Raises ValidationError (400) with one sentence that never repeats a part that may be secret.
    """
    if FORBIDDEN_CHARACTERS.search(text):
        raise ValidationError("Must be a URL without spaces, fragments, semicolons or quotes.")
    url = _parse(text)
    user, _, address = url.netloc.rpartition("@")
    # The unescaped / or ? of a password would begin the path, and leave the rest of it there.
    if OF_THE_ADDRESS.search(f"{user}{url.path}{url.query}"):
        raise ValidationError(
            "Must be a URL with one user and one host; any other @, [ and ] is written %40, %5B "
            "and %5D."
        )
    # Without a host libpq would look for a socket on this machine.
    if not ADDRESS.fullmatch(address) or not is_host(url.hostname or ""):
        raise ValidationError("Must be a URL with one host: a host name or an IP address.")
    if url.port == 0:
        raise ValidationError("Must be a URL with a port from 1 to 65535, or none.")
    if CONTROL_CHARACTERS.search(unquote(text)):
        raise ValidationError("Must not contain control characters.")
    if "+" in url.query:
        raise ValidationError("In the options a space is written %20, and + is written %2B.")
    names = [name for name, _ in _options(url.query)]
    if len({*names}) < len(names):
        raise ValidationError("Must not name an option twice.")
    if any(names_secret(name) and name.lower() not in SECRET_OPTIONS for name in names):
        raise ValidationError(f"Has an option that names a secret. {SECRETS_ELSEWHERE}")
    if any(is_mask(secret) for _, secret in _secrets(url)):
        raise ValidationError(
            "Has a mask for a password. Leave the password out, and the stored one stays."
        )


def validate_fit(text: str, connector: type[Connector]) -> None:
    """Accept a valid connection string whose scheme, options and secrets are those of the type.

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
        raise ValidationError(f"Has an option that is not allowed here; allowed are: {names}.")
    secrets = [_credential(option, connector) for option, _ in _secrets(url)]
    for field in secrets:
        if field not in connector.credential_fields:
            raise ValidationError(f"A source of type {connector.name} takes no {field}.")
    if len({*secrets}) < len(secrets):
        raise ValidationError("Must not bring a secret twice.")


def split_secrets(text: str, connector: type[Connector]) -> tuple[str, dict[str, str]]:
    """Part a connection string that fits the type from its secrets, by name of the credential."""
    secrets = _secrets(_parse(text))
    return without_secrets(text), {
        _credential(option, connector): secret for option, secret in secrets
    }


def without_secrets(text: str) -> str:
    """Give a valid connection string without the secrets it brings."""
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
    """Give what a valid connection string says: scheme, host, port, database, user and options.

    The keys are those of a `Configuration`; what the string does not say is None.
    """
    url = _parse(text)
    return {
        "url_scheme": url.scheme,
        "host": url.hostname,
        "port": url.port,
        "database_name": unquote(url.path.removeprefix("/")) or None,
        "username": unquote(url.username) if url.username else None,
        "options": dict(_options(url.query)),
    }


def url_destination(text: str) -> tuple[object, ...]:
    """Give what of a connection string decides where secrets would travel.

    That is all but the user, the password and the database. Of one that is not valid, which other
    hands must have stored, it is all: drivers may find another host in it than is found here.
    """
    try:
        validate_connection_string(text)
    except ValidationError:
        return (text,)
    url = _parse(text)
    return url.scheme, url.hostname, url.port, sorted(_options(url.query))


def _parse(text: str) -> SplitResult:
    """Split a URL. Raises ValidationError (400), unlike `urlsplit` without repeating any of it."""
    try:
        url = urlsplit(text)
        _ = url.port  # raises, too
        unquote(text, errors="strict")
    except ValueError:
        raise ValidationError("Must be a valid URL.") from None
    return url


def _secrets(url: SplitResult) -> list[tuple[str, str]]:
    """Give the secrets it brings, by the names of `SECRET_OPTIONS`."""
    userinfo = url.netloc.rpartition("@")[0]
    secrets = [("password", unquote(userinfo.partition(":")[2]))]
    for name, value in _options(url.query):
        if option := SECRET_OPTIONS.get(name.lower()):
            secrets.append((option, value))
    return [(option, secret) for option, secret in secrets if secret]


def _credential(option: str, connector: type[Connector]) -> str:
    """Name the credential: some types log in with a token in the place of a password."""
    if option == "password" and (field := connector.password_field()):
        return field
    return option


def _options(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValidationError("The options after ? must be name=value, joined by &.") from None
