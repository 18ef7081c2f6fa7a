"""What a data source was found to have, for a page."""

from typing import Any

from django.http import QueryDict

from datasources.admin.history import differences
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.snapshots.changes import Change
from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.snapshots.pages import take_page
from datasources.schemas.snapshots.summary import Summary
from rivergen.http.input import read_id

TABLES_ON_A_PAGE = 50
CHANGES_MAX = 200
SNAPSHOTS_MAX = 50


def schema_page(data_source: DataSource, parameters: QueryDict) -> dict[str, Any]:
    """Give the tables of a snapshot, some at a time, and what has changed since the one before.

    `parameters` may have `snapshot`, the last one by default, `search` and `from`, the position
    of the first table; what makes no sense is as if it were not there.
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
    page, has_more = take_page(tables, TABLES_ON_A_PAGE)
    return context | {
        "search": search,
        "tables": page,
        "next_from": start + len(page) if has_more else None,
        "start": start,
        **changes_of(snapshot),
    }


def changes_of(snapshot: SchemaSnapshot) -> dict[str, Any]:
    """Give the first changes since the snapshot before, and how many there are of each kind."""
    before = snapshot.previous()
    summary = Summary(snapshot.changes_since(before) if before else ())
    changes = [in_words(change) for change in take_page(summary, CHANGES_MAX)[0]]
    return {"before": before, "changes": changes, "summary": summary.complete()}


def in_words(change: Change) -> dict[str, Any]:
    """Add to a change what it did, as text, property by property."""
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
