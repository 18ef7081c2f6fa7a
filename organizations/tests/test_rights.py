"""Staff in the admin: nobody edits, gives or takes away rights above the own."""

from typing import Any, ClassVar

from django.contrib.auth.models import Group, Permission
from django.test import Client

from organizations.models import Membership, Organization, Role, User
from organizations.testing import PASSWORD, APITestCase

USERS = "/admin/organizations/user/"
GROUPS = "/admin/auth/group/"
ORGANIZATIONS = "/admin/organizations/organization/"
NEW_PASSWORD = "a longer horse battery staple"
OF_USERS = ("add_user", "change_user", "delete_user", "view_user")
OF_MEMBERS = ("add_membership", "change_membership", "delete_membership", "view_membership")
OF_ORGANIZATIONS = ("add_organization", "change_organization", "delete_organization")


def permissions(*codenames: str) -> list[Permission]:
    return [*Permission.objects.filter(codename__in=codenames)]


def spellings(pk: int) -> tuple[str, ...]:
    """Return an id as the admin's pages also understand it in a path."""
    return (str(pk), f"+{pk}", f"%20{pk}", f"0{pk}", f"_2B{pk}")


class RightsTestCase(APITestCase):
    """A test case whose client is signed in as Sam, who is staff and no superuser."""

    sam: ClassVar[User]
    root: ClassVar[User]
    senior: ClassVar[User]
    given: tuple[str, ...] = (*OF_USERS, "change_group", "add_group", "delete_group", "view_group")

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        # Sam helps people who forgot their passwords.
        cls.sam = cls.make_staff("sam", *cls.given)
        # Ruth may do everything.
        cls.root = User.objects.create_superuser("ruth", password=PASSWORD)
        # Sally also looks after data sources, which Sam does not.
        cls.senior = cls.make_staff("sally", "view_user", "change_datasource")

    @classmethod
    def make_staff(cls, username: str, *codenames: str) -> User:
        staff = User.objects.create_user(username, password=PASSWORD, is_staff=True)
        staff.user_permissions.set(permissions(*codenames))
        return staff

    def setUp(self) -> None:
        self.client = Client()
        self.client.force_login(self.sam)

    def post_user(self, user: User, client: Client | None = None, **values: Any) -> Any:
        """Submit the page of a user as it is stored, with other values for some fields.

        None leaves a field out, as a browser does with an empty box.
        """
        user = User.objects.get(pk=user.pk)
        data: dict[str, Any] = {
            **{name: getattr(user, name) for name in ("username", "first_name", "email")},
            **{name: "on" for name in ("is_active", "is_staff") if getattr(user, name)},
            **({"is_superuser": "on"} if user.is_superuser else {}),
            "groups": [group.pk for group in user.groups.all()],
            "user_permissions": [one.pk for one in user.user_permissions.all()],
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
        }
        data = {name: value for name, value in (data | values).items() if value is not None}
        return (client or self.client).post(f"{USERS}{user.pk}/change/", data)

    def everything(self) -> list[Any]:
        rows: Any = (User, Group, Membership, Organization)
        rows += (User.user_permissions.through, User.groups.through, Group.permissions.through)
        return [[*model._default_manager.order_by("pk").values()] for model in rows]

    def assert_nothing_changed(self, before: list[Any]) -> None:
        self.assertEqual(self.everything(), before)

    def above(self) -> dict[str, User]:
        """Return users who have more rights than Sam, by the reason."""
        cases = {"superuser": self.root, "permission": self.senior, "role": self.viewer}
        cases["owner"] = self.owner
        cases["deactivated superuser"] = User.objects.create_superuser("gone", is_active=False)
        by_group = User.objects.create_user("gertrude", is_active=False)
        by_group.groups.add(self.group("Seniors", "delete_datasource"))
        return {**cases, "permission of a group": by_group}

    @staticmethod
    def group(name: str, *codenames: str) -> Group:
        group = Group.objects.create(name=name)
        group.permissions.set(permissions(*codenames))
        return group


