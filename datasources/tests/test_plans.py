"""Tests of query plans: lists and searches are read by indexes, in their order."""

import json
import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.db import connection, models

from datasources.models import DataSource
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase
from organizations.models import Membership, Organization, Role
from organizations.testing import sql
from rivergen.testing.web_role import become, role_in_transaction

SOURCES = 3_000
OTHERS = 30
TABLE = DataSource._meta.db_table
EARLIER, LATER = "2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
# Queries that match many rows, and the field of the index that sorts them.
IN_ORDER = {
    **dict.fromkeys(("", "ordering=-name", "type=mysql", "status=active"), "name"),
    **dict.fromkeys(("type=mysql&type=csv", "schema_status=unread"), "name"),
    **dict.fromkeys(("credentials_status=unset", "tag=production", "search=orders"), "name"),
    **dict.fromkeys((f"updated_before={LATER}", f"updated_after={EARLIER}"), "name"),
    f"updated_after={EARLIER}&ordering=-updated_at": "updated",
    **dict.fromkeys(("ordering=created_at", "ordering=-created_at"), "created"),
    **dict.fromkeys(("ordering=updated_at", "ordering=-updated_at"), "updated"),
}
# Queries that match few rows, and the index that finds them.
BY_INDEX = {
    "type=oracle": "data_source_type",
    "status=error": "data_source_status",
    "credentials_status=set": "data_source_credentials",
    "schema_status=failed": "data_source_schema_status",
    "type=oracle&type=trino": "data_source_type",
    "status=error&status=inactive": "data_source_status",
    "name=ORDERS%207": "data_source_name_unique",
    "host=NEEDLE5.example.com": "data_source_host",
    "id=1&id=2": "datasources_datasource_pkey",
    "tag=rare": "data_source_tags",
    f"updated_after={LATER}&ordering=-updated_at": "data_source_(all_)?by_updated",
}
# Paths below one data source.
OF_ONE = (
    *("", "/history", "/schema", "/schema?table=orders", "/schema?search=orders"),
    *("/schema/snapshots", "/schema/changes"),
)


