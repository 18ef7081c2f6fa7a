"""Making many updates in one transaction, each answered as a PATCH of its own."""

from collections.abc import Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField

from datasources.bulk.exceptions import NeedsSavepoints, NotApplied
from datasources.bulk.input import Update, Updates
from datasources.models import Author, DataSource
from datasources.serializers import DataSourceSerializer, valid_changes
from datasources.viewsets import REFUSALS, refusal_of
from organizations.models import Role, User
from organizations.permissions import require_role
from rivergen.http.exceptions import NoSuchResource
from rivergen.http.renderers import RenderedJSON
from rivergen.postgresql.prepared import batched_updates

Result = dict[str, Any]
"""What one update led to: `id`, `status`, and `data` and `changes`, or `error`."""


class Updater:
    """Makes many updates of data sources that it has locked, one after another.

    At first without savepoints, which would triple the statements, and in batches. If an update
    fails after it has begun to write, all of them are made again, each with a savepoint.
    """

    def __init__(self, updates: Updates, user: User, author: Author, has_savepoints: bool) -> None:
        """Lock the data sources until the transaction ends."""
        self._updates = updates
        self._author = author
        self._has_savepoints = has_savepoints
        self._serializer = DataSourceSerializer()
        ids = [update.data_source_id for update in updates.all]
        stored = [pk for pk in ids if pk <= BigIntegerField.MAX_BIGINT]
        self._rows: dict[int, Callable[[], DataSource]]
        self._rows = DataSource.objects.locked_many_for(user, stored)
        self.finds_all = len(self._rows) == len(ids)
        self.organization_ids: list[int] = []
        """The organization of each data source that was found."""

    def make_all(self) -> list[Result]:
        """Make the updates; return their results in order. A dry run is rolled back.

        If they are atomic and one fails, the others are answered with 424: roll back.
        Raises NeedsSavepoints.
        """
        with transaction.atomic() if self._updates.is_dry_run else nullcontext():
            results = self._make_each() if self._has_savepoints else self._make_in_batches()
            if self._updates.is_dry_run:
                transaction.set_rollback(True)
        if self._updates.is_atomic and any(map(has_failed, results)):
            return [
                result if has_failed(result) else answer(NotApplied(), result["id"])
                for result in results
            ]
        return results

    def _make_each(self) -> list[Result]:
        return [self._make(update) for update in self._updates.all]

    def _make_in_batches(self) -> list[Result]:
        try:
            with batched_updates():
                return self._make_each()
        except IntegrityError as error:
            raise NeedsSavepoints from error

    def _make(self, update: Update) -> Result:
        pk = update.data_source_id
        try:
            return {"id": pk, "status": HTTPStatus.OK, **self._store(update)}
        except REFUSALS as error:
            # In a batch, the error of a statement may be raised by one of a later update.
            if isinstance(error, IntegrityError) and not self._has_savepoints:
                raise
            return answer(error, pk)

    def _store(self, update: Update) -> Result:
        """Store an update; return the data source as it is then, and what differs."""
        # The instance is needed once; without it, the memory of its row is free.
        make = self._rows.pop(update.data_source_id, None)
        if make is None:
            raise NoSuchResource
        data_source = make()
        self.organization_ids.append(data_source.organization_id)
        require_role(data_source.role, Role.EDITOR)
        values = valid_changes(
            data_source,
            update.fields,
            if_match=update.pop_if_match(),
            is_merge_patch=self._updates.is_merge_patch,
        )
        try:
            with transaction.atomic() if self._has_savepoints else nullcontext():
                changes = data_source.apply_changes(
                    values, user=self._author, is_locked=True, is_validated=True
                )
        except REFUSALS as error:
            if not self._has_savepoints:
                raise NeedsSavepoints from error
            raise
        data = self._serializer.to_representation(data_source)
        return {"data": RenderedJSON(data), "changes": RenderedJSON(changes)}


def answer(error: Exception, data_source_id: int) -> Result:
    """Return the result of an update that failed."""
    return {"id": data_source_id, **refusal_of(error, data_source_id)}


def has_failed(result: Result) -> bool:
    """Return whether an update failed."""
    return "error" in result
