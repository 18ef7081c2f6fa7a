"""The preconditions of requests about a data source, and the conflict of a 412."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from rest_framework.exceptions import APIException, ValidationError

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.models.field_names import DESTINATION_GROUP, OBSERVED_FIELDS
from rivergen.http.exceptions import PreconditionFailed, PreconditionRequired
from rivergen.http.input import entity_tag
from rivergen.http.preconditions import ALLOW_DISJOINT, is_version, names_version, unmet
from rivergen.http.serializers import utc_text

VERSION_MISSING = "allow_disjoint needs a version: send If-Match, or version in the body."

CHANGED_SINCE_MAX = 50
MOVING_FIELDS = DESTINATION_GROUP.intersection(UPDATABLE_FIELDS)


def judge_update(
    data_source: DataSource,
    body: Mapping[str, Any],
    if_match: str | None,
    *,
    allows_disjoint: bool = False,
) -> APIException | None:
    """Return the error (412, 428) if the preconditions do not allow an update of a locked row.

    `if_match` is a well-formed header; `version` in the body counts as one. `allows_disjoint`: an
    earlier version is enough, if nothing that the body names was changed since. Raises
    ValidationError (400) if that is asked for and no version is named.
    """
    if allows_disjoint and "version" not in body and not names_version(if_match):
        raise ValidationError({ALLOW_DISJOINT: [VERSION_MISSING]})
    # The serializer refuses what is no version.
    version = body["version"] if is_version(body.get("version")) else None
    return judge(
        data_source,
        if_match,
        version,
        named=[name for name in body if name != "version" and name not in OBSERVED_FIELDS],
        is_required=data_source.requires_if_match,
        allows_disjoint=allows_disjoint,
    )


def judge(
    data_source: DataSource,
    if_match: str | None,
    version: int | None = None,
    *,
    named: Iterable[str] = (),
    is_required: bool = False,
    allows_disjoint: bool = False,
) -> APIException | None:
    """Return the error if the preconditions do not allow a request, otherwise None.

    `if_match` is a well-formed header, `version` the one in the body. The error is
    PreconditionFailed (412) with the conflict, or PreconditionRequired (428) if `is_required` and
    no version is named. Source: RFC 9110, section 13.1.1; RFC 6585, section 3.
    """
    if is_required and version is None and not names_version(if_match):
        return PreconditionRequired()
    failed = unmet(data_source.version, if_match, version)
    if failed is None:
        return None
    conflict = conflict_since(data_source, failed.since, named)
    sentence = failed.sentence
    if allows_disjoint and failed.since is not None:
        if not conflict["overlapping"]:
            return None
        sentence += f" Changed since: {', '.join(conflict['overlapping'])}."
    return PreconditionFailed(sentence, entity_tag(data_source.version), conflict)


def conflict_since(
    data_source: DataSource, version: int | None, named: Iterable[str]
) -> dict[str, Any]:
    """Return what changed since a version, and which of the `named` fields clash with it.

    None is a version that never was: then nothing is known to have changed.
    """
    conflict: dict[str, Any] = {"version": data_source.version}
    if version is None:
        return {**conflict, "changed_since": [], "overlapping": []}
    # GET locks no row, so there may be a later version already.
    since = data_source.revisions.since(version).filter(version__lte=data_source.version)
    columns = ("version", "changed_at", "changed_by_id", "origin", "fields")
    # One more than is shown tells whether there are more.
    revisions = [*since.with_fields().values_list(*columns)[: CHANGED_SINCE_MAX + 1]]
    is_truncated = len(revisions) > CHANGED_SINCE_MAX
    if is_truncated:
        changed = since.changed_fields()
    else:
        changed = {field for *_, fields in revisions for field in fields}
    conflict["changed_since"] = [
        {
            "version": number,
            "changed_at": utc_text(changed_at),
            "changed_by_user_id": changed_by,
            "origin": origin,
            "fields": fields,
        }
        for number, changed_at, changed_by, origin, fields in revisions[:CHANGED_SINCE_MAX]
    ]
    conflict["overlapping"] = overlapping(named, changed)
    return {**conflict, "truncated": True} if is_truncated else conflict


def overlapping(named: Iterable[str], changed: AbstractSet[str]) -> list[str]:
    """Return which of the named fields clash with those that were changed.

    The fields of the destination are one group. A connection string may bring secrets, so it also
    clashes with secrets that were changed.
    """
    clashing = {*changed}
    if not changed.isdisjoint(DESTINATION_GROUP):
        clashing |= MOVING_FIELDS
    if not changed.isdisjoint(SECRET_FIELDS):
        clashing.add("connection_string")
    return [field for field in named if field in clashing]