class UserRightsTests(RightsTestCase):
    def test_staff_cannot_make_themselves_or_others_superusers(self) -> None:
        before = self.everything()
        for user in (self.sam, self.loner):
            with self.subTest(user.username):
                response = self.post_user(user, is_superuser="on")
                self.assertContains(response, "Only a superuser")
                self.assert_nothing_changed(before)

    def test_staff_give_only_permissions_that_they_have(self) -> None:
        [held] = permissions("view_user")
        [other] = permissions("delete_datasource")
        page = self.client.get(f"{USERS}{self.loner.pk}/change/")
        self.assertContains(page, "Can view user")
        self.assertNotContains(page, "Can delete data source")
        before = self.everything()
        for user in (self.sam, self.loner):
            with self.subTest(user.username):
                response = self.post_user(user, user_permissions=[held.pk, other.pk])
                self.assertContains(response, "Select a valid choice")
                self.assert_nothing_changed(before)
        self.assertEqual(self.post_user(self.loner, user_permissions=[held.pk]).status_code, 302)
        self.assertEqual([*self.loner.user_permissions.all()], [held])

    def test_staff_give_only_groups_whose_permissions_they_have(self) -> None:
        less, more = self.group("Less", "view_user"), self.group("More", "delete_datasource")
        before = self.everything()
        for user in (self.sam, self.loner):
            with self.subTest(user.username):
                response = self.post_user(user, groups=[less.pk, more.pk])
                self.assertContains(response, "Select a valid choice")
                self.assert_nothing_changed(before)
        self.assertEqual(self.post_user(self.loner, groups=[less.pk]).status_code, 302)
        self.assertEqual([*self.loner.groups.all()], [less])

    def test_staff_cannot_edit_users_who_have_more_rights(self) -> None:
        for reason, user in self.above().items():
            before = self.everything()
            for values in ({"email": "x@example.com"}, {"username": "y"}, {"is_active": None}):
                with self.subTest(reason, values=values):
                    self.assertEqual(self.post_user(user, **values).status_code, 403)
                    self.assert_nothing_changed(before)

    def test_staff_cannot_set_passwords_of_users_who_have_more_rights(self) -> None:
        body = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
        for reason, user in self.above().items():
            before = self.everything()
            for text in spellings(user.pk):
                with self.subTest(reason, id=text):
                    page = f"{USERS}{text}/password/"
                    self.assertEqual(self.client.get(page).status_code, 403)
                    self.assertEqual(self.client.post(page, body).status_code, 403)
                    self.assert_nothing_changed(before)

    def test_staff_cannot_delete_users_who_have_more_rights(self) -> None:
        for reason, user in self.above().items():
            before = self.everything()
            with self.subTest(reason):
                page = f"{USERS}{user.pk}/delete/"
                self.assertEqual(self.client.get(page).status_code, 403)
                self.assertEqual(self.client.post(page, {"post": "yes"}).status_code, 403)
                many = {
                    "action": "delete_selected",
                    "_selected_action": [user.pk, self.loner.pk],
                    "post": "yes",
                }
                self.client.post(USERS, many)
                self.assert_nothing_changed(before)

    def test_staff_edit_users_with_the_same_or_fewer_rights(self) -> None:
        peer = self.make_staff("pete", "view_user")
        self.acme.add_member(self.sam, Role.EDITOR)
        for user in (peer, self.loner, self.editor, self.viewer, self.sam):
            with self.subTest(user.username):
                response = self.post_user(user, email="new@example.com")
                self.assertEqual(response.status_code, 302)
                self.assertEqual(User.objects.get(pk=user.pk).email, "new@example.com")
        body = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
        self.client.post(f"{USERS}{self.viewer.pk}/password/", body)
        self.assertTrue(User.objects.get(pk=self.viewer.pk).check_password(NEW_PASSWORD))
        self.assertEqual(self.post_user(self.admin, email="x@example.com").status_code, 403)
        self.client.post(f"{USERS}{self.loner.pk}/delete/", {"post": "yes"})
        self.assertFalse(User.objects.filter(pk=self.loner.pk).exists())

    def test_a_role_in_one_organization_gives_no_rights_over_members_of_another(self) -> None:
        self.globex.add_member(self.sam, Role.OWNER)
        self.assertEqual(self.post_user(self.viewer, email="x@example.com").status_code, 403)
        self.assertEqual(self.post_user(self.stranger, email="x@example.com").status_code, 302)
        self.acme.add_member(self.stranger, Role.VIEWER)
        self.assertEqual(self.post_user(self.stranger, email="y@example.com").status_code, 403)

    def test_own_password_is_changed_only_with_the_current_one(self) -> None:
        body = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
        for user in (self.sam, self.root):
            self.client.force_login(user)
            for text in spellings(user.pk):
                for method in ("get", "post"):
                    with self.subTest(user.username, id=text, method=method):
                        send = getattr(self.client, method)
                        response = send(f"{USERS}{text}/password/", body)
                        self.assertRedirects(response, "/admin/password_change/")
                        self.assertTrue(User.objects.get(pk=user.pk).check_password(PASSWORD))

    def test_fields_that_the_form_to_add_a_user_does_not_show_are_ignored(self) -> None:
        body = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
        extra = {"is_superuser": "on", "is_staff": "on", "user_permissions": [1, 2, 3]}
        for query in ("", "?_popup=1&_to_field=id"):
            with self.subTest(query):
                name = f"new{len(query)}"
                response = self.client.post(
                    f"{USERS}add/{query}", {"username": name, **body, **extra}
                )
                self.assertIn(response.status_code, (200, 302))
                new = User.objects.get(username=name)
                self.assertEqual((new.is_superuser, new.is_staff), (False, False))
                self.assertFalse(new.user_permissions.exists())

    def test_superuser_edits_everybody(self) -> None:
        client = Client()
        client.force_login(self.root)
        other = User.objects.create_superuser("rita")
        for user in (other, self.owner, self.senior):
            with self.subTest(user.username):
                response = self.post_user(user, client, email="x@example.com", is_superuser="on")
                self.assertEqual(response.status_code, 302)
                self.assertTrue(User.objects.get(pk=user.pk).is_superuser)


