"""Connection strings: validation, what they mean for a type, and the secrets in them."""

from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ValidationError

from datasources.connections.configuration import Configuration
from datasources.connections.connectors import CONNECTORS
from datasources.connections.connectors.base import Connector
from datasources.connections.url_options.option import NO_EFFECT, listed
from datasources.connections.url_options.reading import NAME, read_options
from datasources.models.connection_strings.grammar import (
    URL,
    check_placeholders,
    check_user_and_database,
    parse,
)
from datasources.models.validators import (
    CONNECTION_STRING_MAX_LENGTH,
    NAMES_SECRET,
    SECRETS_ELSEWHERE,
    documented,
    names_secret,
)

# Fields that options may set as well, each with its noun for errors, in the plural.
NOUNS = {"username": "users", "database_name": "databases", "schema_name": "schemas"}


@documented(format="connection-string")
def validate_connection_string(text: str) -> None:
    """Check that a connection string is a URL that all drivers read the same way.

    Raises ValidationError (400) with a sentence that repeats no part that may be secret.
    """
    if len(text) > CONNECTION_STRING_MAX_LENGTH:
        most = f"{CONNECTION_STRING_MAX_LENGTH:,}"
        raise ValidationError(f"Must have at most {most} characters.")
    url = parse(text)
    for option in url.options:
        if names_secret(option.name) and not option.secret:
            is_shown = url.may_name_options and NAME.fullmatch(option.name)
            which = f"The option {option.name}" if is_shown else "Has an option that"
            raise ValidationError(f"{which} names a secret. {SECRETS_ELSEWHERE}", code=NAMES_SECRET)
    if any(option.secret and option.has_plus for option in url.options):
        raise ValidationError("In a password write a space as %20, a plus sign as %2B.")
    check_placeholders(url)
    check_user_and_database(url)


def validate_fit(text: str, connector: type[Connector], use_ssh_tunnel: bool = False) -> None:
    """Check that the type takes the scheme, options and secrets of a valid connection string.

    Raises ValidationError (400).
    """
    if not connector.url_schemes:
        raise ValidationError(f"A source of type {connector.name} takes no connection string.")
    url = parse(text)
    meant = interpret(url, connector)
    if meant["other_hosts"] and use_ssh_tunnel:
        raise ValidationError("Through an SSH tunnel only one host can be reached. Write one.")
    connector.read_url(meant)
    secrets = [_credential(kind, connector) for kind, _ in url.secrets]
    for field in secrets:
        if field not in connector.credential_fields:
            raise ValidationError(f"A source of type {connector.name} takes no {field}.")
    if len({*secrets}) < len(secrets):
        raise ValidationError("Has the same secret twice. Write it once.")


def split_secrets(text: str, connector: type[Connector]) -> tuple[str, dict[str, str]]:
    """Return a connection string without its secrets, and the secrets by credential field."""
    return without_secrets(text), {
        _credential(kind, connector): secret for kind, secret in parse(text).secrets
    }


def without_secrets(text: str) -> str:
    """Return a valid connection string without the secrets in it; the rest is unchanged."""
    url = parse(text)
    before, _, query = text.partition("?")
    start, mark, rest = before.partition("://")
    _, at, address = rest.rpartition("@")
    user = f"{url.user}{at}" if url.user else ""
    kept = [option.written for option in url.options if not option.secret]
    options = query if len(kept) == len(url.options) else "&".join(kept)
    has_query = options or ("?" in text and not url.options)
    return f"{start}{mark}{user}{address}{'?' if has_query else ''}{options}"


def read_connection_string(text: str, connector: type[Connector]) -> dict[str, Any]:
    """Return what a valid connection string says, by the fields of a `Configuration`.

    A field that the string does not have is None. `options` are those of the driver.
    """
    return connector.read_url(interpret(parse(text), connector))


def missing_beside(text: str | None, connector: type[Connector], missing: list[str]) -> list[str]:
    """Return which of the `missing` fields a connection string does not have either.

    The string itself is missing if it does not have the options that the type requires.
    """
    given: dict[str, Any] = {}
    with suppress(ValidationError):  # invalid, because it was stored by other means
        if text is not None:
            given = read_connection_string(text, connector)
            given |= given["options"]
    still = [field for field in missing if not given.get(field)]
    has_options = all(map(given.get, connector.required_options))
    return still if has_options else [*still, "connection_string"]


