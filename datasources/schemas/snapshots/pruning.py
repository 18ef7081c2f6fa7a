"""Pruning: deletion of outdated snapshots and unused contents."""

from django.db import transaction

from datasources.schemas.snapshots.models import SchemaContent, SchemaSnapshot

# A data source keeps its last 100 snapshots, and all that were current within the last year.
KEPT_COUNT = 100
KEPT_DAYS = 365
CONTENTS_AT_ONCE = 100


def prune(count: int = KEPT_COUNT, days: int = KEPT_DAYS) -> tuple[int, int]:
    """Delete outdated snapshots, and schema contents without snapshots; return both numbers.

    Contents that are locked are left for the next run.
    """
    snapshots, _ = SchemaSnapshot.objects.outdated(count, days).delete()
    contents = 0
    last_id = 0
    while True:
        with transaction.atomic():
            unused = SchemaContent.objects.filter(pk__gt=last_id, snapshots=None).order_by("pk")
            locked = unused.select_for_update(skip_locked=True, of=("self",))
            ids = [*locked.values_list("pk", flat=True)[:CONTENTS_AT_ONCE]]
            if not ids:
                return snapshots, contents
            last_id = ids[-1]
            # Check again: a snapshot may have been stored before the lock was taken.
            still_unused = SchemaContent.objects.filter(pk__in=ids, snapshots=None)
            contents += still_unused.delete()[1].get("datasources.SchemaContent", 0)
