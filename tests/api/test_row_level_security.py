"""Row-level security: which rows the restricted role can read and write, by any statement."""

from datetime import timedelta
from io import StringIO
from typing import Any, ClassVar
from unittest import mock

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import InternalError, ProgrammingError, connection, transaction
from django.db.models import F, Model, Q, QuerySet
from django.test import Client, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.management.checks import State
from datasources.management.checks.database import check_isolation
from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet, prepared_get_many
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client
from organizations.idempotency.models import IdempotencyRecord, KeptAnswers
from organizations.models import Membership, Organization, User
from organizations.testing import bearer, sql
from rivergen.postgresql import row_level_security
from rivergen.postgresql.acting_user import (
    act_as_member,
    act_as_metrics,
    act_as_staff,
    acting_user,
)
from rivergen.postgresql.base import ActingUserCursor
from rivergen.postgresql.row_level_security import EXEMPT, ORGANIZATION, PROTECTED, protected_models
from rivergen.testing.web_role import WebRole, web_role

MODELS = dict(protected_models())


def in_organization(model: type[Model], organization: Organization) -> QuerySet[Any]:
    """Return all rows of an organization, by the fields that PROTECTED names."""
    path: list[str] = []
    parent: Any = model
    while parent._meta.label != ORGANIZATION:
        path.append(MODELS[parent])
        parent = parent._meta.get_field(path[-1]).related_model
    return model._base_manager.filter(**{"__".join([*path, "pk"]): organization.pk})


class RowLevelSecurityTestCase(DataSourceTestMixin, TransactionTestCase):
    """Two organizations, each with rows in every table, and the restricted role of web requests."""

    role: ClassVar[WebRole]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.role = cls.enterClassContext(web_role())

    def setUp(self) -> None:
        self.make_world()
        workspace = self.globex.workspaces.get()
        self.theirs = DataSource.objects.create(workspace=workspace, name="Theirs", type="mysql")
        for data_source in (self.data_source, self.theirs):
            data_source.set_credentials({"password": "hunter2"}, user=None)
            refresh(data_source, table("orders", column("id")))
            ConnectionTest.objects.request(
                Configuration("csv"), of=data_source, is_stored=True, user=None
            )
        for user, organization in ((self.owner, self.acme), (self.stranger, self.globex)):
            IdempotencyRecord.objects.create(
                **{"user": user, "organization": organization, "key": "k", "fingerprint": ""},
                **{"status": 200, "headers": {}, "body": b"", "stored_at": timezone.now()},
            )
            KeptAnswers.objects.create(
                user=user, organization=organization, hour=timezone.now(), bytes=1
            )
        token = acting_user.set("")
        self.addCleanup(acting_user.reset, token)

    def rows_of(self, organization: Organization) -> dict[str, list[Any]]:
        """Return the rows of an organization by table, as the owner of the tables sees them."""
        return {
            model._meta.db_table: [*in_organization(model, organization).order_by("pk").values()]
            for model in MODELS
        }

    def counts_of(self, organization: Organization) -> dict[str, int]:
        """Return the number of rows of an organization by table; no table is empty."""
        counts = {name: len(rows) for name, rows in self.rows_of(organization).items()}
        self.assertTrue(all(counts.values()), counts)
        return counts

    def counts_seen(self) -> dict[str, int]:
        """Return the number of rows that the role sees in each table without any filter."""
        counts = {}
        with self.role.connected():
            for model in MODELS:
                name = model._meta.db_table
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT * FROM {name}")
                    counts[name] = len(cursor.fetchall())
                self.assertEqual(model._base_manager.count(), counts[name])
        return counts


