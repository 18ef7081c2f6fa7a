"""Tests of `demo`, `generate_key`, and the help texts of all commands."""

import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.test import SimpleTestCase, TestCase, override_settings

from datasources.models import DataSource, DataSourceRevision
from organizations.models import Membership, Organization, Role, User
from rivergen.encryption_keys import parse_keys

OUR_APPS = ("datasources", "organizations")


class DemoTests(TestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.storage = folder / "storage"
        self.enterContext(override_settings(LOCAL_DIR=folder, STORAGE_ROOT=self.storage))

    def demo(self, *arguments: str) -> str:
        output = StringIO()
        call_command("demo", *arguments, stdout=output)
        return output.getvalue()

    def test_demo_creates_two_organizations_with_users_of_every_role(self):
        self.demo()
        self.assertEqual(Organization.objects.count(), 2)
        roles = Membership.objects.filter(organization__slug="demo-acme").values_list(
            "role", flat=True
        )
        self.assertEqual({*roles}, {*Role.values})
        self.assertTrue(Membership.objects.filter(organization__slug="demo-globex").exists())

    def test_demo_creates_the_documented_data_source_and_a_csv_file(self):
        self.demo()
        postgresql, csv = DataSource.objects.order_by("id")
        self.assertEqual((postgresql.type, postgresql.database_name), ("postgresql", "production"))
        self.assertEqual((csv.type, postgresql.schema_name), ("csv", "public"))
        self.assertTrue(self.stored_file(csv).read_text().startswith("order_id,"))

    def stored_file(self, data_source):
        return self.storage / str(data_source.organization_id) / data_source.file_path

    def test_demo_prints_the_password_of_its_users(self):
        password = self.demo().partition("password: ")[2].splitlines()[0]
        for user in User.objects.all():
            with self.subTest(user=user.username):
                self.assertTrue(user.check_password(password))

    def test_second_demo_changes_nothing(self):
        self.demo()
        data_source = DataSource.objects.get(type="postgresql")
        data_source.apply_changes({"name": "Mine"}, user=None)
        Membership.objects.filter(user__username="demo-viewer").delete()
        Membership.objects.filter(user__username="demo-editor").update(role=Role.VIEWER)
        file = self.stored_file(DataSource.objects.get(type="csv"))
        file.write_text("mine")
        models = (Organization, User, Membership, DataSource, DataSourceRevision)
        before = [[*model._default_manager.order_by("pk").values()] for model in models]
        self.demo()
        after = [[*model._default_manager.order_by("pk").values()] for model in models]
        self.assertEqual(after, before)
        self.assertEqual(file.read_text(), "mine")

    def test_demo_password_is_private_and_stays_the_same(self):
        first = self.demo().splitlines()[0]
        self.assertEqual(self.demo().splitlines()[0], first)
        path = self.storage.parent / "demo_password"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_demo_keeps_existing_users_and_organizations_unchanged(self):
        acme = Organization.objects.create(name="Acme", slug="acme")
        self.demo()
        self.assertFalse(acme.memberships.exists())
        Organization.objects.filter(slug__startswith="demo-").delete()
        mine = User.objects.get(username="demo-owner")
        with self.assertRaisesMessage(CommandError, "already a user demo-"):
            self.demo()
        self.assertEqual(User.objects.get(pk=mine.pk).password, mine.password)

    def test_demo_creates_a_staff_user_only_with_staff(self):
        self.demo()
        self.assertFalse(User.objects.filter(is_staff=True).exists())
        for _ in range(2):
            output = self.demo("--staff")
            self.assertIn("/admin/ for demo-staff", output)
            staff = User.objects.get(is_staff=True)
            password = output.partition("password: ")[2].splitlines()[0]
            self.assertTrue(staff.check_password(password))
            self.assertTrue(self.client.login(username="demo-staff", password=password))
            self.assertEqual(self.client.get("/admin/").status_code, 200)

    def test_demo_does_not_promote_an_existing_user_named_demo_staff(self):
        mine = User.objects.create_user("demo-staff", password="mine")
        with self.assertRaisesMessage(CommandError, "There is already a user demo-staff"):
            self.demo("--staff")
        mine.refresh_from_db()
        self.assertFalse(mine.is_staff)
        self.assertTrue(mine.check_password("mine"))
        self.assertFalse(Organization.objects.exists())

    def test_demo_fails_after_its_organization_was_removed(self):
        self.demo()
        Organization.objects.get(slug="demo-acme").remove()
        with self.assertRaisesMessage(CommandError, "demo-acme has been removed"):
            self.demo()

    def test_demo_reports_that_its_data_source_was_deleted(self):
        self.demo()
        DataSource.objects.filter(type="postgresql").delete()
        output = self.demo()
        self.assertIn("has been deleted", output)
        self.assertNotIn("curl", output)


class HelpTests(SimpleTestCase):
    def setUp(self) -> None:
        apps = get_commands()
        ours = [name for name, app in apps.items() if app in OUR_APPS]
        self.assertIn("create_organization", ours)
        self.commands = {name: load_command_class(apps[name], name) for name in ours}

    def test_every_command_has_a_help_text_and_is_documented(self):
        page = (settings.BASE_DIR / "docs" / "commands.md").read_text()
        for name, command in self.commands.items():
            with self.subTest(name):
                self.assertGreater(len(command.help.split()), 7)
                self.assertRegex(page, rf"(?m)^\| `{name}[ `]")

    def test_every_argument_has_a_help_text(self):
        for name, command in self.commands.items():
            with self.subTest(name):
                parser = command.create_parser("manage.py", name)
                self.assertIn(f"usage: manage.py {name} ", parser.format_help())
                silent = [action.dest for action in parser._actions if not action.help]
                self.assertEqual(silent, [])

    def test_help_of_worker_names_its_setting(self):
        parser = self.commands["worker"].create_parser("manage.py", "worker")
        self.assertIn("WORKER_CONCURRENCY", parser.format_help())


class GenerateKeyTests(SimpleTestCase):
    def test_generate_key_prints_a_new_key_each_time(self):
        outputs = [StringIO(), StringIO()]
        for output in outputs:
            call_command("generate_key", stdout=output)
        keys = parse_keys(",".join(output.getvalue() for output in outputs))
        self.assertEqual([len(key) for key in keys], [32, 32])

    def test_generate_key_needs_no_configuration(self):
        command = [sys.executable, "manage.py", "generate_key"]
        process = subprocess.run(
            command, cwd=settings.BASE_DIR, env={}, capture_output=True, text=True, check=True
        )
        self.assertEqual(len(parse_keys(process.stdout)), 1)
        self.assertEqual(process.stderr, "")
