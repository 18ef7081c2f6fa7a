"""Readers of environment variables; `rivergen.settings` has the variables.

Each raises ImproperlyConfigured for a malformed value, with a message that starts with the name.
"""

import os
import re
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from rivergen.egress.rules import Network, Rule, parse_network, parse_rules
from rivergen.encryption_keys import parse_keys
from rivergen.hidden_environment import secret_file, secret_variable
from rivergen.local import embedded_postgres

# Set by pytest. The tests must run in a fresh checkout, without any environment.
TESTING = "PYTEST_VERSION" in os.environ
TEST_SECRET_KEY = "django-insecure-for-tests-only-and-refused-everywhere-else"
SECRET_KEY_MIN_LENGTH = 50
TEST_ENCRYPTION_KEY = bytes(range(32))
# A server that does not answer for so long counts as unreachable.
DATABASE_SILENCE_SECONDS = 5
# Limit for the replica: short, because the primary can answer instead. libpq's minimum is 2.
REPLICA_SILENCE_SECONDS = 2
PORT_MAX = 65_535
QUOTA_MAX = 10**15
POSTGRESQL_PORT = "5432"
# An origin as browsers write it (RFC 6454, section 6.2): in lower case, without a default port.
ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)
DEFAULT_PORTS = {"http": "80", "https": "443"}


def read_secret(name: str) -> str:
    """Read a secret from its variable or from the file that NAME_FILE names; unset means "".

    A line break at the end of the file does not belong to the secret.
    """
    text, path = secret_variable(name), secret_file(name)
    if path is None:
        return text
    if text:
        raise ImproperlyConfigured(f"{name} and {name}_FILE ({path}) are set. Unset one of them.")
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        fault = f"{error.strerror}. Correct the path, or let this user read the file"
        raise ImproperlyConfigured(f"{name}_FILE: {path}: {fault}.") from None
    except UnicodeDecodeError:
        raise ImproperlyConfigured(f"{name}_FILE: {path} is not UTF-8 text.") from None
    if not text.strip():
        raise ImproperlyConfigured(f"{name}_FILE: {path} is empty. Put the secret in it.")
    return text


def read_bool(name: str) -> bool:
    """Read a switch, off by default: 1, true, yes, on or 0, false, no, off."""
    value = os.environ.get(name, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")


def read_number(name: str, default: int, low: int, high: int) -> int:
    """Read a whole number within bounds."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name} must be a number from {low} to {high}, not {text!r}.")
    return int(text)


def read_rate(name: str, default: str) -> tuple[int, int]:
    """Read a rate such as 60/min as (requests, seconds); the units are s, min, h and day."""
    text = os.environ.get(name) or default
    number, _, unit = text.partition("/")
    seconds = {"s": 1, "min": 60, "h": 3600, "day": 86_400}.get(unit)
    if not (number.isascii() and number.isdecimal()) or int(number) < 1 or seconds is None:
        raise ImproperlyConfigured(f"{name} must be a rate such as {default}, not {text!r}.")
    return int(number), seconds


def read_choice(name: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words, the first by default."""
    word = os.environ.get(name) or choices[0]
    if word not in choices:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {word!r}.")
    return word


def read_list(name: str, default: list[str]) -> list[str]:
    """Read a comma-separated list."""
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()] or default


def read_origins(name: str) -> list[str]:
    """Read a comma-separated list of the origins of pages: scheme://host, or scheme://host:port.

    A spelling that no browser sends is refused, because it would never match.
    """
    origins = read_list(name, default=[])
    for origin in origins:
        match = ORIGIN.fullmatch(origin)
        port = match and match["port"]
        is_sent = match and (
            port is None or (int(port) <= PORT_MAX and port != DEFAULT_PORTS.get(match["scheme"]))
        )
        if not is_sent:
            raise ImproperlyConfigured(
                f"{name} must be origins as browsers send them, such as https://app.example.com "
                f"or http://localhost:3000: lower case, no path, no default port; not {origin!r}."
            )
    return origins


def read_egress_rules(name: str) -> list[Rule]:
    """Read a comma-separated list of networks, IP addresses and host names."""
    try:
        return parse_rules(os.environ.get(name, ""))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is malformed: {error}.") from None


def read_networks(name: str, default: str) -> list[Network]:
    """Read a comma-separated list of networks and IP addresses."""
    items = read_list(name, default.split(","))
    try:
        return [parse_network(item) for item in items]
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be networks and IP addresses.") from None


def read_token(name: str) -> str | None:
    """Read a token that callers must send; refuse one that is easy to guess."""
    token = read_secret(name) or None
    if token is not None and re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", token) is None:
        raise ImproperlyConfigured(f"{name} must be at least 16 letters and digits.")
    return token


def read_storage_url(name: str) -> tuple[str, str] | None:
    """Read s3://bucket/prefix as (bucket, prefix of all object keys); unset means None."""
    url = os.environ.get(name)
    if not url:
        return None
    match = re.fullmatch(
        r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.=-]+)*)/?", url, re.ASCII
    )
    if match is None or {".", ".."} & set(url.split("/")):
        raise ImproperlyConfigured(f"{name} must look like s3://bucket/prefix, without keys.")
    bucket, prefix = match.groups()
    return bucket, f"{prefix[1:]}/" if prefix else ""


