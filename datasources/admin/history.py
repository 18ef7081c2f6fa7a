"""The history of a data source, formatted for the admin."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.utils.text import Truncator

from datasources.models import DataSource
from datasources.models.changing import is_same_json
from datasources.models.revision import Changes, DataSourceRevision
from rivergen.http.pagination import row_bytes, take_page

PAGE_SIZE = 50
VALUE_MAX_LENGTH = 500
# A value within a sentence.
SENTENCE_VALUE_MAX_LENGTH = 60
CONFLICTS_SHOWN_MAX = 5
EMPTY = "—"


class Difference(NamedTuple):
    """The old and the new value of one field, or of one key of an object, as text."""

    field: str
    before: str
    after: str


def differences(changes: Changes, max_length: int = VALUE_MAX_LENGTH) -> list[Difference]:
    """Return what a revision changed, sorted by field; objects are compared key by key."""
    return [
        Difference(field, format_value(before, max_length), format_value(after, max_length))
        for name, change in sorted(changes.items())
        for field, before, after in split_by_key(name, change["from"], change["to"])
    ]


def split_by_key(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the changed keys of an object with dotted names; yield any other change as it is."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield name, before, after
        return
    for key in {**before, **after}:
        is_same = is_same_json(before.get(key), after.get(key))
        if not is_same or (key in before) != (key in after):
            yield from split_by_key(f"{name}.{key}", before.get(key), after.get(key))


def format_value(value: Any, max_length: int) -> str:
    """Format a JSON value as text of at most `max_length` characters."""
    if value is None or value == "" or value == []:
        return EMPTY
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Truncator(text).chars(max_length)


def history_page(
    data_source: DataSource, before: int | None
) -> tuple[list[DataSourceRevision], int | None]:
    """Return the revisions before a version, newest first, and the `before` of the next page."""
    revisions: QuerySet[DataSourceRevision] = data_source.revisions.select_related("changed_by")
    if before is not None:
        revisions = revisions.filter(version__lt=before)
    page, has_more = take_page(revisions[: PAGE_SIZE + 1], PAGE_SIZE, measure=row_bytes)
    return page, page[-1].version if has_more else None


def describe_conflict(data_source: DataSource, shown_version: int | None) -> list[str]:
    """Return sentences that say who changed what since a page was loaded, newest first."""
    revisions = data_source.revisions.select_related("changed_by")
    later = [*revisions.filter(version__gt=shown_version or 0)[: CONFLICTS_SHOWN_MAX + 1]]
    sentences = [describe_revision(revision) for revision in later[:CONFLICTS_SHOWN_MAX]]
    if len(later) > CONFLICTS_SHOWN_MAX:
        sentences.append("Earlier changes are in the history.")
    return [
        "This data source has changed since you opened it. Nothing was saved. Reload the page and "
        "try again.",
        *sentences,
    ]


def describe_revision(revision: DataSourceRevision) -> str:
    """Return a sentence with the author, the time, the origin and the changes of a revision."""
    author = revision.changed_by or "Unknown"
    changes = "; ".join(
        f"{difference.field}: {difference.before} → {difference.after}"
        for difference in differences(revision.changes, SENTENCE_VALUE_MAX_LENGTH)
    )
    time = f"{revision.changed_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{author}, {time}, via {revision.origin}: {changes}."
