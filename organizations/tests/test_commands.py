"""`manage.py create_organization` and `manage.py add_member`."""

from io import StringIO
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import TestCase

from organizations.models import Membership, Organization, Role, User

PASSWORD = "correct horse battery"


def run(*arguments: str, typed: str | None = None, terminal: tuple[str, ...] = ()) -> str:
    """Run a command with lines on standard input, or with answers on a terminal."""
    stdin: Any = StringIO(typed or "")
    stdin.isatty = lambda: typed is None
    output = StringIO()
    with mock.patch("sys.stdin", stdin), mock.patch("getpass.getpass", side_effect=[*terminal]):
        call_command(*arguments, stdout=output)
    return output.getvalue()


class CreateOrganizationTests(TestCase):
    def test_create_organization_creates_a_workspace_and_an_owner(self) -> None:
        olivia = User.objects.create_user("olivia")
        output = run("create_organization", "acme", "--name", "Acme & Co", "--owner", "olivia")
        acme = Organization.objects.get()
        self.assertEqual((acme.slug, acme.name, acme.workspaces.count()), ("acme", "Acme & Co", 1))
        membership = Membership.objects.get()
        self.assertEqual((membership.user_id, membership.role), (olivia.pk, Role.OWNER))
        self.assertEqual(output, f"Created Acme & Co with id {acme.pk} and owner olivia.\n")

    def test_create_organization_with_new_user_creates_the_owner(self) -> None:
        arguments = ("create_organization", "acme", "--owner", "olivia", "--new-user")
        output = run(*arguments, typed=f"{PASSWORD}\n")
        self.assertTrue(User.objects.get(username="olivia").check_password(PASSWORD))
        self.assertEqual(Organization.objects.get().name, "acme")
        self.assertNotIn(PASSWORD, output)

    def test_create_organization_with_invalid_arguments_creates_nothing(self) -> None:
        User.objects.create_user("olivia")
        Organization.objects.create(name="Acme", slug="acme")
        for arguments, message in (
            (("acme", "--owner", "olivia"), "Slug already exists"),
            (("not a slug", "--owner", "olivia"), "valid “slug”"),
            (("a" * 64, "--owner", "olivia"), "63"),
            (("new", "--name", "", "--owner", "olivia"), "blank"),
            (("new", "--owner", "nobody"), "no user nobody. Add --new-user"),
            (("new", "--owner", "olivia", "--new-user"), "already a user olivia"),
            (("new",), "--owner"),
        ):
            with self.subTest(arguments), self.assertRaisesMessage(CommandError, message):
                run("create_organization", *arguments, typed=PASSWORD)
        self.assertEqual(Organization.objects.count(), 1)
        self.assertEqual(User.objects.count(), 1)


class AddMemberTests(TestCase):
    def setUp(self) -> None:
        self.acme = Organization.objects.create(name="Acme", slug="acme")

    def test_add_member_creates_a_membership(self) -> None:
        User.objects.create_user("emil")
        output = run("add_member", "acme", "emil", "editor")
        self.assertEqual(self.acme.memberships.get().role, Role.EDITOR)
        self.assertEqual(output, "emil is editor of Acme.\n")

    def test_add_member_asks_for_a_new_password_twice_on_a_terminal(self) -> None:
        run("add_member", "acme", "emil", "viewer", "--new-user", terminal=(PASSWORD, PASSWORD))
        self.assertTrue(User.objects.get().check_password(PASSWORD))
        with self.assertRaisesMessage(CommandError, "The passwords differ"):
            run("add_member", "acme", "mia", "viewer", "--new-user", terminal=(PASSWORD, "other"))
        self.assertFalse(User.objects.filter(username="mia").exists())

    def test_add_member_with_invalid_arguments_changes_nothing(self) -> None:
        emil = User.objects.create_user("emil")
        User.objects.create_user("gone", is_active=False)
        self.acme.add_member(emil, Role.VIEWER)
        for arguments, message in (
            (("globex", "emil", "editor"), "no organization globex"),
            (("acme", "emil", "editor"), "already a member"),
            (("acme", "gone", "editor"), "deactivated"),
            (("acme", "nobody", "editor"), "no user nobody"),
            (("acme", "emil", "king"), "invalid choice: 'king'"),
            (("acme", "bad name", "editor", "--new-user"), "valid username"),
            (("acme", "mia", "editor", "--new-user"), "too short"),
        ):
            with self.subTest(arguments), self.assertRaisesMessage(CommandError, message):
                run("add_member", *arguments, typed="short\n")
        self.assertEqual(
            [*self.acme.memberships.values_list("user", "role")], [(emil.pk, "viewer")]
        )
        self.assertEqual(User.objects.count(), 2)
