"""What all jobs have in common: where they wait, and that none is lost with its worker."""

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateWorker
from procrastinate.jobs import Job, Status

from organizations.idempotency.models import IdempotencyRecord


class Queue(StrEnum):
    """What waits; a worker keeps some places for the express, and few for schemas."""

    EXPRESS = "express"
    TESTS = "tests"
    SCHEMAS = "schemas"


# Of a job whose worker was killed or stopped; one that kills each worker it meets must end.
ATTEMPTS_MAX = 3
# Parts of a worker process with places of their own: management/commands/worker.py.
LANES = 3
STALLED_AFTER_SECONDS = 4 * settings.WORKER_HEARTBEAT_SECONDS
RETRY_SECONDS = 2
FAILED_JOBS_KEPT_HOURS = 7 * 24

Coroutine = Callable[..., Awaitable[None]]
_given_up_by: dict[str, Coroutine] = {}


def lasting_task(name: str, queue: Queue, give_up: Coroutine) -> Callable[[Coroutine], Any]:
    """Make a task of a coroutine: it is run again if it fails, or its worker is gone.

    After the last attempt `give_up` gets the same arguments, to tell whoever waits that there will
    be no outcome. It may be called twice.
    """
    _given_up_by[name] = give_up

    def make_task(run: Coroutine) -> Any:
        @app.task(
            name=name,
            queue=queue,
            retry=RetryStrategy(max_attempts=ATTEMPTS_MAX - 1, wait=RETRY_SECONDS),
            pass_context=True,
        )
        async def task(context: JobContext, **arguments: Any) -> None:
            try:
                await run(**arguments)
            except BaseException:  # one stopped with its worker is cancelled
                if is_last_attempt(context.job):
                    await give_up(**arguments)
                raise

        return task

    return make_task


def has_worker() -> bool:
    """Whether a worker has shown lately that it is alive."""
    return lanes_alive().exists()


def count_workers() -> int:
    """Count the worker processes that have shown lately that they are alive."""
    return math.ceil(lanes_alive().count() / LANES)


def lanes_alive() -> "QuerySet[ProcrastinateWorker]":
    """Give what has shown lately that it is alive; procrastinate has each lane for a worker."""
    since = timezone.now() - timedelta(seconds=STALLED_AFTER_SECONDS)
    return ProcrastinateWorker.objects.filter(last_heartbeat__gt=since)


def is_last_attempt(job: Job) -> bool:
    """Whether a job is not to be run again."""
    return job.attempts + 1 >= ATTEMPTS_MAX


@app.periodic(cron="* * * * * */10")
@app.task(
    name="retry_stalled_jobs",
    queueing_lock="retry_stalled_jobs",
    queue=Queue.EXPRESS,
    pass_context=True,
)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Every 10 seconds, run again what workers that are gone had in hand; give up in the end."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_SECONDS):
        if is_last_attempt(job):
            # In this order: a job that is given up twice does no harm.
            if job.task_name in _given_up_by:
                await _given_up_by[job.task_name](**job.task_kwargs)
            await jobs.finish_job(job, Status.FAILED, delete_job=False)
        else:
            await jobs.retry_job(job)


@app.periodic(cron="45 * * * *")
@app.task(
    name="delete_idempotency_records",
    queueing_lock="delete_idempotency_records",
    queue=Queue.EXPRESS,
)
async def delete_idempotency_records(timestamp: int) -> None:
    """Every hour, delete the stored answers of requests with a key that are past their time."""
    await sync_to_async(IdempotencyRecord.delete_outdated)()


@app.periodic(cron="0 * * * *")
@app.task(
    name="delete_failed_jobs",
    queueing_lock="delete_failed_jobs",
    queue=Queue.EXPRESS,
    pass_context=True,
)
async def delete_failed_jobs(context: JobContext, timestamp: int) -> None:
    """Every hour, delete the failed jobs that were kept long enough."""
    await context.app.job_manager.delete_old_jobs(FAILED_JOBS_KEPT_HOURS, include_failed=True)
