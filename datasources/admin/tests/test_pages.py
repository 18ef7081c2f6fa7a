"""The read-only pages: history, schema, overview."""

from datetime import timedelta
from typing import Any

from django.test import SimpleTestCase
from django.utils import timezone

from datasources.admin.charts import Bar, columns, stacked_bars
from datasources.admin.history import Difference, differences
from datasources.connection_tests.models import ConnectionTest
from datasources.connections.outcome import no_outcome
from datasources.models import Author, DataSource
from datasources.schemas.tasks import enqueue_due
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client
from organizations.testing import sql

OVERVIEW = f"{ADMIN_PAGES}overview/"


class PageTestCase(DataSourceTestCase):
    """A test case whose client is signed in as staff."""

    def setUp(self) -> None:
        self.client = admin_client(self.admin)
        self.pages = f"{ADMIN_PAGES}{self.data_source.pk}/"

    def get(self, page: str) -> Any:
        response = self.client.get(page)
        self.assertEqual(response.status_code, 200)
        self.assertNotContains(response, "<style")
        self.assertNotContains(response, " style=")  # forbidden by the content security policy
        return response


class ConnectionPanelTests(PageTestCase):
    def test_form_names_the_fields_that_a_connection_still_needs(self):
        page = f"{self.pages}change/"
        self.assertNotContains(self.get(page), "Not set:")
        changes = {"host": None, "database_name": None}
        self.data_source.apply_changes(changes, user=self.admin)
        self.assertContains(self.get(page), "Not set: host, database_name.")


class DifferencesTests(SimpleTestCase):
    def test_history_compares_objects_key_by_key(self):
        changes = {
            "tags": {"from": ["a"], "to": ["a", "b"]},
            "host": {"from": None, "to": "db"},
            "port": {"from": 1, "to": None},
            "use_ssh_tunnel": {"from": False, "to": True},
            "metadata": {
                "from": {"same": 1, "deep": {"x": 1, "y": 2}, "gone": None, "one": 1},
                "to": {"same": 1, "deep": {"x": 1, "y": [2]}, "one": True},
            },
        }
        self.assertEqual(
            differences(changes),
            [
                Difference("host", "—", "db"),
                Difference("metadata.deep.y", "2", "[2]"),
                Difference("metadata.gone", "—", "—"),
                Difference("metadata.one", "1", "true"),
                Difference("port", "1", "—"),
                Difference("tags", "a", "a, b"),
                Difference("use_ssh_tunnel", "false", "true"),
            ],
        )

    def test_history_truncates_long_values(self):
        [one] = differences({"description": {"from": "", "to": "a" * 100}}, max_length=10)
        self.assertEqual((one.before, one.after), ("—", "aaaaaaaaa…"))


class HistoryTests(PageTestCase):
    def test_history_shows_changes_with_their_authors_newest_first(self):
        author = Author(self.editor, request_id="abc-1")
        self.data_source.apply_changes({"port": 5433}, user=author)
        response = self.get(f"{self.pages}history/")
        self.assertContains(response, "<del>5432</del> → <ins>5433</ins>")
        self.assertContains(response, "edith, via shell")
        self.assertContains(response, "Request abc-1")
        self.assertContains(response, "Restore this version", count=1)
        versions = [revision.version for revision, _ in response.context["revisions"]]
        self.assertEqual(versions, [2, 1])

    def test_history_page_of_fifty_changes_needs_five_queries(self):
        for port in range(1, 61):
            self.data_source.apply_changes({"port": port}, user=self.editor)
        with self.statements() as captured:
            response = self.get(f"{self.pages}history/")
        # Session, user, data source, history; and the session, whose end is postponed.
        self.assertEqual(len(sql(captured)), 5, sql(captured))
        self.assertContains(response, 'href="?before=12"')
        response = self.get(f"{self.pages}history/?before=12")
        versions = [revision.version for revision, _ in response.context["revisions"]]
        self.assertEqual(versions, [*range(11, 0, -1)])
        self.assertNotContains(response, "Older changes")
        self.assertContains(self.get(f"{self.pages}history/?before=1"), "No older changes.")

    def test_html_in_a_name_is_escaped(self):
        name = "<script>alert(1)</script>"
        self.data_source.apply_changes({"name": name}, user=self.editor)
        for page in ("history/", "change/", "schema/"):
            self.assertNotContains(self.get(f"{self.pages}{page}"), name)


