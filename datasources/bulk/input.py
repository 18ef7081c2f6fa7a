"""Reading a request that updates many data sources."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from rivergen.http.input import is_merge_patch, read_body, read_switch
from rivergen.http.serializers import unknown_names

UPDATES_MAX = 200
SWITCHES = ("atomic", "dry_run")
REFUSED = {
    "verify": "Many updates cannot be verified in one request. Use PATCH of each data source.",
    "allow_disjoint": "This is for the PATCH of one data source.",
    "If-Match": "A header cannot name the versions of many data sources. Send if_match in each "
    "update.",
}
"""Parameters and headers of `PATCH /data-sources/{data_source_id}` that many do not have."""


class Update(NamedTuple):
    """One of many updates: the fields to change, and the entity tags that it names, if any."""

    data_source_id: int
    fields: dict[str, Any]


class Updates(NamedTuple):
    """The updates of one request, and how to make them."""

    all: list[Update]
    is_atomic: bool
    is_dry_run: bool
    is_merge_patch: bool

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the updates in the body. Raises 400, 413 or 415 for the whole request."""
        body = read_body(request, parameters=("verify", "allow_disjoint"), switches=SWITCHES)
        sent = (*request.query_params, *request.headers)
        if refused := {name: [text] for name, text in REFUSED.items() if name in sent}:
            raise ValidationError(refused)
        return cls(
            read_updates(body),
            request.query_params.get("atomic") != "false",
            read_switch(request, "dry_run"),
            is_merge_patch(request),
        )


def read_updates(body: Mapping[str, Any]) -> list[Update]:
    """Return the updates in a body. Raises ValidationError (400), which names where they are."""
    items = body.get("updates")
    errors = unknown_names([name for name in body if name != "updates"], ["updates"])
    if not isinstance(items, list):
        errors["updates"] = ["Must be an array of objects, one for each data source."]
    elif not 1 <= len(items) <= UPDATES_MAX:
        errors["updates"] = [f"Must have 1 to {UPDATES_MAX} items; has {len(items):,}."]
    if errors:
        raise ValidationError(errors)
    places: dict[int, str] = {}
    updates = []
    for number, item in enumerate(items):
        place = f"updates[{number}]"
        if not isinstance(item, dict):
            errors[place] = ["Must be a JSON object."]
        elif (problem := problem_of_id(item, places)) is not None:
            errors[f"{place}.id"] = [problem]
        else:
            places[item["id"]] = place
            fields = {name: value for name, value in item.items() if name != "id"}
            updates.append(Update(item["id"], fields))
    if errors:
        raise ValidationError(errors)
    return updates


def problem_of_id(item: dict[str, Any], places: dict[int, str]) -> str | None:
    """Return what is wrong with the id of an update, or None; `places` has the ids before it."""
    if "id" not in item:
        return "This field is required."
    if type(item["id"]) is not int or item["id"] < 1:
        return "Must be a positive whole number."
    if item["id"] in places:
        return f"The same data source as in {places[item['id']]}. Put all its fields there."
    return None
