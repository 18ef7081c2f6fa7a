"""Tests of lists with large rows: pages end after some megabytes."""

from typing import Any
from unittest import mock

from datasources.admin.history import history_page
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from datasources.tests.test_differences import large_metadata
from organizations.testing import sql
from rivergen.http import pagination

MEBIBYTE = 1024 * 1024
LARGE_ROWS = 150


class LargePageTests(DataSourceTestCase):
    def get(self, path: str) -> Any:
        return self.call("get", path, user=self.viewer)

    def pages(self, path: str, direction: str = "next") -> list[Any]:
        """Return the responses of a list from one page to its end."""
        found = []
        link: str | None = path
        while link:
            found.append(self.get(link.removeprefix("http://testserver/api/v1")))
            link = found[-1].json()["pagination"][direction]
        return found

    def assert_pages_are_small_and_complete(self, path: str, key: str, expected: list[Any]) -> None:
        pages = self.pages(path)
        for page in pages:
            self.assertLess(len(page.content), 4 * MEBIBYTE + MEBIBYTE // 2)
        found = [[row[key] for row in page.json()["data"]] for page in pages]
        self.assertEqual([row for page in found for row in page], expected)
        last = pages[-1].json()["pagination"]["previous"]
        back = [
            row[key] for page in self.pages(last, "previous")[::-1] for row in page.json()["data"]
        ]
        self.assertEqual(back, expected[: -len(found[-1])])

    def make_large_history(self) -> None:
        for number in range(LARGE_ROWS):
            metadata = large_metadata(number)
            self.data_source.apply_changes({"metadata": metadata}, user=self.editor)

    def test_history_of_large_changes_ends_each_page_after_4_mib(self):
        self.make_large_history()
        versions = [*range(LARGE_ROWS + 1, 0, -1)]
        path = f"{self.path}/history?page_size=200"
        self.assert_pages_are_small_and_complete(path, "version", versions)
        page, before = history_page(self.data_source, None)
        self.assertLess(len(page), 50)
        self.assertEqual(before, page[-1].version)

    def test_list_of_large_data_sources_ends_each_page_after_4_mib(self):
        DataSource.objects.bulk_create(
            DataSource(
                workspace=self.workspace,
                name=f"Large {number:03}",
                type="csv",
                metadata=large_metadata(number),
            )
            for number in range(LARGE_ROWS)
        )
        names = [*DataSource.objects.order_by("name").values_list("name", flat=True)]
        path = "/data-sources?page_size=200"
        self.assert_pages_are_small_and_complete(path, "name", names)

    def test_rows_beyond_the_page_are_not_read(self):
        self.make_large_history()
        with self.statements() as captured:
            self.get(f"{self.path}/history?page_size=200")
        self.assertEqual(len(sql(captured)), 2)

    def test_row_that_is_larger_than_a_page_is_a_page_of_its_own(self):
        self.data_source.apply_changes({"metadata": {"big": 2**80}}, user=self.editor)
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        with mock.patch.object(pagination, "PAGE_BYTES_MAX", 10):
            pages = self.pages(f"{self.path}/history?page_size=200")
        found = [[row["version"] for row in page.json()["data"]] for page in pages]
        self.assertEqual(found, [[3], [2], [1]])

    def test_page_of_50_rows_takes_as_many_statements_as_before(self):
        DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=f"Small {number}", type="csv")
            for number in range(220)
        )
        for query, expected in (("", 2), ("?page_size=50", 2), ("?page_size=200", 3)):
            with self.subTest(query), self.statements() as captured:
                self.get(f"/data-sources{query}")
            self.assertEqual(len(sql(captured)), expected)
        self.assertEqual(len(self.get("/data-sources?page_size=200").json()["data"]), 200)