class SchemaPageTests(PageTestCase):
    def test_schema_page_says_that_the_schema_has_not_been_read(self):
        self.assertContains(self.get(f"{self.pages}schema/"), "The schema has not been read yet.")

    def test_schema_page_shows_tables_and_changes(self):
        facts: Any = {
            "primary_key": {"name": "pk", "columns": ["id"], "options": "DEFERRABLE"},
            "indexes": [
                {
                    "name": "by_day",
                    "columns": ["day", "id"],
                    "column_options": ["DESC", ""],
                    "is_unique": True,
                    "method": "gist",
                    "included_columns": ["note"],
                    "predicate": "day IS NOT NULL",
                    "options": "INVALID",
                }
            ],
            "foreign_keys": [
                {
                    "name": "fk",
                    "columns": ["customer_id"],
                    "referred_schema": "public",
                    "referred_table": "customers",
                    "referred_columns": ["id"],
                    "on_update": "no_action",
                    "on_delete": "set_null",
                    "options": "NOT VALID",
                }
            ],
            "problem": "A rule of the server hides it.",
        }
        refresh(self.data_source, table("orders", column("id")), table("old"))
        orders = table(
            "orders", column("id", type="bigint", nullable=False, default_value="now()"), **facts
        )
        refresh(self.data_source, orders, table("new"), row_estimate=12)
        response = self.get(f"{self.pages}schema/")
        for text in (
            "public.<strong>orders</strong>",
            "about 12 rows",
            "Primary key: id; DEFERRABLE",
            "Unique index by_day: day DESC, id; where day IS NOT NULL",
            "; includes note; gist; INVALID",
            "Foreign key: customer_id → public.customers (id); on delete set null; NOT VALID",
            "A rule of the server hides it.",
            "<td>now()</td>",
            "type: <del>integer</del> → <ins>bigint</ins>",
            '<th scope="row">public.old</th>',
        ):
            with self.subTest(text=text):
                self.assertContains(response, text)
        summary = response.context["summary"]
        self.assertEqual((summary["added"], summary["removed"]), (4, 1))
        self.assertContains(response, "breaks readers", count=1)
        response = self.get(f"{self.pages}schema/?snapshot=1")
        self.assertContains(response, "so there is nothing to compare it with")
        self.assertContains(response, "public.<strong>old</strong>")

    def test_schema_page_searches_and_paginates_tables(self):
        tables = [table(f"t{number:03}", column("id")) for number in range(60)]
        refresh(self.data_source, *tables, table("orders", column("amount")))
        response = self.get(f"{self.pages}schema/")
        self.assertEqual(len(response.context["tables"]), 50)
        self.assertContains(response, "?snapshot=1&amp;search=&amp;from=50")
        response = self.get(f"{self.pages}schema/?from=50")
        self.assertEqual(len(response.context["tables"]), 11)
        self.assertIsNone(response.context["next_from"])
        response = self.get(f"{self.pages}schema/?search=amount")
        self.assertEqual([found["name"] for found in response.context["tables"]], ["orders"])
        for query in ("search=none", f"from={10**18}", "from=x&snapshot=x&search=%20"):
            with self.subTest(query=query):
                self.get(f"{self.pages}schema/?{query}")