class PlanTests(DataSourceTestCase):
    """Acme has a quarter of the rows; its users are in no other organization, Stella is in all."""

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        others = Organization.objects.bulk_create(
            Organization(name=f"Other {n}", slug=f"other-{n}") for n in range(OTHERS)
        )
        Membership.objects.bulk_create(
            Membership(user=cls.stranger, organization=organization, role=Role.EDITOR)
            for organization in (cls.acme, *others)
        )
        workspaces = [cls.workspace, *(other.workspaces.get() for other in others)]
        # Django's own bulk_create, which writes no revisions.
        models.QuerySet[DataSource](DataSource).bulk_create(
            DataSource(
                organization_id=workspace.organization_id,
                workspace=workspace,
                name=f"Orders {n * 7919 % SOURCES}",
                type=DataSource.Type.MYSQL if n % 3 else DataSource.Type.CSV,
                tags=["rare" if n % 500 == 0 else "frequent", "production"],
                status="error" if n % 500 == 1 else "active",
                credentials_status="set" if n % 500 == 3 else "unset",
                host=f"needle{n}.example.com" if n % 500 == 5 else f"db{n}.example.com",
            )
            for n in range(SOURCES)
            for workspace in [workspaces[0 if n % 4 == 1 else n % len(workspaces)]]
        )
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {TABLE}")
            # Plan as for tables never analyzed: autovacuum may have counted rows of other tests.
            cursor.execute("TRUNCATE datasources_schemacontent CASCADE")

    def test_list_pages_are_read_in_the_order_of_an_index(self):
        expected = {
            **{query: rf"data_source_(all_)?by_{field}" for query, field in IN_ORDER.items()},
            f"organization_id={self.acme.pk}": "data_source_(all_)?by_name",
            f"workspace_id={self.workspace.pk}": "data_source_of_workspace",
        }
        for user in (self.viewer, self.stranger):
            for query, index in expected.items():
                with self.subTest(user=user.username, query=query):
                    limit, scan = walk(self.explain(query, user))
                    self.assertEqual(limit["Node Type"], "Limit")
                    self.assertRegex(scan["Index Name"], index)

    def test_rare_filter_values_are_found_by_an_index(self):
        for user in (self.viewer, self.stranger):
            for query, index in BY_INDEX.items():
                with self.subTest(user=user.username, query=query):
                    nodes = walk(self.explain(query, user))
                    names = [node.get("Index Name", "") for node in nodes]
                    self.assertTrue(any(re.fullmatch(index, name) for name in names), names)

    def test_search_uses_the_trigram_index(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # equally fast with so few rows
        found = DataSource.objects.search("needle").order_by()
        self.assertIn("data_source_search", found.explain())

    def test_lookup_by_name_uses_the_index_of_names(self):
        names = [(self.workspace.pk, f"orders {number}") for number in range(5)]
        self.assertIn("data_source_name_unique", DataSource.objects.named(names).explain())

    def test_later_page_starts_at_the_cursor_by_an_index(self):
        for query in ("", "ordering=-updated_at"):
            page = self.call("get", f"/data-sources?{query}", user=self.viewer).json()
            nodes = walk(self.explain(urlsplit(page["pagination"]["next"]).query, self.viewer))
            [condition] = [node["Index Cond"] for node in nodes if "Index Cond" in node]
            with self.subTest(query=query):
                self.assertIn("updated_at" if query else "name", condition)

    def test_requests_about_one_data_source_scan_no_table(self):
        # A sequential scan is equally fast with so few rows.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        refresh(self.data_source, table("orders", column("id")))
        refresh(self.data_source, table("orders"))
        requests = [("get", path, None) for path in OF_ONE]
        for method, path, body in (*requests, ("patch", "", {"name": "new", "port": 1})):
            for statement in self.send(method, f"/{self.data_source.pk}{path}", self.editor, body):
                with self.subTest(method=method, path=path, statement=statement[:60]):
                    kinds = [node["Node Type"] for node in walk(plan(statement))]
                    self.assertNotIn("Seq Scan", kinds)

    def explain(self, query: str, user: Any) -> dict[str, Any]:
        """Return the plan of the statement that reads a page."""
        statements = self.send("get", f"?{query}", user)
        [statement] = [one for one in statements if f'FROM "{TABLE}"' in one]
        return plan(statement)

    def send(self, method: str, path: str, user: Any, body: Any = None) -> list[str]:
        """Send a request, and return its statements that have a plan."""
        with self.statements() as captured:
            response = self.call(method, f"/data-sources{path}", body, user)
        self.assertEqual(response.status_code, 200, response.content)
        return [one for one in sql(captured) if not one.startswith("SET ")]


class RowLevelSecurityPlanTests(PlanTests):
    """Run PlanTests with a role under row-level security, whose search functions are leakproof."""

    role: ClassVar[str]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.role = role_in_transaction("--leakproof")
        super().setUpTestData()

    def setUp(self) -> None:
        super().setUp()
        become(self.role, self.viewer)

    def call(self, method: str, path: str, data: Any = None, user: Any = None, **extra: Any) -> Any:
        become(self.role, user)
        return super().call(method, path, data, user, **extra)

    def test_query_plans_contain_the_row_level_security_policy(self) -> None:
        self.assertIn("rivergen.organization_ids", str(self.explain("", self.viewer)))


def plan(statement: str) -> dict[str, Any]:
    """Return the query plan of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
        [(plans,)] = cursor.fetchall()
    plans = json.loads(plans) if isinstance(plans, str) else plans
    return plans[0]["Plan"]


def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a node of a plan and all nodes below it."""
    return [node, *(below for child in node.get("Plans", ()) for below in walk(child))]
