"""Preconditions of requests: `If-Match`, and the headers that are refused (RFC 9110, section 13).

A precondition is never ignored: it is honored, or the request is refused with 400.
"""

import re
from typing import Any, NamedTuple

from django.db.models import BigIntegerField
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

IF_MATCH = "HTTP_IF_MATCH"
IF_NONE_MATCH = "HTTP_IF_NONE_MATCH"
IF_UNMODIFIED_SINCE = "HTTP_IF_UNMODIFIED_SINCE"
HEADERS = frozenset((IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE))
"""The names of the headers in `request.META`."""

ALLOW_DISJOINT = "allow_disjoint"
"""The query parameter that weakens a precondition (contract, section 4b)."""

IF_MATCH_MAX_LENGTH = 8_192
SHOWN_CHARACTERS = 64
# One member of a list of entity tags, which may be empty (RFC 9110, sections 5.6.1 and 8.8.3). The
# quantifiers are possessive, so that the time is linear.
MEMBER = re.compile(r'[ \t]*+((?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")?[ \t]*+(?:,|\Z)')
VERSION = re.compile(r'"([1-9][0-9]{0,18})"')

SEND_ETAG = 'Send the ETag of the version you read, with its quotes, such as "3".'
NO_ENTITY_TAG = (
    f"Not an entity tag: {{text}}. {SEND_ETAG} Separate several by commas; * alone is any version."
)
NO_VERSIONS = "This endpoint knows no versions. Send the request without {header}."
NO_TIMES = f"Versions are compared, not times. Use If-Match instead. {SEND_ETAG}"
ONLY_FOR_PATCH = "Only PATCH /api/v1/data-sources/{data_source_id} takes this parameter."
ONLY_FOR_GET = "If-None-Match is for GET and HEAD. Send this request without it."


class Unmet(NamedTuple):
    """The preconditions of a request that the current version does not meet."""

    sentence: str
    since: int | None
    """The oldest version that was named; None if one precondition names no earlier version."""


def precondition_errors(request: Request, *, knows_versions: bool) -> dict[str, list[str]]:
    """Return a sentence for each precondition that the endpoint cannot honor, by header.

    `knows_versions`: the endpoint honors `If-Match`.
    """
    errors = {}
    is_change = request.method not in SAFE_METHODS
    if IF_MATCH in request.META:
        if not knows_versions:
            errors["If-Match"] = [NO_VERSIONS.format(header="If-Match")]
        elif problem := if_match_problem(request.META[IF_MATCH]):
            errors["If-Match"] = [problem]
    # With If-Match, this header is to be ignored (RFC 9110, section 13.1.4).
    elif is_change and IF_UNMODIFIED_SINCE in request.META:
        sentence = NO_TIMES if knows_versions else NO_VERSIONS
        errors["If-Unmodified-Since"] = [sentence.format(header="If-Unmodified-Since")]
    if is_change and IF_NONE_MATCH in request.META:
        errors["If-None-Match"] = [ONLY_FOR_GET]
    return errors


def if_match_problem(text: str) -> str | None:
    """Return what is wrong with the form of `If-Match`, or None if it is well-formed."""
    if len(text) > IF_MATCH_MAX_LENGTH:
        return f"Must have at most {IF_MATCH_MAX_LENGTH:,} characters."
    if read_entity_tags(text):
        return None
    return NO_ENTITY_TAG.format(text=text[:SHOWN_CHARACTERS].strip() or "nothing")


def read_entity_tags(text: str) -> list[str]:
    """Return the entity tags in `If-Match`, `["*"]` for any version; empty if it is malformed."""
    if text.strip(" \t") == "*":
        return ["*"]
    tags: list[str] = []
    position = 0
    while position < len(text):
        member = MEMBER.match(text, position)
        if member is None:
            return []
        position = member.end()
        if member[1] is not None:
            tags.append(member[1])
    return tags


def is_version(value: Any) -> bool:
    """Return whether a JSON value is a version: a positive integer that fits bigint."""
    return type(value) is int and 1 <= value <= BigIntegerField.MAX_BIGINT


def names_version(if_match: str | None) -> bool:
    """Return whether a well-formed `If-Match` names versions, rather than any."""
    return if_match is not None and read_entity_tags(if_match) != ["*"]


def unmet(current: int, if_match: str | None, version: int | None = None) -> Unmet | None:
    """Return what is wrong with the preconditions of a request; None if all are met.

    `if_match` is a well-formed header, `version` the one in the body. Entity tags are compared
    strongly, so a weak tag never matches. Source: RFC 9110, sections 8.8.3.2 and 13.1.1.
    """
    named: list[str] = []
    since: list[int | None] = []
    hint = ""
    if if_match is not None and (tags := read_entity_tags(if_match)) != ["*"]:
        versions = [int(tag[1:-1]) for tag in tags if VERSION.fullmatch(tag)]
        if current not in versions:
            named.append(f"If-Match named {if_match.strip()[:SHOWN_CHARACTERS]}")
            since.append(min((one for one in versions if one < current), default=None))
            hint = _hint(tags, has_versions=bool(versions))
    if version is not None and version != current:
        named.append(f"version in the body is {version}")
        since.append(version if version < current else None)
    if not named:
        return None
    known = [one for one in since if one is not None]
    oldest = min(known) if len(known) == len(since) else None
    return Unmet(f"Version {current} is current; {', and '.join(named)}.{hint}", oldest)


def _hint(tags: list[str], *, has_versions: bool) -> str:
    """Return what to send instead of tags of which none is a version's."""
    if has_versions:
        return ""
    if any(tag.startswith("W/") for tag in tags):
        return f" A weak tag (W/) never matches. {SEND_ETAG}"
    return f" This is not an ETag of a version. {SEND_ETAG}"
