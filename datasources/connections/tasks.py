"""What the worker does for connection tests; the web process only defers `test_connection`."""

from enum import StrEnum

from asgiref.sync import sync_to_async
from django.conf import settings
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.jobs import Job, Status

from datasources.connections.failures import Code
from datasources.connections.models import ConnectionTest
from datasources.connections.outcome import no_outcome
from datasources.credentials.cipher import UnreadableError


class Queue(StrEnum):
    """What waits; a worker keeps some places for the express."""

    EXPRESS = "express"
    TESTS = "tests"


# Of a job whose worker was killed or stopped; one that kills each worker it meets must end.
ATTEMPTS_MAX = 3
STALLED_AFTER_SECONDS = 4 * settings.WORKER_HEARTBEAT_SECONDS
RETRY_SECONDS = 2
FAILED_JOBS_KEPT_HOURS = 7 * 24


@app.task(
    name="test_connection",
    queue=Queue.TESTS,
    retry=RetryStrategy(max_attempts=ATTEMPTS_MAX - 1, wait=RETRY_SECONDS),
    pass_context=True,
)
async def test_connection(context: JobContext, test_id: str) -> None:
    """Run a connection test; after some failures of our own, give it up."""
    try:
        await run_test(test_id)
    except BaseException:  # one stopped with its worker is cancelled
        if is_last_attempt(context.job):
            await give_up(context.job)
        raise


async def run_test(test_id: str) -> None:
    """Run a connection test in a child process, unless it has an outcome already."""
    # The web process must not load what only the worker needs.
    from datasources.connections.child import attempt_in_child
    from datasources.connections.policy import egress_policy

    test = await ConnectionTest.objects.running().filter(pk=test_id).afirst()
    if test is None:
        return
    try:
        configuration = test.open()
    except UnreadableError:
        outcome = no_outcome(Code.CREDENTIALS_UNREADABLE)
    else:
        outcome = await attempt_in_child(configuration, await sync_to_async(egress_policy)())
    await sync_to_async(test.finish)(outcome)


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
            await give_up(job)
            await jobs.finish_job(job, Status.FAILED, delete_job=False)
        else:
            await jobs.retry_job(job)


def is_last_attempt(job: Job) -> bool:
    """Whether a job is not to be run again."""
    return job.attempts + 1 >= ATTEMPTS_MAX


async def give_up(job: Job) -> None:
    """Tell whoever waits for the outcome of a job that there will be none."""
    if job.task_name == test_connection.name:
        tests = ConnectionTest.objects.running().filter(pk=str(job.task_kwargs["test_id"]))
        async for test in tests:
            await sync_to_async(test.finish)(no_outcome(Code.DRIVER_CRASHED))


@app.periodic(cron="0 * * * *")
@app.task(
    name="delete_old_tests",
    queueing_lock="delete_old_tests",
    queue=Queue.EXPRESS,
    pass_context=True,
)
async def delete_old_tests(context: JobContext, timestamp: int) -> None:
    """Every hour, delete the tests and failed jobs that were kept long enough."""
    await ConnectionTest.objects.outdated().adelete()
    await context.app.job_manager.delete_old_jobs(FAILED_JOBS_KEPT_HOURS, include_failed=True)
