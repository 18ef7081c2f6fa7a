"""Deleting what is not to be kept of schemas."""

from django.db import transaction

from datasources.schemas.models import SchemaContent, SchemaSnapshot

# Of each data source: so many snapshots, and none that was replaced so long ago; but the last one.
KEPT_COUNT = 100
KEPT_DAYS = 365
CONTENTS_AT_ONCE = 100


def prune(count: int = KEPT_COUNT, days: int = KEPT_DAYS) -> tuple[int, int]:
    """Delete the snapshots that are not to be kept, and the contents that none refers to.

    Gives how many there were of both. What is in use at the time is left to the next time.
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
            # Asked again: a snapshot may have come to be before the lock.
            still_unused = SchemaContent.objects.filter(pk__in=ids, snapshots=None)
            contents += still_unused.delete()[1].get("datasources.SchemaContent", 0)