class ReadTests(RowLevelSecurityTestCase):
    def test_member_sees_the_rows_of_its_organization_only(self):
        for user, organization in ((self.stranger, self.globex), (self.viewer, self.acme)):
            act_as_member(user.pk)
            self.assertEqual(self.counts_seen(), self.counts_of(organization))
            with self.role.connected():
                names = [*DataSource.objects.values_list("organization__name", flat=True)]
            self.assertEqual(names, [organization.name])

    def test_member_of_two_organizations_sees_the_rows_of_both(self):
        Membership.objects.create(user=self.stranger, organization=self.acme)
        act_as_member(self.stranger.pk)
        both = [self.counts_of(organization) for organization in (self.acme, self.globex)]
        self.assertEqual(
            self.counts_seen(), {name: sum(one[name] for one in both) for name in both[0]}
        )

    def assert_nothing_is_seen(self):
        self.assertEqual({*self.counts_seen().values()}, {0})

    def test_without_acting_user_no_row_is_visible(self):
        self.assert_nothing_is_seen()

    def test_non_member_and_deactivated_user_see_no_row(self):
        for user_id in (self.loner.pk, self.loner.pk + 1000, 2**63 - 1):
            act_as_member(user_id)
            self.assert_nothing_is_seen()
        act_as_member(self.stranger.pk)
        User.objects.filter(pk=self.stranger.pk).update(is_active=False)
        self.assert_nothing_is_seen()
        User.objects.filter(pk=self.stranger.pk).update(is_active=True)
        Membership.objects.filter(user=self.stranger).delete()
        self.assert_nothing_is_seen()

    def test_active_staff_see_all_rows(self):
        act_as_staff(self.stranger.pk)
        self.assert_nothing_is_seen()
        User.objects.filter(pk=self.stranger.pk).update(is_staff=True)
        seen, acme, globex = self.counts_seen(), self.rows_of(self.acme), self.rows_of(self.globex)
        self.assertEqual(seen, {name: len(acme[name]) + len(globex[name]) for name in acme})
        act_as_member(self.stranger.pk)
        self.assertEqual(self.counts_seen(), self.counts_of(self.globex))
        act_as_staff(self.stranger.pk)
        User.objects.filter(pk=self.stranger.pk).update(is_active=False)
        self.assert_nothing_is_seen()

    def test_metrics_see_all_rows_and_cannot_write(self):
        act_as_metrics()
        acme, globex = self.rows_of(self.acme), self.rows_of(self.globex)
        self.assertEqual(
            self.counts_seen(), {name: len(acme[name]) + len(globex[name]) for name in acme}
        )
        with self.role.connected(), self.assertRaisesMessage(InternalError, "read-only"):
            Organization.objects.all().delete()

    def test_next_user_of_the_connection_inherits_nothing(self):
        def ask() -> list[str]:
            return [*DataSource.objects.values_list("name", flat=True)]

        mine, theirs = [self.data_source.name], [self.theirs.name]
        with self.role.connected():
            for user, expected in ((self.viewer, mine), (self.stranger, theirs)):
                acting_user.set("")
                self.assertEqual(ask(), [])
                act_as_member(user.pk)
                self.assertEqual(ask(), expected)
                with transaction.atomic():
                    self.assertEqual(ask(), expected)
                    with self.assertRaises(ProgrammingError), transaction.atomic():
                        connection.cursor().execute("SELECT 1 FROM nowhere")
                    self.assertEqual(ask(), expected)
                    transaction.set_rollback(True)
                acting_user.set("")
                self.assertEqual(ask(), [])
                with transaction.atomic():
                    self.assertEqual(ask(), [])
                act_as_member(user.pk)
                with self.assertRaises(ProgrammingError):
                    connection.cursor().execute("SELECT 1 FROM nowhere")
                acting_user.set("")
                self.assertEqual(ask(), [])


