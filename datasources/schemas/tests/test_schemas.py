"""Tests of GET …/schema and GET …/schema/snapshots."""

from unittest import mock

from datasources.schemas.snapshots import models
from datasources.schemas.snapshots.content import BLOCK_TABLES, dump, lines_of
from datasources.schemas.snapshots.models import SchemaBlock, SchemaContent, SchemaSnapshot
from datasources.schemas.snapshots.pages import write_cursor
from datasources.schemas.snapshots.search import has_words
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase
from rivergen.http import pagination

ORDERS = table(
    "orders",
    column("id", nullable=False),
    column("Total", type="numeric(10,2)", common_type="decimal", comment="with the tax"),
    comment="What was bought",
    primary_key={"name": "orders_pkey", "columns": ["id"]},
    indexes=[{"name": "by_total", "columns": ["Total"], "is_unique": False}],
)
PEOPLE = table("people", column("id"), column("naïve"))
OLD = table("orders", column("id"), schema="old")


class GetSchemaTests(DataSourceTestCase):
    def get(self, query="", status=200, **headers):
        path = f"{self.path}/schema{query}"
        response = self.call("get", path, user=self.viewer, **headers)
        self.assertEqual(response.status_code, status, response.content)
        return response

    def names(self, query=""):
        tables = self.get(query).json()["data"]["tables"]
        return [f"{table['schema']}.{table['name']}" for table in tables]

    def pages_forwards(self, query):
        """Return the table names of each page, from the first to the last."""
        found = []
        while query is not None:
            self.response = self.get(query).json()
            found.append([table["name"] for table in self.response["data"]["tables"]])
            link = self.response["pagination"]["next"]
            query = link and link[link.index("?") :]
        return found

    def pages_both_ways(self, query):
        """Return the table names of each page; assert that the way back shows the same pages."""
        found, backwards = self.pages_forwards(query), []
        response = self.response
        while (link := response["pagination"]["previous"]) is not None:
            query = link[link.index("?") :] if "?" in link else ""
            response = self.get(query).json()
            backwards.append([table["name"] for table in response["data"]["tables"]])
        self.assertEqual(backwards[::-1], found[:-1])
        return found

    def test_schema_is_the_last_snapshot(self):
        refresh(self.data_source, PEOPLE)
        refresh(self.data_source, PEOPLE, ORDERS, OLD, row_estimate=7)
        data = self.get().json()["data"]
        self.read_time(data.pop("read_at"))
        self.assertRegex(data.pop("digest"), r"\A[0-9a-f]{64}\Z")
        self.assertEqual(
            data,
            {
                "snapshot": 2,
                "table_count": 3,
                "column_count": 5,
                "schemas": [
                    {"name": "old", "table_count": 1},
                    {"name": "public", "table_count": 2},
                ],
                "tables": [{**one, "row_estimate": 7} for one in (OLD, ORDERS, PEOPLE)],
            },
        )

    def test_schema_is_404_before_the_first_refresh(self):
        for path in ("schema", "schema/changes", "schema/refresh"):
            with self.subTest(path):
                response = self.call("get", f"{self.path}/{path}", user=self.viewer)
                error = self.assert_error(response, 404, "SCHEMA_NOT_READ")
                self.assertEqual(
                    error["message"],
                    "The schema has not been read yet. Refresh it first. "
                    f"POST /api/v1{self.path}/schema/refresh",
                )

    def test_pages_span_blocks(self):
        tables = [table(f"t{number:04}", column("id")) for number in range(2 * BLOCK_TABLES + 5)]
        refresh(self.data_source, *reversed(tables))
        self.assertEqual(SchemaBlock.objects.count(), 3)
        pages = self.pages_both_ways("?page_size=80")
        self.assertEqual([len(page) for page in pages], [80, 80, 45])
        self.assertEqual(sum(pages, []), [one["name"] for one in tables])

    def test_page_takes_three_statements(self):
        refresh(self.data_source, *(table(f"t{number:04}") for number in range(3000)))
        link = self.get("?page_size=1").json()["pagination"]["next"]
        for query in ("", link[link.index("?") :], "?table=t2999"):
            with self.subTest(query), self.assertNumQueries(3):
                self.get(query)

    def test_page_of_tables_with_one_name_takes_three_statements(self):
        tenants = [
            table(name, column("id"), schema=f"tenant_{number:03}")
            for number in range(250)
            for name in ("orders", "orders_old", *(f"t{other:02}" for other in range(58)))
        ]
        refresh(self.data_source, *tenants)
        self.assertEqual(SchemaBlock.objects.count(), 150)
        link = self.get("?table=orders&page_size=200").json()["pagination"]["next"]
        for query, schemas, block_count in (
            ("?table=orders&page_size=200", range(200), 121),
            (link[link.index("?") :], range(200, 250), 30),
            ("?table=orders&search=tenant_249", [249], 150),
        ):
            with (
                self.subTest(query),
                self.assertNumQueries(3),
                mock.patch.object(models, "lines_of", wraps=lines_of) as read,
            ):
                names = [f"tenant_{number:03}.orders" for number in schemas]
                self.assertEqual(self.names(query), names)
            self.assertEqual(read.call_count, block_count)

    def test_later_pages_stay_in_the_snapshot_of_the_first_page(self):
        refresh(self.data_source, table("a"), table("c"))
        link = self.get("?page_size=1").json()["pagination"]["next"]
        refresh(self.data_source, table("b"), table("c"))
        data = self.get(link[link.index("?") :]).json()["data"]
        self.assertEqual((data["snapshot"], data["tables"][0]["name"]), (1, "c"))

    def test_cursors_lead_to_the_pages_of_the_links_in_the_same_snapshot(self):
        refresh(self.data_source, *map(table, "abcde"))
        pages = [self.get("?page_size=2").json()]
        refresh(self.data_source, *map(table, "xyz"))
        while cursor := pages[-1]["pagination"]["next_cursor"]:
            pages.append(self.get(f"?page_size=2&cursor={cursor}").json())
            links = pages[-2]["pagination"]["next"], pages[-1]["pagination"]["previous"]
            linked = [self.get(link[link.index("?") :]).json()["data"] for link in links]
            self.assertEqual(linked, [pages[-1]["data"], pages[-2]["data"]])
            back = pages[-1]["pagination"]["previous_cursor"]
            before = self.get(f"?page_size=2&cursor={back}").json()
            self.assertEqual(before["data"], pages[-2]["data"])
        names = [[table["name"] for table in page["data"]["tables"]] for page in pages]
        self.assertEqual(names, [["a", "b"], ["c", "d"], ["e"]])
        self.assertIsNone(pages[0]["pagination"]["previous_cursor"])

    def test_cursor_of_another_snapshot_is_refused(self):
        for number in range(2):
            refresh(self.data_source, *map(table, ("a", "b", f"c{number}")))
        cursor = self.get("?page_size=1").json()["pagination"]["next_cursor"]
        self.get(f"?page_size=1&snapshot=2&cursor={cursor}")
        error = self.get(f"?page_size=1&snapshot=1&cursor={cursor}", status=400).json()["error"]
        self.assertEqual(error["details"], {"cursor": [pagination.NO_CURSOR]})

    def test_table_parameter_finds_tables_by_exact_name(self):
        refresh(self.data_source, ORDERS, OLD, PEOPLE, table("a.b"), table("b", schema="a"))
        for query, names in (
            ("orders", ["old.orders", "public.orders"]),
            ("old.orders", ["old.orders"]),
            ("a.b", ["a.b", "public.a.b"]),
            ("Orders", []),
            ("order", []),
        ):
            with self.subTest(query):
                self.assertEqual(self.names(f"?table={query}"), names)

    def test_search_covers_names_and_comments_of_tables_and_columns(self):
        refresh(self.data_source, ORDERS, OLD, PEOPLE, table('sa"y'))
        for query, names in (
            ("ORDER", ["old.orders", "public.orders"]),
            ("total", ["public.orders"]),
            ("tax bought", ["public.orders"]),
            ("tax people", []),
            ("NAÏVE", ["public.people"]),
            ("old", ["old.orders"]),
            ('a"', ['public.sa"y']),
            ("nullable", []),
            ("numeric", []),
        ):
            with self.subTest(query):
                self.assertEqual(self.names(f"?search={query}"), names)
        self.assertEqual(self.names("?search=id&table=people"), ["public.people"])

    def test_search_results_are_paged(self):
        tables = (table(f"{'odd' if number % 2 else 'even'} {number}") for number in range(7))
        refresh(self.data_source, *tables)
        pages = self.pages_both_ways("?search=even&page_size=3")
        self.assertEqual(pages, [["even 0", "even 2", "even 4"], ["even 6"]])

    def test_page_ends_early_at_the_size_limit(self):
        wide = [column(f"c{number}") for number in range(20)]
        refresh(self.data_source, *(table(name, *wide) for name in "abcde"))
        [one] = self.get("?table=a").json()["data"]["tables"]
        for tables, expected in (
            (2, [["a", "b"], ["c", "d"], ["e"]]),
            (0.5, [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ):
            limit = int(tables * len(dump(one)))
            with self.subTest(tables), mock.patch.object(pagination, "PAGE_BYTES_MAX", limit):
                for query in ("?page_size=3", "?page_size=3&search=c1"):
                    self.assertEqual(self.pages_forwards(query), expected)

    def test_snapshot_parameter_selects_an_older_snapshot(self):
        refresh(self.data_source, PEOPLE, row_estimate=3)
        refresh(self.data_source, ORDERS)
        data = self.get("?snapshot=1").json()["data"]
        self.assertEqual(data["tables"], [{**PEOPLE, "row_estimate": 3}])
        response = self.get("?snapshot=3", status=404)
        self.assert_error(response, 404, "SNAPSHOT_NOT_FOUND")

    def test_bad_parameters_are_refused(self):
        refresh(self.data_source, PEOPLE)
        for query, field in (
            ("page_size=0", "page_size"),
            ("page_size=201", "page_size"),
            ("cursor=x", "cursor"),
            ("cursor=", "cursor"),
            ("cursor=LTE", "cursor"),
            (f"cursor={'MTEx' * 99}", "cursor"),
            ("cursor=MTExMTExMTExMTExMTE", "cursor"),
            ("snapshot=0", "snapshot"),
            ("snapshot=last", "snapshot"),
            ("table=", "table"),
            (f"table={'x' * 1001}", "table"),
            ("search=%20", "search"),
            (f"search={'x' * 101}", "search"),
            ("name=orders", "name"),
            ("table=a&table=b", "table"),
        ):
            with self.subTest(query):
                self.assert_error(self.get(f"?{query}", status=400), 400, "BAD_REQUEST", field)

    def test_page_after_the_last_is_empty(self):
        refresh(self.data_source, PEOPLE)
        response = self.get(f"?cursor={write_cursor(99, {'snapshot': 1})}").json()
        self.assertEqual(response["data"]["tables"], [])
        self.assertIsNone(response["pagination"]["next"])

    def test_schema_is_304_until_tables_or_row_estimates_change(self):
        refresh(self.data_source, PEOPLE)
        etag = self.get()["ETag"]
        refresh(self.data_source, PEOPLE)
        with self.subTest("unchanged"):
            response = self.get(status=304, headers={"If-None-Match": etag})
            self.assertEqual((response.content, response["ETag"]), (b"", etag))
        for number, move in enumerate(({"row_estimate": 5}, {})):
            refresh(self.data_source, PEOPLE, *([ORDERS] * number), **move)
            with self.subTest(move):
                response = self.get(headers={"If-None-Match": etag})
                self.assertNotEqual(response["ETag"], etag)
                etag = response["ETag"]

    def test_equal_schemas_of_an_organization_are_stored_once(self):
        other = self.make_replica()
        for data_source in (self.data_source, other):
            refresh(data_source, PEOPLE, ORDERS)
        refresh(self.data_source, ORDERS, PEOPLE, row_estimate=1)
        self.assertEqual(SchemaContent.objects.count(), 1)
        self.assertEqual(SchemaSnapshot.objects.count(), 2)
        refresh(self.data_source, PEOPLE)
        refresh(self.data_source, ORDERS, PEOPLE)
        self.assertEqual(SchemaContent.objects.count(), 2)
        numbers = self.data_source.schema_snapshots.values_list("number", flat=True)
        self.assertEqual([*numbers], [3, 2, 1])

    def make_replica(self):
        """Return another data source of the organization."""
        changes = {"name": "Replica", "type": "postgresql", "host": "replica.example.com"}
        response = self.call("post", "/data-sources", changes, self.editor)
        return type(self.data_source).objects.get(pk=response.json()["data"]["id"])

    def test_organizations_do_not_share_stored_schemas(self):
        refresh(self.data_source, PEOPLE)
        response = self.call(
            "post", "/data-sources", {"name": "Theirs", "type": "csv"}, self.stranger
        )
        theirs = type(self.data_source).objects.get(pk=response.json()["data"]["id"])
        refresh(theirs, PEOPLE)
        self.assertEqual(SchemaContent.objects.count(), 2)
        theirs.organization.delete()
        self.assertEqual(SchemaContent.objects.count(), 1)

    def test_refresh_without_changes_moves_only_schema_refreshed_at(self):
        refresh(self.data_source, PEOPLE)
        before = self.shown()
        snapshots = [*SchemaSnapshot.objects.values()]
        refresh(self.data_source, PEOPLE)
        after = self.shown()
        self.assertGreater(after.pop("schema_refreshed_at"), before.pop("schema_refreshed_at"))
        self.assertEqual(after, before)
        self.assertEqual([*SchemaSnapshot.objects.values()], snapshots)

    def test_snapshots_are_listed_newest_first(self):
        for tables in ((PEOPLE,), (ORDERS, PEOPLE), ()):
            refresh(self.data_source, *tables)
        path = f"{self.path}/schema/snapshots"
        response = self.call("get", f"{path}?page_size=2", user=self.viewer).json()
        self.assertEqual(
            [
                (one["snapshot"], one["table_count"], one["column_count"])
                for one in response["data"]
            ],
            [(3, 0, 0), (2, 2, 4)],
        )
        link = response["pagination"]["next"]
        response = self.call("get", f"{path}{link[link.index('?') :]}", user=self.viewer).json()
        self.assertEqual([one["snapshot"] for one in response["data"]], [1])

    def test_search_parses_only_lines_that_may_match(self):
        refresh(self.data_source, *(table(f"t{number}") for number in range(50)), ORDERS)
        with mock.patch("datasources.schemas.snapshots.search.has_words", wraps=has_words) as look:
            self.assertEqual(self.names("?search=orders"), ["public.orders"])
        self.assertEqual(look.call_count, 1)
