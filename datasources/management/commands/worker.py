"""`manage.py worker`: run the jobs."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector

from datasources.connections.sandbox.process import start_forkserver
from datasources.jobs import LANES, Queue
from datasources.schemas.reading import child

logger = logging.getLogger("rivergen.worker")

PAUSE_SECONDS = 1
# One of so many places is for the express alone; it may have the others, too, but for those of
# schemas: to read one takes a processor, not only time.
EXPRESS_SHARE = 4
SCHEMAS_SHARE = 8
# Then what still runs is stopped, and left to the next worker.
GRACEFUL_SECONDS = 20


class Command(BaseCommand):
    """Run jobs, over restarts of the database, until told to stop."""

    help = (
        "Test connections, and do whatever else touches a data source. Start as many as you like, "
        "on any machines that reach the database and the sources; stop them with SIGTERM or "
        "Ctrl-C. They wait for a database that is away. Each runs as many jobs at a time as "
        "WORKER_CONCURRENCY in its environment says."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self.work())

    async def work(self) -> None:
        """Run a worker, and another one whenever it has ended, until a signal comes."""
        stopping = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
        start_forkserver(preload=[child.__name__])
        while not stopping.is_set():
            worker = asyncio.create_task(run_worker())
            stop = asyncio.create_task(stopping.wait())
            await asyncio.wait([worker, stop], return_when=asyncio.FIRST_COMPLETED)
            worker.cancel()
            [error] = await asyncio.gather(worker, return_exceptions=True)
            if not stopping.is_set():
                # Its words may have the address of the database; now and then there is none.
                reason = f" ({type(error).__name__})" if error else ""
                logger.warning("The database is lost%s; trying again.", reason)
                await asyncio.wait([stop], timeout=PAUSE_SECONDS)
            stop.cancel()


async def run_worker() -> None:
    """Run jobs until the database is lost, which ends it without an error now and then."""
    assert isinstance(app.connector, DjangoConnector)
    express_places = max(settings.WORKER_CONCURRENCY // EXPRESS_SHARE, 1)
    schema_places = max(settings.WORKER_CONCURRENCY // SCHEMAS_SHARE, 1)
    other_places = settings.WORKER_CONCURRENCY - express_places - schema_places
    lanes = (
        ([Queue.EXPRESS], express_places),
        ([Queue.SCHEMAS], schema_places),
        ([Queue.EXPRESS, Queue.TESTS], other_places),
    )
    assert len(lanes) == LANES
    with app.replace_connector(app.connector.get_worker_connector()) as worker_app:
        async with worker_app.open_async():
            logger.info("Ready, for %s jobs at a time.", settings.WORKER_CONCURRENCY)
            await end_together(
                worker_app.run_worker_async(
                    queues=queues,
                    concurrency=places,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=GRACEFUL_SECONDS,
                    update_heartbeat_interval=settings.WORKER_HEARTBEAT_SECONDS,
                )
                for queues, places in lanes
            )


async def end_together(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all until one ends or this is cancelled, then stop the others. Raises what they raise."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
