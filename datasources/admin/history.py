"""The history of a data source as staff read it."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.utils.text import Truncator

from datasources.models import DataSource
from datasources.models.changing import is_same_json
from datasources.models.revision import Changes, DataSourceRevision

REVISIONS_ON_A_PAGE = 50
VALUE_MAX_LENGTH = 500
# Of what fits into a sentence.
WORDS_MAX_LENGTH = 60
REVISIONS_NAMED_MAX = 5
NOTHING = "—"


class Difference(NamedTuple):
    """What one field, or one key of an object in it, was and came to be, as text."""

    field: str
    before: str
    after: str


def differences(changes: Changes, max_length: int = VALUE_MAX_LENGTH) -> list[Difference]:
    """Give what a revision changed; of objects the keys that differ."""
    return [
        Difference(field, as_text(before, max_length), as_text(after, max_length))
        for name, change in sorted(changes.items())
        for field, before, after in parts(name, change["from"], change["to"])
    ]


def parts(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Take a change of an object apart, by key."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield name, before, after
        return
    for key in {**before, **after}:
        is_same = is_same_json(before.get(key), after.get(key))
        if not is_same or (key in before) != (key in after):
            yield from parts(f"{name}.{key}", before.get(key), after.get(key))


def as_text(value: Any, max_length: int) -> str:
    """Show a JSON value."""
    if value is None or value == "" or value == []:
        return NOTHING
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Truncator(text).chars(max_length)


def page_of_history(
    data_source: DataSource, before: int | None
) -> tuple[list[DataSourceRevision], int | None]:
    """Give the revisions below a version, newest first, and the version to go on from, if any."""
    revisions: QuerySet[DataSourceRevision] = data_source.revisions.select_related("changed_by")
    if before is not None:
        revisions = revisions.filter(version__lt=before)
    found = [*revisions[: REVISIONS_ON_A_PAGE + 1]]
    page = found[:REVISIONS_ON_A_PAGE]
    return page, page[-1].version if len(found) > len(page) else None


def overtaken(data_source: DataSource, shown_version: int | None) -> list[str]:
    """Say who has changed what since a page showed the data source, newest first."""
    revisions = data_source.revisions.select_related("changed_by")
    later = [*revisions.filter(version__gt=shown_version or 0)[: REVISIONS_NAMED_MAX + 1]]
    sentences = [in_a_sentence(revision) for revision in later[:REVISIONS_NAMED_MAX]]
    if len(later) > REVISIONS_NAMED_MAX:
        sentences.append("There are earlier changes, too; the history has them.")
    return [
        "Somebody else has changed this data source since you opened it. Nothing of yours is "
        "saved. Open it again, and change what is there now.",
        *sentences,
    ]


def in_a_sentence(revision: DataSourceRevision) -> str:
    """Say who changed what, when and by which way in."""
    who = revision.changed_by or "Nobody known"
    what = "; ".join(
        f"{one.field}: {one.before} → {one.after}"
        for one in differences(revision.changes, WORDS_MAX_LENGTH)
    )
    when = f"{revision.changed_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{who}, {when}, by {revision.origin}: {what}."
