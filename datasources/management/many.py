"""The base of commands that enqueue a job for each of many data sources, and wait for all."""

import time
from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from datasources.connections.failures import Code
from datasources.jobs import has_worker
from datasources.management.table import format_table
from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from organizations.management.organizations import find_organization
from rivergen.errors import StateConflict

# The limit leaves slots of the workers to other jobs.
IN_FLIGHT_MAX = 25
POLL_SECONDS = 0.2
NO_WORKER = "No worker is running. Start one: python manage.py worker"
STOPPED = "Stopped waiting. Jobs that were started go on."
TITLES = ("ID", "ORGANIZATION", "NAME", "TYPE", "RESULT", "")


class Result(NamedTuple):
    """The result of one data source: a code and a sentence."""

    code: str
    message: str

    @property
    def has_failed(self) -> bool:
        """Return whether the result is a failure; a data source that was deleted is none."""
        return self.code != Code.OK and self != GONE


GONE = Result("GONE", "Deleted, or started again, before it finished.")


class ManyDataSourcesCommand(BaseCommand):
    """Run a job for each selected data source, print the results, and exit with 1 on a failure."""

    failure: str
    """What the summary says before the number of failures."""

    @abstractmethod
    def start(self, data_source: DataSource) -> UUID:
        """Enqueue the job of a locked data source, and return its id.

        Raises StateConflict if the state of the data source forbids it.
        """

    @abstractmethod
    def running(self, ids: Collection[UUID]) -> set[UUID]:
        """Return the ids of the jobs that have not finished."""

    @abstractmethod
    def results(self, ids: Collection[UUID]) -> dict[UUID, Result]:
        """Return the results of finished jobs by id, without those whose row was deleted."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--organization", metavar="SLUG", help="only data sources of this organization"
        )
        parser.add_argument(
            "--tag",
            action="append",
            default=[],
            metavar="TAG",
            help="only data sources with this tag; repeat it to require several",
        )
        parser.add_argument(
            "--status", choices=DataSource.Status.values, help="only data sources with this status"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ids = [*select(options).order_by("organization", "name").values_list("pk", flat=True)]
        rows: dict[int, tuple[Any, ...]] = {}
        failures = 0
        try:
            # disable=None shows the bar on a terminal only.
            with tqdm(total=len(ids), unit=" data sources", disable=None) as progress:
                for data_source, result in self.work_through(ids):
                    names = (data_source.organization.slug, data_source.name, data_source.type)
                    rows[data_source.pk] = (data_source.pk, *names, result.code, result.message)
                    failures += result.has_failed
                    progress.update()
        except KeyboardInterrupt:
            raise CommandError(STOPPED) from None
        finally:
            # After an error, too, print the results so far.
            if rows:
                for line in format_table([TITLES, *(rows[pk] for pk in ids if pk in rows)]):
                    self.stdout.write(line)
        summary = f"{self.failure}: {failures} of {len(rows)} data sources."
        if failures:
            raise CommandError(summary)
        self.stdout.write(summary)

    def work_through(self, ids: Collection[int]) -> Iterator[tuple[DataSource, Result]]:
        """Run the jobs, some at a time, and yield each data source with its result.

        Raises CommandError if no worker is running.
        """
        not_started = iter(ids)
        in_flight: dict[UUID, DataSource] = {}
        while True:
            for pk in islice(not_started, IN_FLIGHT_MAX - len(in_flight)):
                with transaction.atomic():
                    data_source = lock(pk)
                    if data_source is None:
                        continue  # deleted since the command started
                    try:
                        in_flight[self.start(data_source)] = data_source
                    except StateConflict as error:
                        yield data_source, Result(error.code, str(error))
            if not in_flight:
                return
            finished = in_flight.keys() - self.running(in_flight.keys())
            results = self.results(finished)
            for job_id in finished:
                yield in_flight.pop(job_id), results.get(job_id, GONE)
            if not finished:
                if not has_worker():
                    raise CommandError(NO_WORKER)
                time.sleep(POLL_SECONDS)


def select(options: dict[str, Any]) -> DataSourceQuerySet:
    """Return the data sources that the arguments select.

    Raises CommandError if there is no such organization.
    """
    data_sources: DataSourceQuerySet = DataSource.objects.all()
    if options["organization"] is not None:
        data_sources = data_sources.filter(organization=find_organization(options["organization"]))
    if options["tag"]:
        data_sources = data_sources.tagged(options["tag"])
    if options["status"] is not None:
        data_sources = data_sources.filter(status=options["status"])
    return data_sources


def lock(pk: int) -> DataSource | None:
    """Lock a data source until the transaction ends, and return it; None if it was deleted."""
    data_sources = DataSource.objects.for_update().select_related("organization", "workspace")
    return data_sources.filter(pk=pk).first()
