"""The list of data sources in the Django admin, also with 100,000 rows."""

from datetime import timedelta

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue_due
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client
from organizations.models import User
from organizations.testing import sql

# Copies the one data source 100 times into each of 1,000 organizations.
MANY = """
    INSERT INTO organizations_organization (name, slug, created_at)
    SELECT 'Organization ' || n, 'organization-' || n, now() FROM generate_series(1, 998) n;
    INSERT INTO organizations_workspace (name, organization_id, created_at)
    SELECT 'More', id, now() FROM organizations_organization;
    INSERT INTO datasources_datasource
    SELECT copy.*
    FROM datasources_datasource source, organizations_workspace workspace,
        generate_series(1, 100) n,
        jsonb_populate_record(source, jsonb_build_object(
            'id', workspace.id * 1000 + n, 'name', 'Source ' || n,
            'workspace_id', workspace.id, 'organization_id', workspace.organization_id
        )) copy
    WHERE workspace.name = 'More';
    ANALYZE datasources_datasource
"""


class ListTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.client = admin_client(self.admin)

    def names(self, query: str) -> set[str]:
        response = self.client.get(f"{ADMIN_PAGES}?{query}")
        self.assertEqual(response.status_code, 200, query)
        return {data_source.name for data_source in response.context["cl"].result_list}

    def make_source(self, name: str, **fields: object) -> DataSource:
        return DataSource.objects.create(
            **{"workspace": self.workspace, "name": name, "type": "csv", **fields}
        )

    def test_list_can_be_filtered_and_searched(self):
        self.make_source("Lake", tags=["x"])
        self.make_source("Theirs", workspace=self.globex.workspaces.get())
        DataSource.objects.filter(name="Lake").record_test({"ok": False}, version=1)
        for query, names in (
            ("type__exact=csv", {"Lake", "Theirs"}),
            ("status__exact=error", {"Lake"}),
            ("credentials_status__exact=set", set()),
            (f"organization__id__exact={self.globex.pk}", {"Theirs"}),
            (f"organization__id__exact={self.acme.pk}&type__exact=csv", {"Lake"}),
            ("q=lak", {"Lake"}),
            ("q=prod+example", {"Production PostgreSQL"}),
        ):
            with self.subTest(query=query):
                self.assertEqual(self.names(query), names)

    def test_list_cannot_be_filtered_by_regular_expressions(self):
        # PostgreSQL would run them: `(` is an error, and others take minutes for one row.
        for query in ("name__regex=(", "name__iregex=(a*)*$", "metadata__x__regex=x"):
            with self.subTest(query=query):
                self.assertEqual(self.client.get(f"{ADMIN_PAGES}?{query}").status_code, 400)

    def test_no_list_can_be_filtered_by_regular_expressions(self):
        models = [*admin.site._registry]
        self.assertGreaterEqual(len(models), 5)
        for model in models:
            pages = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            with self.subTest(model=model):
                is_served = self.client.get(pages).status_code == 200
                response = self.client.get(f"{pages}?{model._meta.pk.name}__regex=(")
                self.assertEqual(response.status_code, 400 if is_served else 403)

    def test_list_can_be_filtered_by_overdue_refreshes(self):
        for name, minutes in (("late", 10), ("due", 1), ("early", -10)):
            self.make_source(name, schema_auto_refresh=True)
            DataSource.objects.filter(name=name).record_schema(
                schema_next_refresh_at=timezone.now() - timedelta(minutes=minutes)
            )
        self.assertEqual(self.names("refresh=overdue"), {"late"})
        enqueue_due()
        self.assertEqual(self.names("refresh=overdue"), {"late"})
        SchemaRefresh.objects.get(data_source__name="late").advance(0, 5)
        self.assertEqual(self.names("refresh=overdue"), set())

    def test_organization_filter_keeps_the_other_filters(self):
        response = self.client.get(f"{ADMIN_PAGES}?type__exact=csv&q=lake")
        self.assertContains(response, '<input type="hidden" name="type__exact" value="csv">')
        self.assertContains(response, '<input type="hidden" name="q" value="lake">')
        self.assertNotContains(response, "All</a>\n  </form>")
        acme = f"organization__id__exact={self.acme.pk}"
        response = self.client.get(f"{ADMIN_PAGES}?{acme}&type__exact=csv")
        self.assertContains(response, f'<option value="{self.acme.pk}" selected>Acme</option>')
        self.assertContains(response, '<a href="?type__exact=csv">All</a>')

    def test_organization_filter_needs_permission_to_view_organizations(self):
        self.assertContains(self.client.get(ADMIN_PAGES), "organization-filter")
        staff = User.objects.create_user("sam", is_staff=True)
        staff.user_permissions.add(Permission.objects.get(codename="view_datasource"))
        self.client.force_login(staff)
        self.assertNotContains(self.client.get(ADMIN_PAGES), "organization-filter")

    def test_an_invalid_organization_id_is_no_error(self):
        for value in ("abc", "9" * 30):
            with self.subTest(value=value):
                page = f"{ADMIN_PAGES}?organization__id__exact={value}"
                self.assertEqual(self.client.get(page, follow=True).status_code, 200)

    def test_organizations_and_workspaces_are_found_by_typing(self):
        for field, text in (("organization", "Acme"), ("workspace", "Default of Acme")):
            with self.subTest(field=field):
                parameters = {
                    "app_label": "datasources",
                    "model_name": "datasource",
                    "field_name": field,
                    "term": "acme",
                }
                response = self.client.get("/admin/autocomplete/", parameters)
                [found] = response.json()["results"]
                self.assertEqual(found["text"], text)

    def test_finding_workspaces_needs_permission_to_view_them(self):
        staff = User.objects.create_user("sam", is_staff=True)
        may = ("view_datasource", "add_datasource")
        staff.user_permissions.set(Permission.objects.filter(codename__in=may))
        self.client.force_login(staff)
        field = "app_label=datasources&model_name=datasource&field_name=workspace"
        found = f"/admin/autocomplete/?{field}"
        self.assertEqual(self.client.get(found).status_code, 403)
        staff.user_permissions.add(Permission.objects.get(codename="view_workspace"))
        self.assertEqual(self.client.get(found).status_code, 200)

    def test_list_needs_no_more_queries_with_100000_data_sources(self):
        # Session, user, count, and one page; and the session, whose end is postponed.
        pages = {
            "": 5,
            "q=source": 5,
            "status__exact=active&type__exact=postgresql": 5,
            "refresh=overdue": 5,
            "o=-7": 5,
            f"organization__id__exact={self.acme.pk}": 6,  # the name of the organization
        }
        self.assertEqual({query: self.count_queries(query) for query in pages}, pages)
        with connection.cursor() as cursor:
            cursor.execute(MANY)
        self.assertEqual(DataSource.objects.count(), 100_001)
        self.assertEqual(DataSource.objects.values("organization").distinct().count(), 1_000)
        pages["p=900"] = 5
        self.assertEqual({query: self.count_queries(query) for query in pages}, pages)

    def count_queries(self, query: str) -> int:
        with self.statements() as captured:
            self.names(query)
        return len(sql(captured))
