"""Tests of which rows are locked while declarations are applied."""

import threading

from django.db import connection, transaction
from django.test import TransactionTestCase

from datasources.declarations.plan import Applier
from datasources.declarations.reading import Declarations
from datasources.declarations.references import resolve
from datasources.declarations.text import Document
from datasources.models import Author, DataSource
from datasources.models.querysets import DataSourceQuerySet
from datasources.testing import DataSourceTestMixin


class LockTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def test_apply_locks_only_the_declared_data_sources(self) -> None:
        second = self.acme.workspaces.create(name="Second")
        for workspace in (self.workspace, second):
            for name in ("Lake", "Sea"):
                DataSource.objects.create(workspace=workspace, name=name, type="csv")
        with transaction.atomic():
            self.apply({"name": "LAKE"}, {"name": "Sea", "workspace": "Second"})
            thread = threading.Thread(target=self.record_unlocked)
            thread.start()
            thread.join()
        expected = {("Default", self.data_source.name), ("Default", "Sea"), ("Second", "Lake")}
        self.assertEqual(self.unlocked, expected)

    def test_prune_locks_rows_in_the_order_of_their_ids(self) -> None:
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="csv")
        thread = threading.Thread(target=self.prune)
        with transaction.atomic():
            DataSource.objects.for_update().get(pk=self.data_source.pk)
            thread.start()
            self.wait_for_lock(thread)
            self.assertTrue(unlocked().filter(name="Lake"))
        thread.join()
        self.assertEqual(DataSource.objects.get().name, "Lake")

    def apply(self, *entries: dict[str, str], prune: bool = False) -> None:
        declarations = Declarations(Document.of_json({"data_sources": [*entries]}))
        Applier(declarations, self.acme, resolve, Author(None)).apply(prune=prune)

    def prune(self) -> None:
        self.apply({"name": "Lake"}, prune=True)
        connection.close()

    def record_unlocked(self) -> None:
        with transaction.atomic():
            self.unlocked = {*unlocked().values_list("workspace__name", "name")}
        connection.close()


def unlocked() -> DataSourceQuerySet:
    """Return the data sources that no other connection has locked."""
    return DataSource.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
