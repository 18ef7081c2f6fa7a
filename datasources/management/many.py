"""Commands that have the workers do something with many data sources, and wait for it."""

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
from datasources.management.table import lines_of
from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from organizations.management.organizations import find_organization
from rivergen.errors import StateConflict

# The places of a worker are for others, too.
AT_ONCE = 25
POLL_SECONDS = 0.2
NO_WORKER = "No worker is there to do it. Start one: python manage.py worker"
STOPPED = "Stopped. What was started goes on."
TITLES = ("ID", "ORGANIZATION", "NAME", "TYPE", "RESULT", "")


class Result(NamedTuple):
    """How it ended for one data source: a code, and what there is to say."""

    code: str
    message: str

    @property
    def has_failed(self) -> bool:
        """Whether it ended badly; nobody's fault is what is gone."""
        return self.code != Code.OK and self != GONE


GONE = Result("GONE", "It was deleted, or done once more, meanwhile.")


class ManyDataSourcesCommand(BaseCommand):
    """Do something with some data sources, and say how it ended for each; exit with 1 if badly."""

    failed: str
    """What those are called for which it ended badly."""

    @abstractmethod
    def start(self, data_source: DataSource) -> UUID:
        """Have a worker do it with a locked data source; give what it is known by.

        Raises StateConflict if that cannot be.
        """

    @abstractmethod
    def running(self, ids: Collection[UUID]) -> set[UUID]:
        """Give those that have not ended."""

    @abstractmethod
    def results(self, ids: Collection[UUID]) -> dict[UUID, Result]:
        """Give how these ended; those that are not there any more are left out."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="only those of an organization")
        parser.add_argument(
            "--tag",
            action="append",
            default=[],
            metavar="TAG",
            help="only those that have this tag; given again: that one as well",
        )
        parser.add_argument(
            "--status", choices=DataSource.Status.values, help="only those of this status"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ids = [*selected(options).order_by("organization", "name").values_list("pk", flat=True)]
        rows: dict[int, tuple[Any, ...]] = {}
        failures = 0
        try:
            # Only a terminal gets a bar: disable=None.
            with tqdm(total=len(ids), unit=" data sources", disable=None) as progress:
                for data_source, result in self.work_through(ids):
                    names = (data_source.organization.slug, data_source.name, data_source.type)
                    rows[data_source.pk] = (data_source.pk, *names, result.code, result.message)
                    failures += result.has_failed
                    progress.update()
        except KeyboardInterrupt:
            raise CommandError(STOPPED) from None
        finally:
            # Of what is done, too, if the rest cannot be.
            if rows:
                for line in lines_of([TITLES, *(rows[pk] for pk in ids if pk in rows)]):
                    self.stdout.write(line)
        if failures:
            raise CommandError(f"{self.failed}: {failures} of {len(rows)} data sources.")
        self.stdout.write(f"{self.failed}: none of {len(rows)} data sources.")

    def work_through(self, ids: Collection[int]) -> Iterator[tuple[DataSource, Result]]:
        """Start some at a time, and give each with its result as it comes.

        Raises CommandError if there is no worker, or no longer.
        """
        rest = iter(ids)
        waiting: dict[UUID, DataSource] = {}
        while True:
            for pk in islice(rest, AT_ONCE - len(waiting)):
                with transaction.atomic():
                    data_source = find(pk)
                    if data_source is None:
                        continue  # deleted since the command began
                    try:
                        waiting[self.start(data_source)] = data_source
                    except StateConflict as error:
                        yield data_source, Result(error.code, str(error))
            if not waiting:
                return
            ended = waiting.keys() - self.running(waiting.keys())
            results = self.results(ended)
            for key in ended:
                yield waiting.pop(key), results.get(key, GONE)
            if not ended:
                if not has_worker():
                    raise CommandError(NO_WORKER)
                time.sleep(POLL_SECONDS)


def selected(options: dict[str, Any]) -> DataSourceQuerySet:
    """Give the data sources that the arguments mean. Raises CommandError."""
    data_sources: DataSourceQuerySet = DataSource.objects.all()
    if options["organization"] is not None:
        data_sources = data_sources.filter(organization=find_organization(options["organization"]))
    if options["tag"]:
        data_sources = data_sources.tagged(options["tag"])
    if options["status"] is not None:
        data_sources = data_sources.filter(status=options["status"])
    return data_sources


def find(pk: int) -> DataSource | None:
    """Give a data source, locked; None if it is gone."""
    data_sources = DataSource.objects.for_update().select_related("organization", "workspace")
    return data_sources.filter(pk=pk).first()
