"""Jobs of connection tests. The web process only defers `test_connection`."""

from asgiref.sync import sync_to_async
from procrastinate.contrib.django import app

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.failures import Code
from datasources.connections.outcome import no_outcome
from datasources.credentials.cipher import UnreadableError
from datasources.jobs import Queue, durable_task


async def store_crash(test_id: str) -> None:
    """Store that the test crashed: no attempt is left, so there will be no other outcome."""
    async for test in ConnectionTest.objects.running().filter(pk=test_id):
        await sync_to_async(test.finish)(no_outcome(Code.DRIVER_CRASHED))


@durable_task("test_connection", Queue.TESTS, on_exhausted=store_crash)
async def test_connection(test_id: str) -> None:
    """Run a connection test in the sandbox, unless it has an outcome already."""
    # Imported here: only the worker needs these, and the web process defers this task.
    from datasources.connections.sandbox.attempt import attempt_in_child
    from rivergen.egress.policy import egress_policy

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


@app.periodic(cron="0 * * * *")
@app.task(name="delete_old_tests", queueing_lock="delete_old_tests", queue=Queue.EXPRESS)
async def delete_old_tests(timestamp: int) -> None:
    """Delete, every hour, the tests that are older than a day."""
    await ConnectionTest.objects.outdated().adelete()
