"""The second wall: what a role with row-level security reads and writes, whatever is asked for."""

from datetime import timedelta
from io import StringIO
from typing import Any, ClassVar
from unittest import mock

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import InternalError, ProgrammingError, connection, transaction
from django.db.models import F, Model, QuerySet
from django.test import Client, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.management.commands import doctor
from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from datasources.schemas.testing import column, refresh, table
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client
from datasources.tests import test_plans
from organizations.idempotency.models import IdempotencyRecord
from organizations.models import Membership, Organization, User
from organizations.testing import bearer, sql
from rivergen.postgresql import row_level_security
from rivergen.postgresql.acting_user import entrance, read_all, see_all_as, see_as
from rivergen.postgresql.base import EnteringCursor
from rivergen.postgresql.row_level_security import EXEMPT, ORGANIZATION, PROTECTED, protected_models
from rivergen.testing.routes import routes
from rivergen.testing.web_role import WebRole, web_role
from tests.api import test_leaks, test_routes

MODELS = dict(protected_models())


def in_organization(model: type[Model], organization: Organization) -> QuerySet[Any]:
    """Give all rows of an organization, by the way that is declared for the policies."""
    path: list[str] = []
    parent: Any = model
    while parent._meta.label != ORGANIZATION:
        path.append(MODELS[parent])
        parent = parent._meta.get_field(path[-1]).related_model
    return model._base_manager.filter(**{"__".join([*path, "pk"]): organization.pk})


class WallTestCase(DataSourceTestMixin, TransactionTestCase):
    """Two organizations, each with rows of every kind, and the role of the web."""

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
        token = entrance.set("")
        self.addCleanup(entrance.reset, token)

    def rows_of(self, organization: Organization) -> dict[str, list[Any]]:
        """Give the rows of an organization, by table, as their owner sees them."""
        return {
            model._meta.db_table: [*in_organization(model, organization).order_by("pk").values()]
            for model in MODELS
        }

    def counts_of(self, organization: Organization) -> dict[str, int]:
        counts = {name: len(rows) for name, rows in self.rows_of(organization).items()}
        self.assertTrue(all(counts.values()), counts)
        return counts

    def counts_seen(self) -> dict[str, int]:
        """Count what the role is shown by statements that ask for everything."""
        counts = {}
        with self.role.connected():
            for model in MODELS:
                name = model._meta.db_table
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT * FROM {name}")
                    counts[name] = len(cursor.fetchall())
                self.assertEqual(model._base_manager.count(), counts[name])
        return counts


