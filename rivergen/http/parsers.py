"""Parse request bodies: strict JSON of a limited size."""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from rivergen.http.exceptions import PayloadTooLarge

# Arrays and objects: an empty one takes 20 times the memory of its text, and the garbage collector
# visits each.
CONTAINERS_MAX = 100_000
NOT_AN_OBJECT = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}


class RefusedJSONError(ValueError):
    """Valid JSON that this service does not take; the message is for the client."""


class DuplicateNameError(RefusedJSONError):
    """A JSON object has the same name twice; the parser would silently drop one of the values."""


class TooManyDigitsError(RefusedJSONError):
    """The numbers of a body, written out, are longer than a body may be."""


class StrictJSONParser(BaseParser):
    """Parse `application/json` into a dict.

    Raises PayloadTooLarge (413) above `REQUEST_BODY_MAX_BYTES`, and ParseError (400) for anything
    but one JSON object by RFC 8259: an empty body, another encoding than UTF-8, NaN, numbers too
    large for a double, lone surrogates, a duplicate name, numbers that are longer than a body when
    written out, more than `CONTAINERS_MAX` arrays and objects, and nesting too deep for the parser.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        text = read_text(stream)
        if text.count("[") + text.count("{") > CONTAINERS_MAX:
            raise ParseError(f"The body has more than {CONTAINERS_MAX:,} brackets [ and {{.")
        try:
            data = read_json(text)
        except RefusedJSONError as error:
            raise ParseError(str(error)) from None
        except json.JSONDecodeError as error:
            raise ParseError(why_not_json(text, error)) from None
        if not isinstance(data, dict):
            kind = NOT_AN_OBJECT.get(type(data), "a number")
            raise ParseError(f"The body must be a JSON object, not {kind}.")
        return data


class MergePatchParser(StrictJSONParser):
    """Parse `application/merge-patch+json` (RFC 7396)."""

    media_type = "application/merge-patch+json"


def read_json(text: str) -> Any:
    """Return the value of a JSON text, with its numbers as the database will return them.

    Raises JSONDecodeError, and RefusedJSONError for JSON that cannot be stored as it is.
    """
    try:
        value = json.loads(
            text,
            parse_float=NumberReader().read,
            parse_constant=refuse_constant,
            object_pairs_hook=object_of_unique_names,
        )
        if "\\u" in text:  # only an escape can hold a lone surrogate: UTF-8 cannot
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise RefusedJSONError("The JSON is nested too deeply.") from None
    except UnicodeEncodeError as error:
        escape = rf"\u{ord(error.object[error.start]):04x}"
        sentence = f"The JSON has the lone surrogate {escape}, half of a character."
        raise RefusedJSONError(f"{sentence} Send the whole character.") from None
    except (RefusedJSONError, json.JSONDecodeError):
        raise
    except ValueError:  # raised by int()
        most = f"{sys.get_int_max_str_digits():,}"
        raise RefusedJSONError(f"A number has more than {most} digits.") from None
    return value


def read_text(stream: IO[bytes]) -> str:
    """Return a body as text.

    Raises PayloadTooLarge (413) above `REQUEST_BODY_MAX_BYTES`, and ParseError (400) unless the
    body is UTF-8.
    """
    body = stream.read(settings.REQUEST_BODY_MAX_BYTES + 1)
    if len(body) > settings.REQUEST_BODY_MAX_BYTES:
        raise PayloadTooLarge
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        sentence = f"The body is not valid UTF-8 text (byte {error.start + 1:,})."
        raise ParseError(f"{sentence} Send it in UTF-8.") from None


def why_not_json(text: str, error: json.JSONDecodeError) -> str:
    """Return a sentence that says why a text is not JSON."""
    if not text.strip(" \t\r\n"):
        return "The body is empty. Send a JSON object."
    if text.startswith("\ufeff"):
        return "The body begins with a byte order mark. Send it without."
    if "\0" in text:
        return "The body has null characters, as UTF-16 text has. Send JSON in UTF-8."
    return f"The body is not valid JSON ({error})."


def finite_number(text: str) -> float | int:
    """Return a number with a fraction or exponent.

    Raises RefusedJSONError if no double can hold it.
    """
    number = float(text)
    if not math.isfinite(number):
        raise RefusedJSONError(f"The number {text[:32]} is too large. At most 1.8e308 is read.")
    # PostgreSQL returns large numbers of a jsonb as integers, 1e300 as 1 and 300 zeros. Converted
    # the same way, a number equals its stored form, and has the same length. A jsonb has no
    # negative zero either: adding 0.0 makes it positive.
    return int(Decimal(repr(number))) if abs(number) >= 1e16 else number + 0.0


class NumberReader:
    """Reads the numbers with a fraction or exponent of one text.

    Six bytes such as `1e300,` stand for an integer of 301 digits. All integers of a text together
    may have as many digits as a body has bytes.
    """

    def __init__(self) -> None:
        self._digits_left = settings.REQUEST_BODY_MAX_BYTES

    def read(self, text: str) -> float | int:
        """Return a number (`parse_float`). Raises RefusedJSONError and TooManyDigitsError."""
        number = finite_number(text)
        if type(number) is int:
            self._digits_left -= number.bit_length() * 3 // 10  # a digit takes 3.3 bits
            if self._digits_left < 0:
                most = f"{settings.REQUEST_BODY_MAX_BYTES:,}"
                sentence = f"The numbers, written out, have more than {most} digits together."
                raise TooManyDigitsError(sentence)
        return number


def object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object. Raises DuplicateNameError (`object_pairs_hook`)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        # A shortened repr: the client's name may have any length and any characters.
        raise DuplicateNameError(f"The JSON names {twice[:64]!r} twice in one object.")
    return members


def refuse_constant(text: str) -> NoReturn:
    """Raise RefusedJSONError for NaN and Infinity, which Python accepts (`parse_constant`)."""
    raise RefusedJSONError(f"{text} is not a JSON number. Send a number, or null.")
