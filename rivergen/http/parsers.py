"""How a request body is read: strict JSON, of a bounded size."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from rivergen.http.exceptions import PayloadTooLarge

NO_TEXT = "The body is not valid UTF-8 text."


class DuplicateNameError(ValueError):
    """A JSON object names a member twice: one of the values would be lost."""


class StrictJSONParser(BaseParser):
    """Parse `application/json` into a dict.

    Raises PayloadTooLarge (413) above `REQUEST_BODY_MAX_BYTES`, and ParseError (400) for all that
    is not one JSON object by RFC 8259: an empty body, other encodings than UTF-8, NaN and numbers
    too large for a double, lone surrogates, a name twice in one object, and nesting made to
    exhaust the parser.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        text = read_text(stream)
        try:
            data = json.loads(
                text,
                parse_float=finite_number,
                parse_constant=refuse_constant,
                object_pairs_hook=_object_of_unique_names,
            )
            if "\\u" in text:  # only an escape can bring a lone surrogate past the decoding
                json.dumps(data, ensure_ascii=False).encode()
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except UnicodeError:
            raise ParseError(NO_TEXT) from None
        except DuplicateNameError as error:
            raise ParseError(str(error)) from None
        except ValueError as error:
            position = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
            raise ParseError(f"The body is not valid JSON{position}.") from None
        if not isinstance(data, dict):
            raise ParseError("The body must be a JSON object.")
        return data


class MergePatchParser(StrictJSONParser):
    """Parse `application/merge-patch+json` (RFC 7396)."""

    media_type = "application/merge-patch+json"


def read_text(stream: IO[bytes]) -> str:
    """Read a body of UTF-8.

    Raises PayloadTooLarge (413) above `REQUEST_BODY_MAX_BYTES`, and ParseError (400).
    """
    body = stream.read(settings.REQUEST_BODY_MAX_BYTES + 1)
    if len(body) > settings.REQUEST_BODY_MAX_BYTES:
        raise PayloadTooLarge
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ParseError(NO_TEXT) from None


def finite_number(text: str) -> float | int:
    """Read a number that has a fraction or an exponent. Raises ValueError if a double cannot."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    # PostgreSQL gives large numbers of a jsonb back as whole ones, digit by digit: 1e300 as 1 and
    # 300 zeros. Read here the same way, they compare equal and count as long as they are stored.
    # And it knows no negative zero, which + 0.0 makes a plain one.
    return int(Decimal(repr(number))) if abs(number) >= 1e16 else number + 0.0


def _object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        # repr, cut short: the name is the caller's and may be of any length and alphabet.
        raise DuplicateNameError(f"The body names {twice[:64]!r} twice in one object.")
    return members


def refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser takes for JSON (its `parse_constant`)."""
    raise ValueError(text)
