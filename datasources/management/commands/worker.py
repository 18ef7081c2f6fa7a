"""`manage.py worker`: run jobs from the queues."""

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
# 1/4 of the slots serve only the express queue, 1/8 only schema reads, which are CPU-bound. The
# rest serve connection tests, and express jobs as well.
EXPRESS_SHARE = 4
SCHEMAS_SHARE = 8
# Jobs that still run after this are aborted, and left to the next worker.
GRACEFUL_SECONDS = 20


class Command(BaseCommand):
    """Run jobs until SIGTERM or SIGINT, reconnecting when the database restarts."""

    help = (
        "Run the jobs that connect to data sources: connection tests, schema refreshes. Start any "
        "number of workers, on machines that reach the database and the data sources; stop them "
        "with SIGTERM or Ctrl-C. A worker reconnects when the database is back. WORKER_CONCURRENCY "
        "sets how many jobs it runs at a time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self.work())

    async def work(self) -> None:
        """Run jobs until a signal arrives; start again one second after the database is lost."""
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
                # Log only the type of the error: its text may contain the address of the database.
                reason = f" ({type(error).__name__})" if error else ""
                logger.warning("Database connection lost%s; retrying.", reason)
                await asyncio.wait([stop], timeout=PAUSE_SECONDS)
            stop.cancel()


async def run_worker() -> None:
    """Run jobs until the database is lost, which may end this without an error."""
    assert isinstance(app.connector, DjangoConnector)
    express_slots = max(settings.WORKER_CONCURRENCY // EXPRESS_SHARE, 1)
    schema_slots = max(settings.WORKER_CONCURRENCY // SCHEMAS_SHARE, 1)
    other_slots = settings.WORKER_CONCURRENCY - express_slots - schema_slots
    lanes = (
        ([Queue.EXPRESS], express_slots),
        ([Queue.SCHEMAS], schema_slots),
        ([Queue.EXPRESS, Queue.TESTS], other_slots),
    )
    assert len(lanes) == LANES
    with app.replace_connector(app.connector.get_worker_connector()) as worker_app:
        async with worker_app.open_async():
            logger.info("Ready to run %s jobs at a time.", settings.WORKER_CONCURRENCY)
            await end_together(
                worker_app.run_worker_async(
                    queues=queues,
                    concurrency=slots,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=GRACEFUL_SECONDS,
                    update_heartbeat_interval=settings.WORKER_HEARTBEAT_SECONDS,
                )
                for queues, slots in lanes
            )


async def end_together(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines until the first of them ends, then cancel the others. Raise their errors."""
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
