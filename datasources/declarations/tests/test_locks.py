"""What is locked while declarations are applied."""

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

    def test_locks_what_is_declared_and_nothing_else(self) -> None:
        second = self.acme.workspaces.create(name="Second")
        for workspace in (self.workspace, second):
            for name in ("Lake", "Sea"):
                DataSource.objects.create(workspace=workspace, name=name, type="csv")
        with transaction.atomic():
            self.apply({"name": "LAKE"}, {"name": "Sea", "workspace": "Second"})
            thread = threading.Thread(target=self.look_for_free_ones)
            thread.start()
            thread.join()
        expected = {("Default", self.data_source.name), ("Default", "Sea"), ("Second", "Lake")}
        self.assertEqual(self.free, expected)

    def test_waits_for_the_first_that_it_deletes_before_it_locks_what_is_declared(self) -> None:
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="csv")
        thread = threading.Thread(target=self.prune)
        with transaction.atomic():
            DataSource.objects.for_update().get(pk=self.data_source.pk)
            thread.start()
            self.wait_for_lock(thread)
            self.assertTrue(free_ones().filter(name="Lake"))
        thread.join()
        self.assertEqual(DataSource.objects.get().name, "Lake")

    def apply(self, *entries: dict[str, str], prune: bool = False) -> None:
        declarations = Declarations(Document.of_json({"data_sources": [*entries]}))
        Applier(declarations, self.acme, resolve, Author(None)).apply(prune=prune)

    def prune(self) -> None:
        self.apply({"name": "Lake"}, prune=True)
        connection.close()

    def look_for_free_ones(self) -> None:
        with transaction.atomic():
            self.free = {*free_ones().values_list("workspace__name", "name")}
        connection.close()


def free_ones() -> DataSourceQuerySet:
    """Restrict to those that no other connection has locked."""
    return DataSource.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
