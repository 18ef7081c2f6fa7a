"""Jobs of schemas: refresh on request and on schedule, clean up lost refreshes, prune."""

from collections import Counter
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from datasources.connections.failures import Code
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.jobs import Queue, durable_task
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.snapshots.pruning import prune

# The number of rows that are locked at once while their refreshes are enqueued.
ENQUEUED_AT_ONCE = 1_000


async def store_crash(data_source_id: int, refresh_id: str) -> None:
    """Store that the refresh crashed: no attempt is left, so there will be no other outcome."""
    if refresh := await find_running(data_source_id, refresh_id):
        await sync_to_async(refresh.finish)(Code.DRIVER_CRASHED)


@durable_task("refresh_schema", Queue.SCHEMAS, on_exhausted=store_crash)
async def refresh_schema(data_source_id: int, refresh_id: str) -> None:
    """Read the schema of a data source in the sandbox, unless this refresh has finished."""
    # Imported here: only the worker needs it, and the web process defers this task.
    from datasources.schemas.reading.sandbox import read_in_child

    refresh = await find_running(data_source_id, refresh_id)
    if refresh is None:
        return
    data_source = refresh.data_source
    found: dict[str, Any] = {}
    try:
        configuration = await sync_to_async(data_source.configuration)()
    except CredentialsUnconfirmed:
        code = Code.CREDENTIALS_UNCONFIRMED
    except CredentialsUnreadable:
        code = Code.CREDENTIALS_UNREADABLE
    else:
        reading = await read_in_child(configuration, refresh)
        code = reading.code or Code.DRIVER_CRASHED
        found = {"content": reading.content, "details": reading.details}
        found["warnings"] = reading.warnings
    await sync_to_async(refresh.finish)(code, data_source, **found)


async def find_running(data_source_id: int, refresh_id: str) -> SchemaRefresh | None:
    """Return a refresh with its current data source; None if it has finished or is deleted."""
    refreshes = SchemaRefresh.objects.running().select_related("data_source__workspace")
    return await refreshes.filter(pk=data_source_id, refresh_id=refresh_id).afirst()


@app.periodic(cron="* * * * * */10")
@app.task(name="enqueue_refreshes", queueing_lock="enqueue_refreshes", queue=Queue.EXPRESS)
async def enqueue_refreshes(timestamp: int) -> None:
    """Enqueue, every 10 seconds, a refresh of each data source that is due."""
    await sync_to_async(enqueue_due)()


def enqueue_due() -> int:
    """Enqueue a refresh of each data source that is due, and return their number.

    Locked rows are skipped until the next run: they are being changed, or enqueued elsewhere.
    """
    number_by_organization: Counter[int] = Counter()
    while True:
        with transaction.atomic():
            due = DataSource.objects.due_for_refresh()
            # Lock rows as a change does, so that no row is changed or deleted concurrently.
            locked = due.select_for_update(skip_locked=True, no_key=True, of=("self",))
            locked = locked.only("organization_id", "version", "schema_next_refresh_at")
            data_sources = [*locked[:ENQUEUED_AT_ONCE]]
            if not data_sources:
                return number_by_organization.total()
            enqueue(SchemaRefresh.objects.start(data_sources), number_by_organization)


def enqueue(
    refreshes: list[SchemaRefresh],
    number_by_organization: Counter[int] | None = None,
    is_urgent: bool = False,
) -> None:
    """Enqueue refreshes in the current transaction, urgent ones before all others.

    Otherwise organizations with fewer refreshes, as counted in `number_by_organization`, come
    first.
    """
    numbers = Counter[int]() if number_by_organization is None else number_by_organization
    jobs = []
    for refresh in refreshes:
        organization_id = refresh.data_source.organization_id
        jobs.append(
            Job(
                id=None,
                task_name=refresh_schema.name,
                queue=Queue.SCHEMAS,
                lock=None,
                queueing_lock=None,
                priority=int(is_urgent) - numbers[organization_id],
                task_kwargs={
                    "data_source_id": refresh.data_source_id,
                    "refresh_id": str(refresh.refresh_id),
                },
            )
        )
        numbers[organization_id] += 1
    # DjangoConnector joins this transaction; the worker's connector would use another connection.
    JobManager(DjangoConnector()).batch_defer_jobs(jobs)


@app.periodic(cron="15 * * * *")
@app.task(name="end_lost_refreshes", queueing_lock="end_lost_refreshes", queue=Queue.EXPRESS)
async def end_lost_refreshes(timestamp: int) -> None:
    """Every hour, mark refreshes without a job as failed, as when the jobs table was emptied."""
    async for refresh in SchemaRefresh.objects.lost():
        await sync_to_async(refresh.finish)(Code.DRIVER_CRASHED)


@app.periodic(cron="30 3 * * *")
@app.task(name="prune_schemas", queueing_lock="prune_schemas", queue=Queue.EXPRESS)
async def prune_schemas(timestamp: int) -> None:
    """Delete, every night, the outdated snapshots."""
    await sync_to_async(prune)()
