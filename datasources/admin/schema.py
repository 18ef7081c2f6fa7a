"""The schema page: the tables of a snapshot, and the changes since the previous snapshot."""

from collections.abc import Iterator
from typing import Any

from django.http import QueryDict

from datasources.admin.history import differences
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.catalogue import Action
from datasources.schemas.snapshots.changes import Change
from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.snapshots.summary import Summary
from rivergen.http.input import read_id
from rivergen.http.pagination import take_page

PAGE_SIZE = 50
CHANGES_MAX = 200
SNAPSHOTS_MAX = 50


def schema_page(data_source: DataSource, parameters: QueryDict) -> dict[str, Any]:
    """Return the context of the page: one page of tables, and the changes of the snapshot.

    `parameters` may have `snapshot` (a number; default: the latest), `search` (words) and `from`
    (the position of the first table). Invalid values are ignored.
    """
    snapshots = data_source.schema_snapshots.select_related("content")
    snapshot = snapshots.filter(number=read_id(parameters.get("snapshot", ""))).first()
    snapshot = snapshot or snapshots.first()
    context = {
        "last_refresh": SchemaRefresh.objects.filter(data_source=data_source).first(),
        "snapshots": data_source.schema_snapshots.summaries()[:SNAPSHOTS_MAX],
        "snapshot": snapshot,
    }
    if snapshot is None:
        return context
    search = parameters.get("search", "").strip()
    start = read_id(parameters.get("from", ""))
    tables = snapshot.tables(words=search.split(), start=start)
    page, has_more = take_page(tables, PAGE_SIZE)
    return context | {
        "search": search,
        "tables": [{**table, "definitions": [*definitions(table)]} for table in page],
        "next_from": start + len(page) if has_more else None,
        "start": start,
        **changes_context(snapshot),
    }


def definitions(table: Any) -> Iterator[str]:
    """Yield the keys and indexes of a table, each in a line of text."""
    if key := table["primary_key"]:
        yield joined(f"Primary key: {', '.join(key['columns'])}", key["options"])
    for key in table["foreign_keys"]:
        schema = f"{key['referred_schema']}." if key["referred_schema"] else ""
        actions = [
            f"on {event} {action.replace('_', ' ')}"
            for event, action in (("update", key["on_update"]), ("delete", key["on_delete"]))
            if action not in (None, Action.NO_ACTION)
        ]
        text = (
            f"Foreign key: {', '.join(key['columns'])} → {schema}{key['referred_table']}"
            f" ({', '.join(key['referred_columns'])})"
        )
        yield joined(text, *actions, key["options"])
    for index in table["indexes"]:
        columns = map(" ".join, zip(index["columns"], index["column_options"], strict=True))
        yield joined(
            f"{'Unique index' if index['is_unique'] else 'Index'} {index['name']}: "
            + ", ".join(map(str.rstrip, columns)),
            f"where {index['predicate']}" if index["predicate"] else None,
            f"includes {', '.join(index['included_columns'])}" * bool(index["included_columns"]),
            index["method"] if index["method"] != "btree" else None,
            index["options"],
        )


def joined(*parts: str | None) -> str:
    """Return the parts that are not empty, in one line."""
    return "; ".join(part for part in parts if part)


def changes_context(snapshot: SchemaSnapshot) -> dict[str, Any]:
    """Return the first changes since the snapshot before, and the number of each kind."""
    before = snapshot.previous()
    summary = Summary(snapshot.changes_since(before) if before else ())
    changes = [describe_change(change) for change in take_page(summary, CHANGES_MAX)[0]]
    return {"before": before, "changes": changes, "summary": summary.complete()}


def describe_change(change: Change) -> dict[str, Any]:
    """Return a change as text, with the old and new values of each changed property."""
    table = f"{change['schema']}.{change['table']}" if change["schema"] else change["table"]
    before, after = change["from"] or {}, change["to"] or {}
    names = dict.fromkeys((*before, *after))
    details = differences(
        {name: {"from": before.get(name), "to": after.get(name)} for name in names}
    )
    return {
        "kind": change["change"],
        "object": change["object"].replace("_", " "),
        "table": table,
        "name": change["name"],
        "breaks_readers": change["breaks_readers"],
        "details": details if change["change"] == "changed" else [],
    }
