"""Strict parsing of requests: ids in the path, query parameters, headers and the body."""

from collections.abc import Collection
from typing import Any

from django.db.models import BigIntegerField
from django.utils.http import parse_etags
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from rivergen.http import preconditions
from rivergen.http.parsers import MergePatchParser
from rivergen.http.serializers import unknown_names


def read_id(text: str) -> int:
    """Return the id in `text`; 0, which no row has, if it is no number or too large for bigint."""
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        return 0
    return int(text) if int(text) <= BigIntegerField.MAX_BIGINT else 0


def id_problem(value: Any, places: dict[int, str], place: str) -> str | None:
    """Return what is wrong with one of many ids in a body, or None.

    `places` maps the ids before it to where they are; a right one is added.
    """
    if type(value) is not int or value < 1:
        return "Must be a positive whole number."
    if value in places:
        return f"This id is also in {places[value]}. Send each id once."
    places[value] = place
    return None


def read_switch(request: Request, name: str) -> bool:
    """Return a true/false query parameter, false by default. Raises ValidationError (400)."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise ValidationError({name: ["Must be true or false."]})
    return value == "true"


def read_seconds(request: Request, name: str, most: int) -> int:
    """Return a query parameter of whole seconds, 0 by default. Raises ValidationError (400)."""
    text = request.query_params.get(name, "0")
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or int(text) > most:
        raise ValidationError({name: [f"Must be whole seconds from 0 to {most}."]})
    return int(text)


def is_known(request: Request, etag: str) -> bool:
    """Return whether `If-None-Match` names this entity tag (RFC 9110, section 13.1.2)."""
    tags = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in tags or etag in [tag.removeprefix("W/") for tag in tags]


def entity_tag(version: int) -> str:
    """Return the entity tag of a version: the number, quoted (RFC 9110, section 8.8.3)."""
    return f'"{version}"'


def check_parameters(
    request: Request,
    known: Collection[str] = (),
    repeatable: Collection[str] = (),
    *,
    knows_versions: bool = False,
) -> None:
    """Raise ValidationError (400) for unknown or repeated query parameters, and preconditions.

    An endpoint that `knows_versions` honors `If-Match`, unless it is malformed.
    """
    parameters = request.query_params
    unknown = [name for name in parameters if name not in known]
    errors = unknown_names(unknown, known, "query parameter") if unknown else {}
    if preconditions.ALLOW_DISJOINT in errors:
        errors[preconditions.ALLOW_DISJOINT] = [preconditions.ONLY_FOR_PATCH]
    for name in known:
        if name not in repeatable and len(parameters.getlist(name)) > 1:
            errors[name] = ["Must not be given more than once."]
    if not preconditions.HEADERS.isdisjoint(request.META):
        errors |= preconditions.precondition_errors(request, knows_versions=knows_versions)
    if errors:
        raise ValidationError(errors)


def is_merge_patch(request: Request) -> bool:
    """Return whether the body is a JSON merge patch (RFC 7396) rather than plain JSON."""
    media_type: str = request.content_type.partition(";")[0].strip().lower()
    return media_type == MergePatchParser.media_type


def read_body(
    request: Request,
    parameters: Collection[str] = (),
    switches: Collection[str] = (),
    *,
    knows_versions: bool = False,
) -> dict[str, Any]:
    """Return the parsed body of a request that must have one; check its query parameters.

    `switches` are parameters that must be true or false; `knows_versions` is that of
    `check_parameters`. Raises UnsupportedMediaType (415) for a compressed body or a type without a
    parser, what `check_parameters` raises, ParseError (400) for an empty or incomplete body (DRF
    would return `{}` for an absent one), and what the parser raises.
    """
    media_type = request.content_type
    # "*/*" is not the type of a body, but DRF would match it with the first parser.
    if media_type and ("*" in media_type or not _is_parsed(media_type, request)):
        types = " or ".join(parser.media_type for parser in request.parsers or ())
        sentence = f"A body of type {media_type[:64]} is not read. Send Content-Type: {types}."
        raise UnsupportedMediaType(media_type, sentence)
    coding = request.headers.get("Content-Encoding", "").strip()
    if coding.lower() not in ("", "identity"):
        sentence = f"A body with Content-Encoding: {coding[:64]} is not read. Send it uncompressed."
        raise UnsupportedMediaType(coding, sentence)
    if request.body and not media_type:
        raise UnsupportedMediaType("", "The body has no type. Send Content-Type: application/json.")
    check_parameters(request, (*parameters, *switches), knows_versions=knows_versions)
    for name in switches:
        read_switch(request, name)
    if not request.body:
        raise ParseError("The body is empty. Send a JSON object.")
    if len(request.body) < int(request.META["CONTENT_LENGTH"]):
        raise ParseError("The request body ended too early.")
    data: Any = request.data
    return data


def read_no_body(
    request: Request, parameters: Collection[str] = (), *, knows_versions: bool = False
) -> None:
    """Check that a request has no body, or an empty JSON object.

    Raises what `read_body` raises, and ValidationError (400) for any field.
    """
    if not request.body:
        check_parameters(request, parameters, knows_versions=knows_versions)
    elif fields := read_body(request, parameters, knows_versions=knows_versions):
        raise ValidationError(unknown_names(fields, known=()))


def _is_parsed(media_type: str, request: Request) -> bool:
    parsers = request.parsers or ()
    return any(media_type_matches(parser.media_type, media_type) for parser in parsers)
