"""Changes between two snapshots of a schema, and which of them break readers.

A change breaks readers if a query that ran before may now fail, or meet values of a kind that it
has never met: a table or column is removed, a column gets another common type or becomes nullable,
or the order of the columns changes, on which some readers rely. Keys, indexes and defaults concern
writers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from django.db.models import TextChoices

from datasources.schemas.reading.catalogue import Key, Table
from datasources.schemas.reading.common_types import CommonType

# Common types that do not say what they contain: only the source's own type name does.
VAGUE_TYPES = (CommonType.ARRAY, CommonType.OBJECT, CommonType.OTHER)


class ChangeKind(TextChoices):
    """The kind of a change."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class ChangedObject(TextChoices):
    """The object that was changed."""

    TABLE = "table"
    COLUMN = "column"
    PRIMARY_KEY = "primary_key"
    FOREIGN_KEY = "foreign_key"
    INDEX = "index"


Properties = dict[str, Any]

Change = TypedDict(
    "Change",
    {
        "change": str,
        "object": str,
        "schema": str,
        "table": str,
        "name": str | None,
        "from": Properties | None,
        "to": Properties | None,
        "breaks_readers": bool,
    },
)
"""One change. `name` is the name of the column, key or index, None for the table itself.

`from` and `to` hold the properties that differ. For something added or removed they hold all of its
properties; for an added or removed table, its kind and the number of its columns.
"""

Lines = Iterable[tuple[Key, bytes]]
"""Tables as JSON, sorted by their keys."""


def changes_between(before: Lines, after: Lines) -> Iterator[Change]:
    """Yield the changes, sorted by table. Tables with equal JSON are skipped without parsing."""
    for key, old, new in merged(before, after):
        if old == new:
            continue
        if old is None or new is None:
            yield of_table(key, summary(old), summary(new))
        else:
            yield from changes_of_table(json.loads(old), json.loads(new))


def merged(before: Lines, after: Lines) -> Iterator[tuple[Key, bytes | None, bytes | None]]:
    """Yield each key of either side, with the line of both sides, None where it is missing."""
    old_lines, new_lines = iter(before), iter(after)
    old, new = next(old_lines, None), next(new_lines, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            yield old[0], old[1], None
            old = next(old_lines, None)
        elif old is None or new[0] < old[0]:
            yield new[0], None, new[1]
            new = next(new_lines, None)
        else:
            yield old[0], old[1], new[1]
            old, new = next(old_lines, None), next(new_lines, None)


def summary(line: bytes | None) -> Properties | None:
    """Return the properties to show of an added or removed table."""
    if line is None:
        return None
    table: Table = json.loads(line)
    return {"kind": table["kind"], "columns": len(table["columns"])}


def changes_of_table(old: Table, new: Table) -> Iterator[Change]:
    """Yield the changes of a table that both snapshots have."""
    key = (new["schema"], new["name"])
    before, after = differing(table_properties(old, new), table_properties(new, old))
    if before:
        yield of_table(key, before, after, breaks_readers="column_order" in before)
    for part in ChangedObject.values[1:]:
        yield from changes_of_parts(key, part, parts_of(old, part), parts_of(new, part))


def table_properties(table: Table, other: Table) -> Properties:
    """Return what a table has itself, and the order of the columns that `other` has, too."""
    names = {column["name"] for column in other["columns"]}
    return {
        "kind": table["kind"],
        "comment": table["comment"],
        "problem": table["problem"],
        "column_order": [name for name in parts_of(table, ChangedObject.COLUMN) if name in names],
    }


def parts_of(table: Table, part: str) -> dict[Any, Properties]:
    """Return the columns, keys or indexes of a table, by what identifies each over time."""
    if part == ChangedObject.PRIMARY_KEY:
        return {None: {**table["primary_key"]}} if table["primary_key"] else {}
    if part == ChangedObject.FOREIGN_KEY:
        # Some sources do not name foreign keys.
        return {
            key["name"] or (*key["columns"], key["referred_table"]): {**key}
            for key in table["foreign_keys"]
        }
    if part == ChangedObject.INDEX:
        return {index["name"]: {**index} for index in table["indexes"]}
    return {column["name"]: {**column} for column in table["columns"]}


def changes_of_parts(
    key: Key, part: str, old: Mapping[Any, Properties], new: Mapping[Any, Properties]
) -> Iterator[Change]:
    """Yield the changes of one kind of parts, in their new order, removed parts last."""
    for identity in {**new, **old}:
        before, after = old.get(identity), new.get(identity)
        name = (after or before or {})["name"]
        breaks_readers = part == ChangedObject.COLUMN and breaks(before, after)
        if before is not None and after is not None:
            before, after = differing(before, after)
            if not before:
                continue
        yield change(key, part, name, before, after, breaks_readers)


def breaks(old: Properties | None, new: Properties | None) -> bool:
    """Return whether a change of a column breaks readers."""
    if old is None or new is None:
        return new is None
    has_other_type = old["common_type"] != new["common_type"] or (
        old["common_type"] in VAGUE_TYPES and old["type"] != new["type"]
    )
    return has_other_type or (new["nullable"] and not old["nullable"])


def differing(old: Properties, new: Properties) -> tuple[Properties, Properties]:
    """Return the properties that differ: their old values, and their new values."""
    names = [name for name in new if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}


def of_table(
    key: Key, before: Properties | None, after: Properties | None, breaks_readers: bool = False
) -> Change:
    """Return the change of a table as a whole: added, removed (breaks readers) or changed."""
    is_gone = after is None
    return change(key, ChangedObject.TABLE, None, before, after, breaks_readers or is_gone)


def change(
    key: Key,
    part: str,
    name: str | None,
    before: Properties | None,
    after: Properties | None,
    breaks_readers: bool,
) -> Change:
    """Return a change: added if `before` is None, removed if `after` is None, else changed."""
    kind = ChangeKind.CHANGED
    if before is None:
        kind = ChangeKind.ADDED
    elif after is None:
        kind = ChangeKind.REMOVED
    return {
        "change": kind,
        "object": part,
        "schema": key[0],
        "table": key[1],
        "name": name,
        "from": before,
        "to": after,
        "breaks_readers": breaks_readers,
    }
