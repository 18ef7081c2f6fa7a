"""What a request brings: ids in its path, query parameters and a body, all read strictly."""

from collections.abc import Collection
from typing import Any

from django.db.models import BigIntegerField
from django.utils.http import parse_etags
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from rivergen.http.serializers import unknown_names


def read_id(text: str) -> int:
    """Read an id; what can be none, such as one past bigint, is 0: no row has that."""
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        return 0
    return int(text) if int(text) <= BigIntegerField.MAX_BIGINT else 0


def read_switch(request: Request, name: str) -> bool:
    """Read a true/false query parameter, false by default. Raises ValidationError (400)."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return value == "true"


def read_seconds(request: Request, name: str, most: int) -> int:
    """Read a query parameter of whole seconds, 0 by default. Raises ValidationError (400)."""
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or int(text) > most:
        raise ValidationError({name: [f"Must be whole seconds from 0 to {most}."]})
    return int(text)


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this entity tag (RFC 9110, section 13.1.2)."""
    tags = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in tags or etag in [tag.removeprefix("W/") for tag in tags]


def check_parameters(
    request: Request, known: Collection[str] = (), repeatable: Collection[str] = ()
) -> None:
    """Raise ValidationError (400) for query parameters that would be ignored in silence."""
    parameters = request.query_params
    unknown = (name for name in parameters if name not in known)
    errors = unknown_names(unknown, known, "query parameter")
    for name in known:
        if name not in repeatable and len(parameters.getlist(name)) > 1:
            errors[name] = ["Must not be given twice."]
    if errors:
        raise ValidationError(errors)


def read_body(request: Request, parameters: Collection[str] = ()) -> dict[str, Any]:
    """Give the parsed body of a request that must have one, and check its query parameters.

    DRF takes an absent body for `{}`, whatever its type; the contract does not. Raises
    UnsupportedMediaType (415) for other types than the view's parsers and for compressed ones,
    ParseError (400) for an empty or incomplete body, ValidationError (400) for query parameters
    other than `parameters`, and what the parser raises.
    """
    media_type = request.content_type
    # "*/*" is no type of a body, though DRF would match it with the first parser.
    if media_type and ("*" in media_type or not _is_parsed(media_type, request)):
        raise UnsupportedMediaType(media_type)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UnsupportedMediaType(encoding, "Send the body as it is, without Content-Encoding.")
    check_parameters(request, parameters)
    if not request.body:
        raise ParseError("The body is empty; send a JSON object.")
    if not media_type:
        raise UnsupportedMediaType("", "Say what the body is: Content-Type: application/json.")
    if len(request.body) < int(request.META["CONTENT_LENGTH"]):
        raise ParseError("The request body ended too early.")
    data: Any = request.data
    return data


def read_no_body(request: Request, parameters: Collection[str] = ()) -> None:
    """Check a request that needs no body: an empty JSON object is as good as none.

    Raises what `read_body` raises, and ValidationError (400) for any field.
    """
    check_parameters(request, parameters)
    if request.body and (fields := read_body(request, parameters)):
        raise ValidationError(unknown_names(fields, known=()))


def _is_parsed(media_type: str, request: Request) -> bool:
    parsers = request.parsers or ()
    return any(media_type_matches(parser.media_type, media_type) for parser in parsers)
