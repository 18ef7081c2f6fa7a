"""Reading a request that updates many data sources."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from rivergen.http.input import id_problem, is_merge_patch, read_body, read_switch
from rivergen.http.preconditions import if_match_problem
from rivergen.http.serializers import unknown_names

UPDATES_MAX = 200
SWITCHES = ("atomic", "dry_run")
REFUSED = {
    "verify": "Many updates cannot be verified in one request. PATCH each data source by itself.",
    "If-Match": "One header cannot name the versions of many data sources. Send if_match, or "
    "version, in each update.",
}
"""What the PATCH of one data source takes and many do not, with what to do instead."""


class Update(NamedTuple):
    """One of many updates, with the fields to change as they were sent."""

    data_source_id: int
    fields: dict[str, Any]

    def pop_if_match(self) -> str | None:
        """Remove `if_match` from the fields and return its value; None if it was not sent.

        It is what the header is for one data source. Raises ValidationError (400).
        """
        if "if_match" not in self.fields:
            return None
        text = self.fields.pop("if_match")
        problem = if_match_problem(text) if isinstance(text, str) else "Must be a string."
        if problem is not None:
            raise ValidationError({"if_match": [problem]})
        return str(text)


class Updates(NamedTuple):
    """The updates of one request, and how to make them."""

    all: list[Update]
    is_atomic: bool
    is_dry_run: bool
    is_merge_patch: bool

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the updates in the body. Raises 400, 413 or 415 for the whole request."""
        try:
            body = read_body(request, switches=SWITCHES)
        except ValidationError as error:
            detail: Any = error.detail
            if isinstance(detail, dict):
                detail |= {name: [REFUSED[name]] for name in detail if name in REFUSED}
            raise
        return cls(
            read_updates(body),
            request.query_params.get("atomic") != "false",
            read_switch(request, "dry_run"),
            is_merge_patch(request),
        )


def read_updates(body: Mapping[str, Any]) -> list[Update]:
    """Return the updates in a body. Raises ValidationError (400), which names where they are."""
    items: Any = body.get("updates")
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
        elif "id" not in item:
            errors[f"{place}.id"] = ["This field is required."]
        elif problem := id_problem(item["id"], places, place):
            errors[f"{place}.id"] = [problem]
        else:
            fields = dict(item)
            updates.append(Update(fields.pop("id"), fields))
    if errors:
        raise ValidationError(errors)
    return updates