class ReadTests(WallTestCase):
    def test_shows_what_the_organizations_of_a_user_have(self):
        for user, organization in ((self.stranger, self.globex), (self.viewer, self.acme)):
            see_as(user.pk)
            self.assertEqual(self.counts_seen(), self.counts_of(organization))
            with self.role.connected():
                names = [*DataSource.objects.values_list("organization__name", flat=True)]
            self.assertEqual(names, [organization.name])

    def test_shows_a_member_of_both_what_both_have(self):
        Membership.objects.create(user=self.stranger, organization=self.acme)
        see_as(self.stranger.pk)
        both = [self.counts_of(organization) for organization in (self.acme, self.globex)]
        self.assertEqual(
            self.counts_seen(), {name: sum(one[name] for one in both) for name in both[0]}
        )

    def assert_nothing_is_seen(self):
        self.assertEqual({*self.counts_seen().values()}, {0})

    def test_shows_nobody_anything(self):
        self.assert_nothing_is_seen()

    def test_shows_nothing_to_who_is_no_member_or_was_deactivated(self):
        for user_id in (self.loner.pk, self.loner.pk + 1000, 2**63 - 1):
            see_as(user_id)
            self.assert_nothing_is_seen()
        see_as(self.stranger.pk)
        User.objects.filter(pk=self.stranger.pk).update(is_active=False)
        self.assert_nothing_is_seen()
        User.objects.filter(pk=self.stranger.pk).update(is_active=True)
        Membership.objects.filter(user=self.stranger).delete()
        self.assert_nothing_is_seen()

    def test_shows_active_staff_all(self):
        see_all_as(self.stranger.pk)
        self.assert_nothing_is_seen()
        User.objects.filter(pk=self.stranger.pk).update(is_staff=True)
        seen, acme, globex = self.counts_seen(), self.rows_of(self.acme), self.rows_of(self.globex)
        self.assertEqual(seen, {name: len(acme[name]) + len(globex[name]) for name in acme})
        see_as(self.stranger.pk)
        self.assertEqual(self.counts_seen(), self.counts_of(self.globex))
        see_all_as(self.stranger.pk)
        User.objects.filter(pk=self.stranger.pk).update(is_active=False)
        self.assert_nothing_is_seen()

    def test_shows_metrics_all_and_lets_them_write_nothing(self):
        read_all()
        acme, globex = self.rows_of(self.acme), self.rows_of(self.globex)
        self.assertEqual(
            self.counts_seen(), {name: len(acme[name]) + len(globex[name]) for name in acme}
        )
        with self.role.connected(), self.assertRaisesMessage(InternalError, "read-only"):
            Organization.objects.all().delete()

    def test_leaves_nothing_to_who_has_the_connection_next(self):
        def ask() -> list[str]:
            return [*DataSource.objects.values_list("name", flat=True)]

        mine, theirs = [self.data_source.name], [self.theirs.name]
        with self.role.connected():
            for user, expected in ((self.viewer, mine), (self.stranger, theirs)):
                entrance.set("")
                self.assertEqual(ask(), [])
                see_as(user.pk)
                self.assertEqual(ask(), expected)
                with transaction.atomic():
                    self.assertEqual(ask(), expected)
                    with self.assertRaises(ProgrammingError), transaction.atomic():
                        connection.cursor().execute("SELECT 1 FROM nowhere")
                    self.assertEqual(ask(), expected)
                    transaction.set_rollback(True)
                entrance.set("")
                self.assertEqual(ask(), [])
                with transaction.atomic():
                    self.assertEqual(ask(), [])
                see_as(user.pk)
                with self.assertRaises(ProgrammingError):
                    connection.cursor().execute("SELECT 1 FROM nowhere")
                entrance.set("")
                self.assertEqual(ask(), [])