class WriteTests(RowLevelSecurityTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = self.rows_of(self.acme)
        act_as_member(self.stranger.pk)

    def execute(self, statement: str, values: Any = ()) -> int:
        """Run a statement as the role and roll it back; return the number of affected rows."""
        with self.role.connected(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            transaction.set_rollback(True)
            return int(cursor.rowcount)

    def test_update_and_delete_affect_visible_rows_only(self):
        for model in MODELS:
            name, key = model._meta.db_table, model._meta.pk.column
            for statement in (f"UPDATE {name} SET {key} = {key}", f"DELETE FROM {name}"):
                with self.subTest(statement):
                    expected = in_organization(model, self.globex).count()
                    self.assertEqual(self.execute(statement), expected)
                    acting_user.set("")
                    self.assertEqual(self.execute(statement), 0)
                    act_as_member(self.stranger.pk)

    def test_committed_writes_leave_rows_of_other_organizations_unchanged(self):
        with self.role.connected(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {DataSource._meta.db_table} SET host = 'evil.example.com'")
            cursor.execute("DELETE FROM datasources_credential")
        self.assertEqual(self.rows_of(self.acme), self.before)
        self.assertEqual(DataSource.objects.get(host="evil.example.com"), self.theirs)

    def test_inserting_a_row_of_another_organization_is_refused(self):
        for model in MODELS:
            name = model._meta.db_table
            row, fields = in_organization(model, self.acme).first(), model._meta.concrete_fields
            values = [
                field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields
            ]
            columns = ", ".join(f'"{field.column}"' for field in fields)
            casts = ", ".join(
                f"%s::{field.rel_db_type(connection)}"
                if field.is_relation
                else f"%s::{field.db_type(connection)}"
                for field in fields
            )
            statement = f"INSERT INTO {name} ({columns}) VALUES ({casts})"
            with self.subTest(name), self.assertRaisesMessage(ProgrammingError, "row-level"):
                self.execute(statement, values)

    def test_moving_a_row_to_another_organization_is_refused(self):
        for model, field_name in MODELS.items():
            field = model._meta.get_field(field_name)
            there = in_organization(model, self.acme).values_list(field.attname).first()
            statement = f"UPDATE {model._meta.db_table} SET {field.column} = %s"
            with self.subTest(statement), self.assertRaisesMessage(ProgrammingError, "row-level"):
                self.execute(statement, there)

    def test_without_acting_user_insert_is_refused(self):
        acting_user.set("")
        with self.role.connected(), self.assertRaisesMessage(ProgrammingError, "row-level"):
            Organization.objects.create(name="New", slug="new")

    def test_restricted_role_cannot_change_tables_or_policies(self):
        for statement in (
            "ALTER TABLE datasources_datasource DISABLE ROW LEVEL SECURITY",
            "DROP POLICY rivergen_organization ON datasources_datasource",
            "TRUNCATE datasources_datasource CASCADE",
            "SET row_security = off; SELECT * FROM datasources_datasource",
            "SELECT * FROM procrastinate_events",
            "SELECT * FROM procrastinate_jobs",
            "DELETE FROM django_migrations",
        ):
            with self.subTest(statement), self.assertRaises(ProgrammingError):
                self.execute(statement)


class RequestTests(RowLevelSecurityTestCase):
    def test_query_without_organization_filter_shows_own_rows_only(self):
        everything = DataSource.objects.annotate(role=F("organization__memberships__role"))

        def unscoped(data_sources, user, pk):
            if (found := everything.filter(pk=pk).first()) is None:
                raise DataSource.DoesNotExist
            return found

        in_all = mock.patch.object(DataSourceQuerySet, "in_organizations", lambda found, _: found)
        visible = mock.patch.object(DataSourceQuerySet, "visible_to", unscoped)
        with self.role.handling_requests(), in_all, visible:
            page = self.call("get", "/data-sources", user=self.stranger).json()["data"]
            self.assertEqual([one["name"] for one in page], ["Theirs"])
            self.assert_error(self.call("get", self.path, user=self.stranger), 404, "NOT_FOUND")
        with visible:
            # Without row-level security the row is found.
            self.assertEqual(self.call("get", self.path, user=self.stranger).status_code, 200)

    def test_many_updates_and_tests_reach_own_rows_only(self):
        everything = DataSource.objects.annotate(role=F("organization__memberships__role"))

        def unscoped_for(data_sources, user):
            # The id must be compared; here it restricts nothing.
            return everything.filter(Q(pk__gt=0) | Q(pk=user.pk))

        unscoped = mock.patch.object(DataSourceQuerySet, "for_user", unscoped_for)
        updates = [{"id": one.pk, "port": 1} for one in (self.data_source, self.theirs)]
        before = self.rows_of(self.acme)
        with self.role.handling_requests(), unscoped:
            prepared_get_many.cache_clear()
            body = {"updates": updates}
            response = self.call("patch", "/data-sources?atomic=false", body, self.stranger)
            self.assertEqual([one["status"] for one in response.json()["data"]], [404, 200])
            body = {"ids": [update["id"] for update in updates]}
            response = self.call("post", "/data-sources/test", body, self.stranger)
            self.assertEqual([one["status"] for one in response.json()["data"]], [404, 202])
        prepared_get_many.cache_clear()
        self.assertEqual(self.rows_of(self.acme), before)

    def test_row_level_security_needs_no_additional_statements(self):
        update = {"id": self.data_source.pk, "port": 5434}
        for method, path, body, number in (
            ("patch", "/data-sources", {"updates": [update]}, 2),
            ("patch", self.path, {"port": 5433}, 2),
            ("get", self.path, None, 1),
            ("get", "/data-sources", None, 2),
        ):
            with self.role.handling_requests():
                self.call(method, path, body, self.editor)  # compiles the prepared statements
            captured = CaptureQueriesContext(self.role.connection)
            with self.role.handling_requests(), captured:
                response = self.call(method, path, body, self.editor)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(len(sql(captured)), number, sql(captured))

    def test_staff_see_all_rows_in_the_admin_but_not_in_the_api(self):
        client = admin_client(self.stranger)
        with self.role.handling_requests():
            page = client.get(ADMIN_PAGES).content.decode()
            self.assertIn("Theirs", page)
            self.assertIn(self.data_source.name, page)
            response = client.get(f"/api/v1{self.path}")
            self.assertEqual(response.status_code, 401)
            response = self.call("get", self.path, user=self.stranger)
            self.assert_error(response, 404, "NOT_FOUND")
            headers = {"Authorization": bearer(self.stranger)}
            self.assertEqual(Client().get(ADMIN_PAGES, headers=headers).status_code, 302)
            self.assertEqual(acting_user.get(), "")

    def test_metrics_count_over_all_organizations(self):
        DataSource.objects.filter(pk=self.theirs.pk).record_schema(
            schema_next_refresh_at=timezone.now() - timedelta(hours=1)
        )
        with self.role.handling_requests():
            text = self.client.get("/metrics").content.decode()
        self.assertIn("rivergen_database_up 1.0", text)
        self.assertIn("rivergen_schema_refreshes_overdue 1.0", text)

    def test_acting_user_is_reset_after_the_request(self):
        with self.role.handling_requests():
            self.assertEqual(self.call("get", "/me", user=self.viewer).status_code, 200)
        self.assertEqual(acting_user.get(), "")

    def test_sign_in_and_token_refresh_work(self):
        tokens = {"username": "stella", "password": "correct horse battery staple"}
        with self.role.handling_requests():
            response = self.call("post", "/auth/token", tokens)
            refresh_token = response.json()["data"]["refresh_token"]
            response = self.call("post", "/auth/token/refresh", {"refresh_token": refresh_token})
        self.assertEqual(response.status_code, 200)


class SettingTests(RowLevelSecurityTestCase):
    def test_row_level_security_is_off_by_default_and_then_costs_nothing(self):
        self.assertNotIsInstance(connection.cursor().cursor, ActingUserCursor)
        with self.assertNumQueries(1):
            self.assertEqual(self.call("get", self.path, user=self.viewer).status_code, 200)

    def test_every_model_is_protected_or_exempt(self):
        labels = {model._meta.label for model in MODELS}
        self.assertEqual({*PROTECTED}, labels)
        self.assertFalse({*PROTECTED} & {*EXEMPT})
        with (
            mock.patch.dict(PROTECTED),
            self.assertRaisesMessage(ImproperlyConfigured, "datasources.Credential is in neither"),
        ):
            del PROTECTED["datasources.Credential"]
            list(protected_models())

    def test_restricted_role_sees_no_table_without_a_policy(self):
        self.assertEqual(
            {*row_level_security.unprotected_tables()}, {model._meta.db_table for model in MODELS}
        )
        with self.role.connected():
            self.assertEqual(row_level_security.unprotected_tables(), [])

    def test_readyz_is_503_if_row_level_security_is_set_but_not_active(self):
        with self.role.handling_requests():
            self.assertEqual(self.client.get("/readyz").status_code, 200)
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=True):
            response = self.client.get("/readyz")
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json()["database"], "no row-level security")


class CommandTests(RowLevelSecurityTestCase):
    def isolation(self, *, is_set: bool) -> tuple[bool, str]:
        """Return the verdict and the text of `doctor` for the connected role."""
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=is_set):
            finding = check_isolation()
        return finding.state == State.OK, finding.text

    def test_doctor_reports_whether_rows_are_isolated(self):
        self.assertEqual(
            self.isolation(is_set=False),
            (True, "This role sees all rows, as workers and commands must."),
        )
        ok, text = self.isolation(is_set=True)
        self.assertFalse(ok)
        self.assertIn("datasources_credential, datasources_datasource,", text)
        with self.role.connected():
            self.assertTrue(self.isolation(is_set=True)[0])
            ok, text = self.isolation(is_set=False)
        self.assertEqual((ok, "DATABASE_ROW_LEVEL_SECURITY" in text), (False, True))

    def test_protect_rows_with_sql_option_prints_and_changes_nothing(self):
        output = StringIO()
        call_command("protect_rows", self.role.name, "--remove", "--sql", stdout=output)
        self.assertIn("DROP POLICY IF EXISTS", output.getvalue())
        with self.role.connected():
            self.assertEqual(row_level_security.unprotected_tables(), [])

    def test_protect_rows_with_remove_option_removes_policies_and_grants(self):
        call_command("protect_rows", self.role.name, "--remove", stdout=StringIO())
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_policies")
                self.assertEqual(cursor.fetchone(), (0,))
            with self.role.connected(), self.assertRaisesMessage(ProgrammingError, "denied"):
                DataSource.objects.count()
        finally:
            call_command("protect_rows", self.role.name, stdout=StringIO())

    def test_protect_rows_without_ownership_reports_permission_denied(self):
        with self.role.connected(), self.assertRaisesMessage(CommandError, "permission denied"):
            call_command("protect_rows", self.role.name)

    def test_protect_rows_refuses_roles_that_bypass_row_level_security(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            [owner] = cursor.fetchone()
        for role, sentence in (
            ("nobody_of_this_name", "CREATE ROLE"),
            (owner, "does not restrict"),
        ):
            with self.subTest(role), self.assertRaisesMessage(CommandError, sentence):
                call_command("protect_rows", role)
