"""What the worker does for connection tests; the web process only defers `test_connection`."""

from asgiref.sync import sync_to_async
from procrastinate.contrib.django import app

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.failures import Code
from datasources.connections.outcome import no_outcome
from datasources.credentials.cipher import UnreadableError
from datasources.jobs import Queue, lasting_task


async def give_up(test_id: str) -> None:
    """Tell whoever waits for the outcome of a test that there will be none."""
    async for test in ConnectionTest.objects.running().filter(pk=test_id):
        await sync_to_async(test.finish)(no_outcome(Code.DRIVER_CRASHED))


@lasting_task("test_connection", Queue.TESTS, give_up)
async def test_connection(test_id: str) -> None:
    """Run a connection test in a child process, unless it has an outcome already."""
    # The web process must not load what only the worker needs.
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
    """Every hour, delete the tests that were kept long enough."""
    await ConnectionTest.objects.outdated().adelete()