class WriteTests(WallTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = self.rows_of(self.acme)
        see_as(self.stranger.pk)

    def execute(self, statement: str, values: Any = ()) -> int:
        """Run a statement as the role, undo it, and give the number of rows it was about."""
        with self.role.connected(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            transaction.set_rollback(True)
            return int(cursor.rowcount)

    def test_changes_and_deletes_what_the_user_may_see_and_no_more(self):
        for model in MODELS:
            name, key = model._meta.db_table, model._meta.pk.column
            for statement in (f"UPDATE {name} SET {key} = {key}", f"DELETE FROM {name}"):
                with self.subTest(statement):
                    expected = in_organization(model, self.globex).count()
                    self.assertEqual(self.execute(statement), expected)
                    entrance.set("")
                    self.assertEqual(self.execute(statement), 0)
                    see_as(self.stranger.pk)

    def test_changes_nothing_of_others_for_good(self):
        with self.role.connected(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {DataSource._meta.db_table} SET host = 'evil.example.com'")
            cursor.execute("DELETE FROM datasources_credential")
        self.assertEqual(self.rows_of(self.acme), self.before)
        self.assertEqual(DataSource.objects.get(host="evil.example.com"), self.theirs)

    def test_adds_nothing_to_others(self):
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

    def test_gives_nothing_away_and_takes_nothing_over(self):
        for model, field_name in MODELS.items():
            field = model._meta.get_field(field_name)
            there = in_organization(model, self.acme).values_list(field.attname).first()
            statement = f"UPDATE {model._meta.db_table} SET {field.column} = %s"
            with self.subTest(statement), self.assertRaisesMessage(ProgrammingError, "row-level"):
                self.execute(statement, there)

    def test_writes_nothing_for_nobody(self):
        entrance.set("")
        with self.role.connected(), self.assertRaisesMessage(ProgrammingError, "row-level"):
            Organization.objects.create(name="New", slug="new")

    def test_changes_no_tables_and_no_policies(self):
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


class RequestTests(WallTestCase):
    def test_forgotten_scopes_show_and_change_nothing_of_others(self):
        """What a request finds where a scope is forgotten."""
        everything = DataSource.objects.annotate(role=F("organization__memberships__role"))

        def unscoped(data_sources, user, pk):
            if (found := everything.filter(pk=pk).first()) is None:
                raise DataSource.DoesNotExist
            return found

        in_all = mock.patch.object(DataSourceQuerySet, "in_organizations", lambda found, _: found)
        visible = mock.patch.object(DataSourceQuerySet, "visible_to", unscoped)
        with self.role.answering(), in_all, visible:
            page = self.call("get", "/data-sources", user=self.stranger).json()["data"]
            self.assertEqual([one["name"] for one in page], ["Theirs"])
            self.assert_error(self.call("get", self.path, user=self.stranger), 404, "NOT_FOUND")
        with visible:
            # Without row-level security the row is found.
            self.assertEqual(self.call("get", self.path, user=self.stranger).status_code, 200)

    def test_takes_no_other_statements(self):
        for method, path, body, number in (
            ("patch", self.path, {"port": 5433}, 2),
            ("get", self.path, None, 1),
            ("get", "/data-sources", None, 2),
        ):
            with self.role.answering():
                self.call(method, path, body, self.editor)  # compiles
            captured = CaptureQueriesContext(self.role.connection)
            with self.role.answering(), captured:
                response = self.call(method, path, body, self.editor)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(len(sql(captured)), number, sql(captured))

    def test_staff_see_all_in_their_pages_and_there_only(self):
        client = admin_client(self.stranger)
        with self.role.answering():
            page = client.get(ADMIN_PAGES).content.decode()
            self.assertIn("Theirs", page)
            self.assertIn(self.data_source.name, page)
            response = client.get(f"/api/v1{self.path}")
            self.assertEqual(response.status_code, 401)
            response = self.call("get", self.path, user=self.stranger)
            self.assert_error(response, 404, "NOT_FOUND")
            headers = {"Authorization": bearer(self.stranger)}
            self.assertEqual(Client().get(ADMIN_PAGES, headers=headers).status_code, 302)
            self.assertEqual(entrance.get(), "")

    def test_counts_over_all_organizations(self):
        DataSource.objects.filter(pk=self.theirs.pk).record_schema(
            schema_next_refresh_at=timezone.now() - timedelta(hours=1)
        )
        with self.role.answering():
            text = self.client.get("/metrics").content.decode()
        self.assertIn("rivergen_database_up 1.0", text)
        self.assertIn("rivergen_schema_refreshes_overdue 1.0", text)

    def test_forgets_who_asked(self):
        with self.role.answering():
            self.assertEqual(self.call("get", "/me", user=self.viewer).status_code, 200)
        self.assertEqual(entrance.get(), "")

    def test_lets_people_sign_in(self):
        tokens = {"username": "stella", "password": "correct horse battery staple"}
        with self.role.answering():
            response = self.call("post", "/auth/token", tokens)
            refresh_token = response.json()["data"]["refresh_token"]
            response = self.call("post", "/auth/token/refresh", {"refresh_token": refresh_token})
        self.assertEqual(response.status_code, 200)


class TourTests(test_leaks.Tour):
    def test_the_whole_api_and_the_admin_work_behind_the_wall(self):
        role = self.enterContext(web_role())
        with role.answering():
            self.make_everything()
        self.assertIsNotNone(role.connection.connection)
        every_route = {(method, path) for path, methods in routes() for method in methods}
        self.assertEqual(len(self.visited), len(every_route), self.visited)


def role_in_transaction(*options: str) -> str:
    """Make the role of the web, and what holds it; all of it is undone with the test case."""
    name = f"{connection.settings_dict['NAME']}_undone"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name}")
    call_command("protect_rows", name, *options, stdout=StringIO())
    return name


def become(role: str, user: User | None) -> None:
    """Let this transaction go on as the role, for a user."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {role}")
        cursor.execute("SELECT set_config('rivergen.organization_ids', '', true)")
        if user is not None:
            cursor.execute("SELECT rivergen_see_as(%s)", [user.pk])


class RouteTests(test_routes.RouteTests):
    """What the table says of each route, behind the wall."""

    # These ask for no rows.
    test_finds_nothing_for_ids_that_are_none: Any = None
    test_refuses_bodies_that_are_no_object_and_other_media_types: Any = None
    test_refuses_other_methods: Any = None

    name: ClassVar[str]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.name = role_in_transaction()
        super().setUpTestData()

    def call(self, method: str, path: str, data: Any = None, user: Any = None, **extra: Any) -> Any:
        become(self.name, user)
        response = super().call(method, path, data, user, **extra)
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
        return response


class PlanTests(test_plans.PlanTests):
    """How pages are read, behind a wall whose searches are said to be leakproof."""

    name: ClassVar[str]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.name = role_in_transaction("--leakproof")
        super().setUpTestData()

    def setUp(self) -> None:
        super().setUp()
        become(self.name, self.viewer)

    def call(self, method: str, path: str, data: Any = None, user: Any = None, **extra: Any) -> Any:
        become(self.name, user)
        return super().call(method, path, data, user, **extra)

    def test_reads_as_the_role(self) -> None:
        self.assertIn("rivergen.organization_ids", str(self.explain("", self.viewer)))


class SettingTests(WallTestCase):
    def test_costs_nothing_unless_it_is_set(self):
        self.assertNotIsInstance(connection.cursor().cursor, EnteringCursor)
        with self.assertNumQueries(1):
            self.assertEqual(self.call("get", self.path, user=self.viewer).status_code, 200)

    def test_every_model_has_a_policy_or_a_reason(self):
        labels = {model._meta.label for model in MODELS}
        self.assertEqual({*PROTECTED}, labels)
        self.assertFalse({*PROTECTED} & {*EXEMPT})
        with (
            mock.patch.dict(PROTECTED),
            self.assertRaisesMessage(ImproperlyConfigured, "datasources.Credential is in neither"),
        ):
            del PROTECTED["datasources.Credential"]
            list(protected_models())

    def test_knows_what_is_in_sight(self):
        self.assertEqual(
            {*row_level_security.tables_in_sight()}, {model._meta.db_table for model in MODELS}
        )
        with self.role.connected():
            self.assertEqual(row_level_security.tables_in_sight(), [])

    def test_is_ready_only_behind_the_wall(self):
        with self.role.answering():
            self.assertEqual(self.client.get("/readyz").status_code, 200)
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=True):
            response = self.client.get("/readyz")
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json()["database"], "no row-level security")


class CommandTests(WallTestCase):
    def isolation(self, *, is_set: bool) -> tuple[bool, str]:
        """Give what `doctor` says of it, to the role that is connected."""
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=is_set):
            _, ok, text = doctor.check_isolation()
        return ok, text

    def test_the_doctor_says_how_it_stands(self):
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

    def test_prints_what_it_would_run(self):
        output = StringIO()
        call_command("protect_rows", self.role.name, "--remove", "--sql", stdout=output)
        self.assertIn("DROP POLICY IF EXISTS", output.getvalue())
        with self.role.connected():
            self.assertEqual(row_level_security.tables_in_sight(), [])

    def test_removes_all_of_it(self):
        call_command("protect_rows", self.role.name, "--remove", stdout=StringIO())
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_policies")
                self.assertEqual(cursor.fetchone(), (0,))
            with self.role.connected(), self.assertRaisesMessage(ProgrammingError, "denied"):
                DataSource.objects.count()
        finally:
            call_command("protect_rows", self.role.name, stdout=StringIO())

    def test_says_why_it_cannot(self):
        with self.role.connected(), self.assertRaisesMessage(CommandError, "permission denied"):
            call_command("protect_rows", self.role.name)

    def test_refuses_roles_that_no_wall_holds(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            [owner] = cursor.fetchone()
        for role, sentence in (("nobody_of_this_name", "CREATE ROLE"), (owner, "No wall holds")):
            with self.subTest(role), self.assertRaisesMessage(CommandError, sentence):
                call_command("protect_rows", role)