def url_destination(
    text: str, connector: type[Connector], port: int | None = None
) -> tuple[object, ...]:
    """Return what of a connection string decides where, and how, secrets would travel.

    That is all but user, password, database, options that only other clients use, and the order of
    hosts. `port` is used if the string has none, as by `DataSource.configuration`. A string that
    is invalid, because it was stored by other means, is returned whole: drivers may find another
    host in it.
    """
    try:
        validate_connection_string(text)
        url = interpret(parse(text), connector)
    except ValidationError:
        return (text,)
    names = ("url_scheme", "options")
    usual = connector.usual_port(
        Configuration(connector.name, **{name: url[name] for name in names})
    )
    if not url["other_hosts"]:
        usual = port or usual
    hosts = [(url["host"], url["port"]), *url["other_hosts"]]
    hosts = sorted((host, number or usual) for host, number in hosts)
    return url["url_scheme"], hosts, sorted(url["options"].items())


def interpret(url: URL, connector: type[Connector]) -> dict[str, Any]:
    """Return what the parts of a URL mean for a type, by the fields of a `Configuration`.

    Raises ValidationError (400).
    """
    scheme = read_scheme(url.scheme, connector)
    if len(url.hosts) > 1 and not connector.takes_several_hosts:
        raise ValidationError(
            f"Names several hosts, and a source of type {connector.name} has one. Write one."
        )
    (host, port), *others = url.hosts
    options = read_url_options(url, connector)
    path, user = unquote(url.path) or None, unquote(url.user) or None
    meant = {"database_name": path, "username": user, "schema_name": None}
    for field in NOUNS:
        given = options.pop(field, None)
        if given and meant[field] not in (None, given):
            raise ValidationError(f"The options and the rest of the URL name two {NOUNS[field]}.")
        meant[field] = meant[field] or given
    return {
        "url_scheme": scheme,
        "host": host,
        "port": port,
        "other_hosts": others,
        "options": options,
        **meant,
    }


def read_scheme(written: str, connector: type[Connector]) -> str:
    """Return what a scheme means for a type; `+driver` is dropped. Raises ValidationError (400)."""
    known = connector.url_schemes
    if meaning := known.get(written):
        return meaning
    scheme, plus, driver = written.partition("+")
    if scheme in known and plus:
        if driver in connector.url_drivers:
            return known[scheme]
        if driver in ("native", "asynch"):
            raise ValidationError(
                "ClickHouse is reached over HTTP only. Write clickhouse:// with the port of its "
                "HTTP interface (8123, with TLS 8443)."
            )
        raise ValidationError(f"Leave out the + and what follows it: begin with {scheme}://.")
    names = ", ".join(f"{name}://" for name in known if "+" not in name or name == "mongodb+srv")
    others = sorted(name for name, other in CONNECTORS.items() if scheme in other.url_schemes)
    known_elsewhere = f" {scheme}:// is of type {listed(others)}." if others else ""
    raise ValidationError(
        f"Must start with {names} for a source of type {connector.name}.{known_elsewhere}"
    )


def read_url_options(url: URL, connector: type[Connector]) -> dict[str, str]:
    """Return the options of the driver, and fields that options set. Raises ValidationError."""
    known = connector.url_options
    pairs = []
    for option in url.options:
        if option.secret:
            continue
        value = option.value
        if option.has_plus:
            name = known.find(option.name)
            if name and known[name].sets != NO_EFFECT and not known[name].is_label:
                raise ValidationError(
                    f"In the option {name} write a space as %20, a plus sign as %2B."
                )
        pairs.append((option.name, value))
    return read_options(known, pairs, may_be_named=url.may_name_options)


def _credential(kind: str, connector: type[Connector]) -> str:
    """Return the credential field of a secret; some types use a token as the password."""
    if kind == "password" and (field := connector.password_field()):
        return field
    return kind
