"""How the database reads what is listed: by an index, and in its order wherever there is one."""

import json
from typing import Any
from urllib.parse import urlsplit

from django.db import connection, models

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.models import Membership, Organization, Role

SOURCES = 3_000
OTHERS = 30
TABLE = DataSource._meta.db_table
IN_ORDER = (
    *("", "ordering=-name", "ordering=created_at", "ordering=-created_at", "ordering=updated_at"),
    *("ordering=-updated_at", "type=mysql", "status=active", "credentials_status=unset"),
    *("tag=production", "updated_before=2999-01-01T00:00:00Z", "search=orders"),
)
BY_INDEX = (
    *("tag=rare", "status=error", "credentials_status=set", "type=oracle"),
    "updated_after=2999-01-01T00:00:00Z",
)


class PlanTests(DataSourceTestCase):
    """Half of all is Acme's, whose people belong to it alone; Stella belongs to all others too."""

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
        # As Django does: a history is not what this is about.
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
            for workspace in [workspaces[0 if n % 2 else n // 2 % len(workspaces)]]
        )
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {TABLE}")

    def test_reads_pages_in_the_order_of_an_index(self):
        for user in (self.viewer, self.stranger):
            for query in (*IN_ORDER, f"workspace_id={self.workspace.pk}"):
                with self.subTest(user=user.username, query=query):
                    nodes = self.plan(query, user)
                    self.assertNotIn("Seq Scan", nodes)
                    self.assertNotIn("Sort", nodes)

    def test_finds_few_of_many_by_an_index(self):
        for user in (self.viewer, self.stranger):
            for query in BY_INDEX:
                with self.subTest(user=user.username, query=query):
                    self.assertNotIn("Seq Scan", self.plan(query, user))

    def test_searches_by_trigrams(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # which is as quick for so few rows
        found = DataSource.objects.search("needle").order_by()
        self.assertIn("data_source_search", found.explain())

    def test_a_later_page_starts_where_the_last_one_ended(self):
        for query in ("", "ordering=-updated_at"):
            page = self.call("get", f"/data-sources?{query}", user=self.viewer).json()
            nodes = walk(self.explain(urlsplit(page["pagination"]["next"]).query, self.viewer))
            [condition] = [node["Index Cond"] for node in nodes if "Index Cond" in node]
            with self.subTest(query=query):
                self.assertIn("updated_at" if query else "name", condition)

    def plan(self, query: str, user: Any) -> list[str]:
        """Name the kinds of nodes in the plan of a list."""
        return [node["Node Type"] for node in walk(self.explain(query, user))]

    def explain(self, query: str, user: Any) -> dict[str, Any]:
        """Give the plan of the statement that reads a page."""
        with self.statements() as captured:
            response = self.call("get", f"/data-sources?{query}", user=user)
        self.assertEqual(response.status_code, 200)
        [statement] = [one["sql"] for one in captured if f'FROM "{TABLE}"' in one["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
            [(plans,)] = cursor.fetchall()
        plans = json.loads(plans) if isinstance(plans, str) else plans
        return plans[0]["Plan"]


def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a node of a plan, and all below it."""
    return [node, *(below for child in node.get("Plans", ()) for below in walk(child))]