class OverviewTests(PageTestCase):
    def test_list_links_to_the_overview(self):
        self.assertContains(self.client.get(ADMIN_PAGES), OVERVIEW)

    def test_overview_says_that_no_test_failed(self):
        response = self.get(OVERVIEW)
        self.assertContains(response, "No failed tests.")
        self.assertEqual(response.context["overdue_count"], 0)

    def test_overview_counts_data_sources_failed_tests_and_overdue_refreshes(self):
        for number in range(3):
            DataSource.objects.create(
                workspace=self.workspace,
                name=f"CSV {number}",
                type="csv",
                schema_auto_refresh=True,
            )
        late = DataSource.objects.filter(name__in=("CSV 0", "CSV 1"))
        late.record_schema(schema_next_refresh_at=timezone.now() - timedelta(hours=2))
        for code in ("OK", "LOGIN_FAILED", "LOGIN_FAILED", "DNS_FAILED"):
            self.make_test(code)
        self.make_test("DEADLINE", days_ago=2)
        ConnectionTest.objects.request(
            self.data_source.configuration(), of=self.data_source, is_stored=True
        )  # still running
        response = self.get(OVERVIEW)
        context = response.context
        self.assertEqual((context["total"], context["overdue_count"]), (4, 2))
        self.assertEqual(dict(context["by_status"]), {"active": 3, "inactive": 0, "error": 1})
        bars = [(bar["label"], bar["total"]) for bar in context["sources_chart"]["bars"]]
        self.assertEqual(bars, [("csv", 3), ("postgresql", 1)])
        failures = [(code, count) for code, _, count in context["failures"]]
        self.assertEqual(failures, [("LOGIN_FAILED", 2), ("DNS_FAILED", 1)])
        self.assertEqual(context["tests_chart"]["highest"], 4)
        self.assertContains(response, 'class="chart"', count=2)
        self.assertContains(response, "due 2")
        enqueue_due()
        response = self.get(OVERVIEW)
        self.assertEqual(response.context["overdue_count"], 2)
        self.assertContains(response, "due 2", count=2)

    def test_number_of_overview_queries_does_not_grow_with_the_number_of_data_sources(self):
        with self.statements() as captured:
            self.get(OVERVIEW)
        few = len(sql(captured))
        for number in range(20):
            DataSource.objects.create(
                workspace=self.workspace, name=f"CSV {number}", type="csv", schema_auto_refresh=True
            )
            self.make_test("DNS_FAILED")
        DataSource.objects.filter(type="csv").record_schema(
            schema_next_refresh_at=timezone.now() - timedelta(hours=2)
        )
        with self.statements() as captured:
            self.get(OVERVIEW)
        self.assertEqual((few, len(sql(captured))), (9, 9), sql(captured))

    def make_test(self, code: str, days_ago: int = 0) -> None:
        """Record a finished connection test of the current version."""
        test = ConnectionTest.objects.request(
            self.data_source.configuration(), of=self.data_source, is_stored=True
        )
        if days_ago:
            test.requested_at -= timedelta(days=days_ago)
            test.save()
        test.finish(no_outcome(code))


class ChartTests(SimpleTestCase):
    def test_longest_bar_fills_the_width(self):
        bars = [Bar("a", [("x", 30), ("y", 10)]), Bar("b", [("x", 0), ("y", 20)])]
        chart = stacked_bars(bars)
        first, second = chart["bars"]
        self.assertEqual(
            [(r["x"], r["width"]) for r in first["rectangles"]], [(130, 390), (520, 130)]
        )
        self.assertEqual([(r["x"], r["width"]) for r in second["rectangles"]], [(130, 260)])
        self.assertLess(first["y"] + chart["bar_height"], second["y"])

    def test_highest_column_fills_the_height(self):
        chart = columns([Bar("00", [("failed", 3), ("connected", 1)]), Bar("01", [])])
        failed, connected = chart["bars"][0]["rectangles"]
        self.assertEqual((failed["y"], failed["height"]), (35, 105))
        self.assertEqual((connected["y"], connected["height"]), (0, 35))
        self.assertEqual(chart["bars"][1]["rectangles"], [])

    def test_charts_without_data_are_empty(self):
        self.assertEqual(stacked_bars([])["bars"], [])
        self.assertEqual(columns([Bar("00", [("failed", 0)])])["highest"], 0)
