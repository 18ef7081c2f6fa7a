"""Queues of background jobs, and the retries that keep a job alive when its worker dies."""

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
from rivergen.http.sessions import SessionStore


class Queue(StrEnum):
    """The queues of jobs. A worker has slots that only the express queue may use."""

    EXPRESS = "express"
    TESTS = "tests"
    SCHEMAS = "schemas"


# A job that kills every worker that runs it must end at some point.
ATTEMPTS_MAX = 3
# Each worker process runs this many procrastinate workers: see management/commands/worker.py.
LANES = 3
STALLED_AFTER_SECONDS = 4 * settings.WORKER_HEARTBEAT_SECONDS
RETRY_SECONDS = 2
FAILED_JOBS_KEPT_HOURS = 7 * 24

Coroutine = Callable[..., Awaitable[None]]
_on_exhausted: dict[str, Coroutine] = {}


def durable_task(name: str, queue: Queue, *, on_exhausted: Coroutine) -> Callable[[Coroutine], Any]:
    """Return a decorator that makes a task of a coroutine, retried if it or its worker fails.

    After the last attempt, `on_exhausted` is called with the same arguments: it stores that there
    will be no outcome. It may be called twice.
    """
    _on_exhausted[name] = on_exhausted

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
            except BaseException:  # includes CancelledError, when the worker stops
                if is_last_attempt(context.job):
                    await on_exhausted(**arguments)
                raise

        return task

    return make_task


def has_worker() -> bool:
    """Return whether any worker has sent a heartbeat lately."""
    return lanes_alive().exists()


def count_workers() -> int:
    """Return the number of worker processes that have sent a heartbeat lately."""
    return math.ceil(lanes_alive().count() / LANES)


def lanes_alive() -> "QuerySet[ProcrastinateWorker]":
    """Return the lanes with a recent heartbeat; to procrastinate, each lane is a worker."""
    since = timezone.now() - timedelta(seconds=STALLED_AFTER_SECONDS)
    return ProcrastinateWorker.objects.filter(last_heartbeat__gt=since)


def is_last_attempt(job: Job) -> bool:
    """Return whether a job has no attempt left after this one."""
    return job.attempts + 1 >= ATTEMPTS_MAX


@app.periodic(cron="* * * * * */10")
@app.task(
    name="retry_stalled_jobs",
    queueing_lock="retry_stalled_jobs",
    queue=Queue.EXPRESS,
    pass_context=True,
)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Retry, every 10 seconds, the jobs of dead workers; fail those without an attempt left."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_SECONDS):
        if is_last_attempt(job):
            # Call `on_exhausted` first: calling it twice is harmless, not calling it is not.
            if job.task_name in _on_exhausted:
                await _on_exhausted[job.task_name](**job.task_kwargs)
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
    """Delete, every hour, the stored answers to idempotency keys that have expired."""
    await sync_to_async(IdempotencyRecord.delete_outdated)()


@app.periodic(cron="50 * * * *")
@app.task(name="delete_sessions", queueing_lock="delete_sessions", queue=Queue.EXPRESS)
async def delete_sessions(timestamp: int) -> None:
    """Delete, every hour, the sessions of the admin that have ended."""
    await sync_to_async(SessionStore.clear_expired)()


@app.periodic(cron="0 * * * *")
@app.task(
    name="delete_failed_jobs",
    queueing_lock="delete_failed_jobs",
    queue=Queue.EXPRESS,
    pass_context=True,
)
async def delete_failed_jobs(context: JobContext, timestamp: int) -> None:
    """Delete, every hour, the failed jobs that are older than a week."""
    await context.app.job_manager.delete_old_jobs(FAILED_JOBS_KEPT_HOURS, include_failed=True)