class LastOwnerTests(RightsTestCase):
    def setUp(self) -> None:
        self.client = Client()
        self.client.force_login(self.root)

    def test_last_owner_who_can_sign_in_is_neither_deactivated_nor_deleted(self) -> None:
        retired = self.make_user("otto", self.acme, Role.OWNER)
        User.objects.filter(pk=retired.pk).update(is_active=False)
        before = self.everything()
        response = self.post_user(self.owner, is_active=None)
        self.assertContains(response, "Acme would have no owner who can sign in")
        page = f"{USERS}{self.owner.pk}/delete/"
        self.assertContains(self.client.get(page), "Acme would have no owner who can sign in")
        self.client.post(page, {"post": "yes"})
        both = [self.owner.pk, retired.pk]
        many = {"action": "delete_selected", "_selected_action": both, "post": "yes"}
        self.client.post(USERS, many)
        self.assert_nothing_changed(before)
        self.acme.add_member(self.loner, Role.OWNER)
        self.assertEqual(self.post_user(self.owner, is_active=None).status_code, 302)
        self.client.post(page, {"post": "yes"})
        self.assertFalse(User.objects.filter(pk=self.owner.pk).exists())

    def test_owner_who_cannot_sign_in_does_not_count_as_the_other_owner(self) -> None:
        retired = self.make_user("otto", self.acme, Role.OWNER)
        User.objects.filter(pk=retired.pk).update(is_active=False)
        path = f"/organizations/{self.acme.pk}/members/{self.owner.pk}"
        for method, body in (("patch", {"role": "admin"}), ("delete", None)):
            with self.subTest(method):
                response = self.call(method, path, body, self.owner)
                self.assert_error(response, 409, "CONFLICT")
        other = f"/organizations/{self.acme.pk}/members/{retired.pk}"
        self.assertEqual(self.call("delete", other, user=self.owner).status_code, 204)


