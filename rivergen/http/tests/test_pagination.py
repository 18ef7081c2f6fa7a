"""Cursor pagination, tested with GET /api/v1/data-sources."""

import base64
import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from datasources.models import DataSource
from organizations.testing import APITestCase

ORDERINGS = ("name", "-name", "created_at", "-created_at", "updated_at", "-updated_at")
NO_LINKS = dict.fromkeys(("next", "next_cursor", "previous", "previous_cursor"))
NOON = datetime(2024, 12, 1, 12, tzinfo=UTC)


def encode(value: Any) -> str:
    """Return a cursor with any content."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


class PaginationTests(APITestCase):
    data_sources: list[DataSource]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        # Two rows of each name; one created_at for all, and three values of updated_at.
        workspaces = [cls.workspace, cls.acme.workspaces.create(name="Second")]
        cls.data_sources = DataSource.objects.bulk_create(
            DataSource(workspace=workspace, name=f"source {number}", type="postgresql")
            for number, workspace in product(range(5), workspaces)
        )
        DataSource.objects.create(
            workspace=cls.globex.workspaces.get(), name="source 2", type="postgresql"
        )
        rows = DataSource._base_manager.filter(organization=cls.acme)
        rows.update(created_at=NOON, updated_at=NOON)
        for hour, data_source in zip((1, 1, 2, 2), cls.data_sources[2:6], strict=True):
            later = NOON + timedelta(hours=hour)
            DataSource._base_manager.filter(pk=data_source.pk).update(updated_at=later)

    def get(self, query: str = "") -> Any:
        return self.call("get", f"/data-sources{query}", user=self.viewer)

    def ids(self, body: dict[str, Any]) -> list[int]:
        return [row["id"] for row in body["data"]]

    def follow(self, body: dict[str, Any], direction: str) -> dict[str, Any] | None:
        link = body["pagination"][direction]
        if link is None:
            return None
        start = "http://testserver/api/v1/data-sources?"
        self.assertEqual(link[: len(start)], start)
        response = self.get("?" + link[len(start) :])
        self.assertEqual(response.status_code, 200)
        following: dict[str, Any] = response.json()
        return following

    def pages_from(self, body: dict[str, Any] | None, direction: str) -> list[dict[str, Any]]:
        pages = []
        while body:
            pages.append(body)
            self.assertLessEqual(len(pages), 20)
            body = self.follow(body, direction)
        return pages

    def expected(self, ordering: str) -> list[int]:
        field = ordering.lstrip("-")
        rows = DataSource.objects.filter(organization=self.acme).values_list(field, "id")
        return [pk for _, pk in sorted(rows, reverse=ordering.startswith("-"))]

    def cursor(self, ordering: str) -> str:
        link = self.get(f"?page_size=3&ordering={ordering}").json()["pagination"]["next"]
        cursor: str = link.partition("cursor=")[2].partition("&")[0]
        return cursor

    def forge(self, ordering: str, *end: Any) -> str:
        """Return a cursor whose last members (direction, value, row id) are replaced."""
        cursor = self.cursor(ordering)
        content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return encode([*content[: -len(end)], *end])

    def assert_refused(self, query: str, *fields: str) -> dict[str, Any]:
        return self.assert_error(self.get(query), 400, "BAD_REQUEST", *fields)

    def test_pages_show_each_row_once_forwards_and_backwards(self):
        for ordering, size in product(ORDERINGS, (1, 2, 3)):
            with self.subTest(ordering=ordering, page_size=size):
                first = self.get(f"?ordering={ordering}&page_size={size}").json()
                pages = self.pages_from(first, "next")
                found = [pk for page in pages for pk in self.ids(page)]
                self.assertEqual(found, self.expected(ordering))
                self.assertEqual({len(page["data"]) for page in pages[:-1]}, {size})
                self.assertIsNone(pages[0]["pagination"]["previous"])
                self.assertIsNone(pages[-1]["pagination"]["next"])

                back = self.pages_from(pages[-1], "previous")[::-1]
                self.assertEqual([page["data"] for page in back], [page["data"] for page in pages])
                self.assertIsNone(back[0]["pagination"]["previous"])

    def test_cursors_lead_to_the_pages_of_the_links(self):
        query = "?ordering=-updated_at&page_size=3"
        for page in self.pages_from(self.get(query).json(), "next"):
            for direction in ("next", "previous"):
                cursor = page["pagination"][f"{direction}_cursor"]
                linked = self.follow(page, direction)
                with self.subTest(direction=direction, cursor=cursor):
                    self.assertEqual(cursor is None, linked is None)
                    if linked:
                        self.assertEqual(self.get(f"{query}&cursor={cursor}").json(), linked)

    def test_previous_and_next_links_lead_back_to_the_same_page(self):
        first = self.get("?ordering=-updated_at&page_size=3").json()
        for page in self.pages_from(first, "next")[1:]:
            there = self.follow(page, "previous")
            self.assertEqual(self.follow(there, "next")["data"], page["data"])

    def test_page_with_all_rows_has_no_links(self):
        for query in ("", "?page_size=10", "?page_size=200"):
            with self.subTest(query=query):
                body = self.get(query).json()
                self.assertEqual(self.ids(body), self.expected("name"))
                size = int(query.partition("=")[2] or 50)
                self.assertEqual(body["pagination"], NO_LINKS | {"page_size": size})

    def test_empty_list_has_no_links(self):
        DataSource.objects.all().delete()
        body = self.get("?page_size=1").json()
        self.assertEqual(body["data"], [])
        self.assertEqual(body["pagination"], NO_LINKS | {"page_size": 1})

    def test_page_links_keep_the_other_query_parameters(self):
        query = "?search=source+2&ordering=-name&page_size=1&type=postgresql"
        pages = self.pages_from(self.get(query).json(), "next")
        self.assertEqual([row["name"] for page in pages for row in page["data"]], ["source 2"] * 2)

    def test_deleted_rows_do_not_shift_the_next_page(self):
        first = self.get("?page_size=3").json()
        DataSource.objects.filter(pk__in=self.ids(first)).delete()
        second = self.follow(first, "next")
        self.assertEqual(self.ids(second), self.expected("name")[:3])

    def test_inserted_rows_do_not_shift_the_next_page(self):
        expected = self.expected("name")
        first = self.get("?page_size=3").json()
        DataSource.objects.create(workspace=self.workspace, name="a first", type="postgresql")
        self.assertEqual(self.ids(self.follow(first, "next")), expected[3:6])

    def test_page_of_a_list_needs_two_statements(self):
        query = f"?page_size=3&cursor={self.cursor('name')}"
        with self.assertNumQueries(2):
            self.get(query)

    def test_malformed_cursors_are_400(self):
        for cursor in (
            *("", "x", "%00", "é", "a b", "===", "bnVsbA", "W10", "e30", "%FF", "x" * 5000),
            *map(encode, (None, True, 7, "name", {}, {"a": 1, "b": 2, "c": 3}, [], [0], [0, "a"])),
            *map(encode, (b"[0,", b"\xff", b"\0", b"{", b"[" * 50_000, b'{"a":' * 50_000)),
            *(encode(b'["name",false,%s,1]' % value) for value in (b"NaN", b"1e999", b"9" * 5000)),
            *(encode(b'["name",false,"a",%s]' % id) for id in (b"NaN", b"1e999", b"9" * 5000)),
            *(self.cursor("name")[:-2], self.forge("name", 1, 2, 3, 4, 5)),
        ):
            for ordering in ("name", "-updated_at"):
                with self.subTest(cursor=cursor[:40], ordering=ordering):
                    self.assert_refused(f"?ordering={ordering}&cursor={cursor}", "cursor")

    def test_cursors_with_invalid_ids_are_400(self):
        for row_id in ("1", "", 1.0, 1.5, True, None, [1], {}, 0, -1, 2**63, 10**40):
            for ordering in ("name", "-updated_at"):
                with self.subTest(row_id=row_id, ordering=ordering):
                    cursor = self.forge(ordering, row_id)
                    self.assert_refused(f"?ordering={ordering}&cursor={cursor}", "cursor")

    def test_cursors_with_invalid_values_are_400(self):
        for ordering, values in (
            ("name", (None, 7, True, ["a"], {"a": 1}, "", "a" * 256, "a\0", "\0", "\ud800")),
            ("created_at", (None, 7, True, [], "", "soon", "0", "99999-01-01", "\0", "\ud800")),
            ("created_at", ("2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z", "2024-12-01Z")),
        ):
            for value in values:
                with self.subTest(ordering=ordering, value=value):
                    cursor = self.forge(ordering, value, 1)
                    self.assert_refused(f"?ordering={ordering}&cursor={cursor}", "cursor")

    def test_cursors_with_invalid_directions_are_400(self):
        for backwards in (2, -1, "x", None, [], 0.5):
            with self.subTest(backwards=backwards):
                cursor = self.forge("name", backwards, "source 1", 1)
                self.assert_refused(f"?cursor={cursor}", "cursor")

    def test_cursors_with_extreme_times_are_200_or_400(self):
        for value, status in (
            ("0001-01-01T00:00:00+14:00", 400),
            ("9999-12-31T23:59:59-14:00", 400),
            ("0001-01-01T00:00:00+00:00", 200),
            ("2024-01-01T00:00:00+23:59", 200),
        ):
            for backwards in (False, True):
                with self.subTest(value=value, backwards=backwards):
                    cursor = self.forge("created_at", backwards, value, 1)
                    response = self.get(f"?ordering=created_at&cursor={cursor}")
                    self.assertEqual(response.status_code, status)

    def test_cursor_of_another_ordering_is_400(self):
        for one, other in product(ORDERINGS, ORDERINGS):
            if one.lstrip("-") != other.lstrip("-"):
                with self.subTest(cursor_of=one, ordering=other):
                    query = f"?page_size=3&ordering={other}&cursor={self.cursor(one)}"
                    self.assert_refused(query, "cursor")

    def test_cursor_of_another_user_shows_own_rows_only(self):
        query = f"?page_size=3&cursor={self.cursor('name')}"
        body = self.call("get", f"/data-sources{query}", user=self.stranger).json()
        self.assertEqual([row["organization_id"] for row in body["data"]], [self.globex.pk])

    def test_page_sizes_out_of_bounds_are_400(self):
        for size in ("0", "-1", "201", "x", "", "１", "1.0", "1e1", "+1", "%201", "9" * 5000):
            with self.subTest(size=size[:20]):
                self.assert_refused(f"?page_size={size}", "page_size")

    def test_unknown_orderings_are_400(self):
        for ordering in (
            *("", "-", "id", "--name", "NAME", "name,id", "%2Bname", "host", "-port", "password"),
            *("workspace__name", "created_by__password", "role", "?", "name%00", "n" * 3000),
        ):
            with self.subTest(ordering=ordering[:30]):
                self.assert_refused(f"?ordering={ordering}", "ordering")

    def test_unknown_parameters_are_400_with_the_nearest_name(self):
        for name, meant in (
            ("pagesize", "page_size"),
            ("curser", "cursor"),
            ("order", "ordering"),
            ("serach", "search"),
            ("workspace", "workspace_id"),
        ):
            with self.subTest(name=name):
                error = self.assert_refused(f"?{name}=1", name)
                self.assertIn(meant, error["details"][name][0])
        self.assert_refused("?a=1&b=2&page_size=1", "a", "b")