def read_secret_key(name: str) -> str:
    """Read the key that all signing keys are derived from; refuse a published or weak one."""
    key = read_secret(name)
    if not key and TESTING:
        return TEST_SECRET_KEY
    refuse_weak_secret_key(name, key)
    return key


def read_secret_key_fallbacks(name: str) -> list[str]:
    """Read the older keys, whose tokens and sessions are still accepted: a comma-separated list."""
    keys = [key.strip() for key in read_secret(name).split(",") if key.strip()]
    for key in keys:
        refuse_weak_secret_key(name, key)
    return keys


def refuse_weak_secret_key(name: str, key: str) -> None:
    """Raise ImproperlyConfigured for a missing, published or weak key; never quote it."""
    if not key:
        fault = "is not set"
    elif key.startswith("django-insecure-"):
        fault = "is a published key"
    elif len(key) < SECRET_KEY_MIN_LENGTH or len(set(key)) < 10:
        fault = f"is too easy to guess; it needs {SECRET_KEY_MIN_LENGTH} random characters"
    else:
        return
    make_one = "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    raise ImproperlyConfigured(f"{name} {fault}. Make one: {make_one}")


def derive_token_key(secret_key: str) -> str:
    """Return the key that signs tokens. Django itself derives those of sessions and digests."""
    return salted_hmac("rivergen.tokens", "", secret=secret_key, algorithm="sha256").hexdigest()


def read_encryption_keys(name: str) -> list[bytes]:
    """Read the keys that encrypt the secrets of data sources: the first encrypts, all decrypt."""
    text = read_secret(name)
    if not text and TESTING:
        return [TEST_ENCRYPTION_KEY]
    if not text:
        raise ImproperlyConfigured(f"{name} is not set. Make a key: python manage.py generate_key")
    try:
        return parse_keys(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is malformed: {error}.") from None


def read_databases(name: str, replica_name: str, embedded_folder: Path) -> dict[str, Any]:
    """Read the URL of the database and, if it is set, that of a replica.

    Starts the embedded server if the first is not set.
    """
    url = read_secret(name) or embedded_postgres.start(embedded_folder)
    databases = {"default": parse_database(name, url, DATABASE_SILENCE_SECONDS)}
    if replica_url := read_secret(replica_name):
        databases["replica"] = parse_database(replica_name, replica_url, REPLICA_SILENCE_SECONDS)
        databases["replica"]["TEST"] = {"MIRROR": "default"}
    return databases


def parse_database(name: str, url: str, silence_seconds: int) -> dict[str, Any]:
    """Return Django's settings for the PostgreSQL URL in the variable `name`.

    Options in the URL override the defaults. No error repeats the URL, which has a password.
    """
    defaults = out_of_reach_after(silence_seconds)
    try:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("not a PostgreSQL URL")
        parameters: dict[str, Any] = {**defaults, **conninfo_to_dict(url)}
        for option in defaults:
            parameters[option] = int(parameters[option])
        port = parse_ports(parameters.pop("port", ""))
        database_name = parameters.pop("dbname")
    except (ProgrammingError, ValueError, KeyError):
        raise ImproperlyConfigured(
            f"{name} must look like postgresql://user:password@host:5432/database."
        ) from None
    return {
        "ENGINE": "rivergen.postgresql",
        "NAME": database_name,
        "USER": parameters.pop("user", ""),
        "PASSWORD": parameters.pop("password", ""),
        "HOST": parameters.pop("host", ""),
        "PORT": port,
        "OPTIONS": parameters,
        "CONN_MAX_AGE": 60,  # seconds
        # After a restart of the database, the first request must notice a lost connection.
        "CONN_HEALTH_CHECKS": True,
        # Behind PgBouncer in transaction mode, the next statement may use another connection,
        # which does not have the cursor.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def parse_ports(text: str) -> int | str:
    """Return the port in a database URL; for several hosts, their ports separated by commas.

    Without any port, returns an empty string, for libpq's default. Raises ValueError for anything
    that is no port.
    """
    if not text.strip(","):
        return ""
    ports = [port or POSTGRESQL_PORT for port in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= PORT_MAX for port in ports):
        raise ValueError("not a port")
    return int(ports[0]) if len(ports) == 1 else ",".join(ports)


def out_of_reach_after(seconds: int) -> dict[str, int]:
    """Return libpq's options that end a connection to a server silent for `seconds`."""
    return {
        "connect_timeout": seconds,  # also for a server that accepts and then sends nothing
        # For a server that vanishes before it acknowledges a query: tcp_user_timeout; after it has
        # acknowledged it: keepalives.
        "tcp_user_timeout": 1_000 * seconds,  # milliseconds
        "keepalives_idle": seconds,
        "keepalives_interval": 1,  # seconds
        "keepalives_count": seconds,
    }