class GroupRightsTests(RightsTestCase):
    def post_group(self, page: str, name: str, *codenames: str) -> Any:
        chosen = [one.pk for one in permissions(*codenames)]
        return self.client.post(f"{GROUPS}{page}", {"name": name, "permissions": chosen})

    def test_staff_cannot_add_permissions_that_they_lack_to_a_group(self) -> None:
        own = self.group("Own", "view_user")
        self.sam.groups.add(own)
        before = self.everything()
        for page in (f"{own.pk}/change/", "add/"):
            with self.subTest(page):
                response = self.post_group(page, "Own2", "view_user", "delete_datasource")
                self.assertContains(response, "Select a valid choice")
                self.assert_nothing_changed(before)
        self.post_group(f"{own.pk}/change/", "Own", "change_user")
        self.assertEqual([*own.permissions.all()], permissions("change_user"))

    def test_staff_can_neither_change_nor_delete_groups_above_their_own_rights(self) -> None:
        more = self.group("More", "view_user", "delete_datasource")
        of_senior = self.group("Of a senior", "view_user")
        of_senior.user_set.add(self.senior)
        of_member = self.group("Of a member", "view_user")
        of_member.user_set.add(self.viewer)
        before = self.everything()
        for group in (more, of_senior, of_member):
            with self.subTest(group.name):
                page = f"{group.pk}/change/"
                self.assertEqual(self.post_group(page, "x").status_code, 403)
                body = {"post": "yes"}
                page = f"{GROUPS}{group.pk}/delete/"
                self.assertEqual(self.client.post(page, body).status_code, 403)
                many = {"action": "delete_selected", "_selected_action": [group.pk], **body}
                self.assertEqual(self.client.post(GROUPS, many).status_code, 403)
                self.assert_nothing_changed(before)


