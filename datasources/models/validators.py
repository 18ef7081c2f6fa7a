"""Validators of single fields of a data source, for API, admin and shell (contract, section 3)."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.core.exceptions import ValidationError

from datasources.models.host_errors import host_error
from rivergen.hosts import PLAIN_NAME, InvalidHost, canonical_host
from rivergen.names import normalized, validate_visible
from rivergen.strict_fields import BLANK, validate_text

Validator = TypeVar("Validator", bound=Callable[[Any], None])

CONNECTION_STRING_MAX_LENGTH = 4_096
METADATA_MAX_BYTES = 65_536
METADATA_MAX_DEPTH = 20
CONTAINERS = (dict, list)
# A tuple, or a key that is no string, would be stored as something else.
JSON_VALUES = (str, int, float, bool, type(None), *CONTAINERS)
NOT_JSON = "Must hold JSON values only."
TOO_DEEP = f"Must not be nested more than {METADATA_MAX_DEPTH} deep."
TAGS_MAX_COUNT = 50
TAG_MAX_LENGTH = 64
LINE_BREAKERS = ("Cc", "Zl", "Zp")
SECRETS_ELSEWHERE = "Store secrets in the credentials of the data source instead."
NAMES_SECRET = "names_secret"
"""The code of errors about a name that names a secret: the API adds its credentials endpoint."""

SECRET_NAMES = {
    "accesskey",
    "apikey",
    "clientsecret",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "secretkey",
    "token",
}
SECRET_NAME_MAX_LENGTH = max(map(len, SECRET_NAMES))
# What tools show in place of a secret: ***, XXXX, ----, dots, **name**, {{ name }}, [REDACTED].
# No alternative backtracks: a value may be 64 KiB of stars and one letter.
MASK = re.compile(
    r"\*{2,}|[xX]{4,}|-{4,}|[•●·]{2,}|\*\*\w{1,40}\*\*|\{\{[^{}]*\}\}"
    r"|[\[<(](?i:redacted|hidden|masked|filtered)[\]>)]"
)
# What separates the words of a key: other characters than letters and digits, and the change of
# case in camelCase and DBPassword.
WORD_BREAK = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def documented(**json_schema: Any) -> Callable[[Validator], Validator]:
    """Attach keywords of JSON Schema to a validator, for openapi.json."""

    def decorate(validate: Validator) -> Validator:
        validate.json_schema = json_schema  # type: ignore[attr-defined]
        return validate

    return decorate


def validate_line(value: str) -> None:
    """Raise ValidationError for text of several lines, with control characters or invalid."""
    validate_text(value)
    if any(unicodedata.category(character) in LINE_BREAKERS for character in value):
        raise ValidationError("Must be one line, without control characters.")


@documented(format="name")
def validate_name(value: str) -> None:
    """Raise ValidationError for a name that is blank or has characters that nobody sees."""
    if not value.strip():
        raise ValidationError(BLANK)
    validate_characters(value)


def validate_characters(name: str) -> None:
    """Raise ValidationError for characters that nobody sees or PostgreSQL cannot store."""
    if not (name.isascii() and name.isprintable()):  # most names are, and need no more
        validate_text(name)
        validate_visible(name)


@documented(format="host")
def validate_host(value: str) -> None:
    """Check that a value is a host name or an IP address (see `canonical_host`)."""
    _validate_host(value, "port")


@documented(format="host")
def validate_ssh_host(value: str) -> None:
    """Check the host of an SSH server as `validate_host` does; errors name `ssh_port`."""
    _validate_host(value, "ssh_port")


def _validate_host(value: str, port_field: str) -> None:
    if PLAIN_NAME.fullmatch(value):  # most are, and need no conversion
        return
    try:
        canonical_host(value)
    except InvalidHost as error:
        raise ValidationError(host_error(value, str(error), port_field)) from None


@documented(format="object-path")
def validate_file_path(value: str) -> None:
    """Check that a path is relative and cannot lead out of the storage."""
    if value.startswith("/"):
        raise ValidationError("Must be a relative path, without a leading slash.")
    if ".." in value.split("/"):
        raise ValidationError("Must not contain a '..' part.")
    if "\\" in value or any(unicodedata.category(character) == "Cc" for character in value):
        raise ValidationError("Must not contain backslashes or control characters.")


def clean_tags(tags: Any) -> list[str]:
    """Return tags without surrounding white space: at most 50 different ones, each of them valid.

    Raises ValidationError.
    """
    if not isinstance(tags, list):
        raise ValidationError("Must be an array of strings.")
    tags = [stored_form(tag) if isinstance(tag, str) else tag for tag in tags]
    if len(tags) > TAGS_MAX_COUNT:
        raise ValidationError(f"At most {TAGS_MAX_COUNT} tags are allowed.")
    for tag in tags:
        validate_tag(tag)
    if len(set(tags)) < len(tags):
        twice = next(tag for tag in tags if tags.count(tag) > 1)
        raise ValidationError("The tag %(tag)r is given twice.", params={"tag": twice})
    return tags


def stored_form(tag: str) -> str:
    """Return a tag as it is stored. One in ASCII needs no more than trimming."""
    return tag.strip() if tag.isascii() else normalized(tag)


def validate_tag(tag: Any) -> None:
    """Check that a tag, without surrounding white space, has 1 to 64 characters."""
    if not isinstance(tag, str):
        raise ValidationError("Each tag must be a string.")
    if not 1 <= len(tag) <= TAG_MAX_LENGTH:
        raise ValidationError(f"Each tag must have 1 to {TAG_MAX_LENGTH} characters.")
    validate_characters(tag)


def validate_metadata(metadata: Any) -> None:
    """Check the size and depth of a JSON object, and that no key in it names a secret."""
    if not isinstance(metadata, dict):
        raise ValidationError("Must be a JSON object, such as {}.")
    if is_too_deep(metadata):
        raise ValidationError(TOO_DEEP)
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):  # reached from Python only; JSON bodies are parsed strictly
        raise ValidationError(NOT_JSON) from None
    if len(text.encode(errors="replace")) > METADATA_MAX_BYTES:
        raise ValidationError(f"Must not be larger than {METADATA_MAX_BYTES:,} bytes as JSON.")
    for path, value in walk(metadata):
        if not isinstance(value, JSON_VALUES):
            raise ValidationError(NOT_JSON)
        if isinstance(value, str):
            validate_text(value)
        key = path[-1]
        if isinstance(key, str):
            validate_text(key)
            if names_secret(key):
                pointer = "/".join(str(part)[:64] for part in path)
                raise ValidationError(
                    f"The key at %(pointer)s names a secret. {SECRETS_ELSEWHERE}",
                    code=NAMES_SECRET,
                    params={"pointer": pointer},
                )


def is_too_deep(metadata: dict[str, Any]) -> bool:
    """Return whether metadata is nested more than 20 deep; the object itself is level 1."""
    level: list[Any] = [metadata]
    for _ in range(METADATA_MAX_DEPTH):
        if not level:
            return False
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, CONTAINERS)
        ]
    return bool(level)


def walk(metadata: dict[str, Any]) -> Iterator[tuple[list[str | int], Any]]:
    """Yield the path and value of everything in metadata, without recursion.

    The path is one list, which changes with the next value: a copy for each value would take more
    memory than the values.
    """
    path: list[str | int] = []
    pending = [children_of(metadata)]
    while pending:
        for key, child in pending[-1]:
            path.append(key)
            yield path, child
            if isinstance(child, CONTAINERS):
                pending.append(children_of(child))
                break
            path.pop()
        else:
            pending.pop()
            if path:
                path.pop()


def children_of(container: Any) -> Iterator[tuple[str | int, Any]]:
    """Return an iterator over the keys and values of an object or array.

    Raises ValidationError for a key that is no string: JSON has no other keys.
    """
    if isinstance(container, dict) and not all(isinstance(key, str) for key in container):
        raise ValidationError(NOT_JSON)
    return iter(container.items() if isinstance(container, dict) else enumerate(container))


def names_secret(key: str) -> bool:
    """Return whether a key, or its last words, is one of `SECRET_NAMES`.

    Case, `-` and `_` do not matter: API-Key, dbPassword and db_password name secrets.
    """
    ending = ""
    for word in reversed(WORD_BREAK.split(key)):
        ending = word.lower() + ending
        if ending in SECRET_NAMES:
            return True
        if len(ending) > SECRET_NAME_MAX_LENGTH:
            break
    return False


def is_mask(text: str) -> bool:
    """Return whether a text is a mask for a secret. Stored, it would replace the real secret."""
    return MASK.fullmatch(text.strip()) is not None