class MembershipRightsTests(RightsTestCase):
    given = (*OF_ORGANIZATIONS, *OF_MEMBERS, "view_organization", "view_user", "view_workspace")

    def post_members(
        self, new: Any = (), page: str = "", name: str = "Acme", slug: str = "acme", **changes: Any
    ) -> Any:
        """Submit the page of Acme as it is stored, with `changes` by username, and new rows."""
        page = page or f"{ORGANIZATIONS}{self.acme.pk}/change/"
        members = [] if "add" in page else [*self.acme.memberships.select_related("user")]
        rows = [
            {"id": one.pk, "user": one.user_id, "role": one.role, **changes.get(str(one.user), {})}
            for one in members
        ]
        rows += new
        data: dict[str, Any] = {"name": name, "slug": slug}
        data |= {"memberships-TOTAL_FORMS": len(rows), "memberships-INITIAL_FORMS": len(members)}
        data |= {"workspaces-TOTAL_FORMS": 1, "workspaces-INITIAL_FORMS": 1}
        data |= {"workspaces-0-id": self.workspace.pk, "workspaces-0-name": "Default"}
        for number, row in enumerate(rows):
            data |= {f"memberships-{number}-{name}": value for name, value in row.items()}
        return self.client.post(page, data)

    def own(self) -> dict[str, Any]:
        return {"user": self.sam.pk, "role": Role.OWNER}

    def test_staff_without_membership_cannot_change_the_members(self) -> None:
        before = self.everything()
        for changes in (
            {"new": [self.own()]},
            {"new": [{"user": self.sam.pk, "role": Role.VIEWER}]},
            {"victor": {"role": Role.ADMIN}},
            {"olivia": {"role": Role.VIEWER}, "victor": {"role": Role.OWNER}},
            {"edith": {"DELETE": "on"}},
        ):
            with self.subTest(changes):
                self.post_members(**changes)
                self.assert_nothing_changed(before)

    def test_staff_change_members_only_up_to_their_own_role(self) -> None:
        self.acme.add_member(self.sam, Role.ADMIN)
        self.make_user("otto", self.acme, Role.OWNER)
        before = self.everything()
        for changes in (
            {"sam": {"role": Role.OWNER}},
            {"victor": {"role": Role.OWNER}},
            {"otto": {"role": Role.VIEWER}},
            {"otto": {"DELETE": "on"}},
            {"new": [{"user": self.loner.pk, "role": Role.OWNER}]},
        ):
            with self.subTest(changes):
                response = self.post_members(**changes)
                self.assertContains(response, "Your role in this organization is admin")
                self.assert_nothing_changed(before)
        response = self.post_members(
            victor={"role": Role.ADMIN},
            edith={"DELETE": "on"},
            new=[{"user": self.loner.pk, "role": Role.EDITOR}],
        )
        self.assertEqual(response.status_code, 302)
        roles = dict(self.acme.memberships.values_list("user__username", "role"))
        self.assertEqual((roles["victor"], roles["leo"]), (Role.ADMIN, Role.EDITOR))
        self.assertNotIn("edith", roles)

    def test_staff_who_are_editors_cannot_change_the_members(self) -> None:
        self.acme.add_member(self.sam, Role.EDITOR)
        before = self.everything()
        for changes in ({"victor": {"DELETE": "on"}}, {"victor": {"role": Role.EDITOR}}):
            with self.subTest(changes):
                self.post_members(**changes)
                self.assert_nothing_changed(before)

    def test_staff_who_are_owners_name_owners(self) -> None:
        self.acme.add_member(self.sam, Role.OWNER)
        response = self.post_members(victor={"role": Role.OWNER}, olivia={"DELETE": "on"})
        self.assertEqual(response.status_code, 302)

    def test_staff_found_an_organization_and_name_its_owner(self) -> None:
        response = self.post_members(page=f"{ORGANIZATIONS}add/", slug="new", new=[self.own()])
        self.assertEqual(response.status_code, 302)
        self.assertEqual(Membership.objects.get(user=self.sam).role, Role.OWNER)

    def test_only_staff_who_may_name_an_owner_found_an_organization(self) -> None:
        self.sam.user_permissions.remove(*permissions("add_membership"))
        before = self.everything()
        self.assertEqual(
            self.post_members(page=f"{ORGANIZATIONS}add/", slug="new").status_code, 403
        )
        self.assert_nothing_changed(before)

    def test_only_owners_delete_an_organization_in_the_admin(self) -> None:
        self.acme.add_member(self.sam, Role.ADMIN)
        before = self.everything()
        body = {"post": "yes"}
        page = f"{ORGANIZATIONS}{self.acme.pk}/delete/"
        many = {"action": "delete_selected", "_selected_action": [self.acme.pk], **body}
        self.assertEqual(self.client.post(page, body).status_code, 403)
        self.assertEqual(self.client.post(ORGANIZATIONS, many).status_code, 403)
        self.assert_nothing_changed(before)
        Membership.objects.filter(user=self.sam).update(role=Role.OWNER)
        self.assertEqual(self.client.post(page, body).status_code, 302)
        self.assertFalse(Organization.objects.filter(pk=self.acme.pk).exists())

    def test_only_superusers_change_the_short_name_of_an_organization(self) -> None:
        """Operators' declarations name organizations by it, and bring secrets."""
        self.assertEqual(self.post_members(name="New", slug="taken").status_code, 302)
        acme = Organization.objects.get(pk=self.acme.pk)
        self.assertEqual((acme.name, acme.slug), ("New", "acme"))
        self.client.force_login(self.root)
        self.assertEqual(self.post_members(name="New", slug="taken").status_code, 302)
        self.assertEqual(Organization.objects.get(pk=self.acme.pk).slug, "taken")
