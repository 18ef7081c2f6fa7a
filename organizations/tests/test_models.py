"""The models of organizations, workspaces and memberships."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from datasources.models import DataSource
from organizations.models import ROLES_WITH, Membership, Organization, Role, User, Workspace
from organizations.testing import APITestCase
from rivergen.errors import StateConflict


class ModelTests(APITestCase):
    def membership(self, user: User) -> Membership:
        return Membership.objects.get(user=user, organization=self.acme)

    def deactivate(self, user: User) -> None:
        User.objects.filter(pk=user.pk).update(is_active=False)

    def workspace_names(self, organization: Organization) -> list[str]:
        return [*organization.workspaces.values_list("name", flat=True)]

    def test_each_way_of_creating_an_organization_gives_it_a_workspace(self):
        saved = Organization(name="Saved", slug="saved")
        saved.save()
        created = Organization.objects.create(name="Created", slug="created")
        got, _ = Organization.objects.get_or_create(slug="got", defaults={"name": "Got"})
        updated, _ = Organization.objects.update_or_create(slug="up", defaults={"name": "Up"})
        bulk = Organization.objects.bulk_create(
            Organization(name=f"Bulk {number}", slug=f"bulk-{number}") for number in range(3)
        )
        for organization in (saved, created, got, updated, *bulk):
            with self.subTest(organization=organization.name):
                self.assertEqual(self.workspace_names(organization), ["Default"])

    def test_saving_an_organization_again_adds_no_workspace(self):
        self.acme.name = "Acme & Co"
        self.acme.save()
        self.assertEqual(self.workspace_names(self.acme), ["Default"])

    def test_an_organization_that_is_not_saved_leaves_no_workspace(self):
        before = Workspace.objects.count()
        for organizations in (
            [Organization(name="Acme again", slug="acme")],
            [Organization(name="New", slug="new"), Organization(name="Again", slug="acme")],
        ):
            with self.subTest(organizations=organizations):
                with self.assertRaises(IntegrityError), transaction.atomic():
                    Organization.objects.bulk_create(organizations)
                self.assertEqual(Workspace.objects.count(), before)
        with self.assertRaises(IntegrityError), transaction.atomic():
            Organization.objects.create(name="Acme again", slug="acme")
        self.assertEqual(Workspace.objects.count(), before)

    def test_organizations_for_user_have_the_role_of_the_user(self):
        Membership.objects.create(user=self.stranger, organization=self.acme, role=Role.VIEWER)
        roles = Organization.objects.for_user(self.stranger).values_list("slug", "role")
        self.assertEqual(dict(roles), {"acme": "viewer", "globex": "owner"})
        self.assertEqual([o.role for o in Organization.objects.for_user(self.admin)], ["admin"])

    def test_memberships_for_user_are_only_those_of_the_user(self):
        memberships = Membership.objects.for_user(self.editor)
        self.assertEqual([*memberships], [self.membership(self.editor)])

    def test_data_sources_for_user_are_listed_once_each(self):
        for organization in (self.acme, self.globex):
            workspace = organization.workspaces.get()
            DataSource.objects.create(workspace=workspace, name="Lake", type="postgresql")
        Membership.objects.create(user=self.stranger, organization=self.acme, role=Role.EDITOR)
        roles = {s.organization_id: s.role for s in DataSource.objects.for_user(self.stranger)}
        self.assertEqual(roles, {self.acme.pk: "editor", self.globex.pk: "owner"})
        self.assertEqual(DataSource.objects.for_user(self.stranger).count(), 2)
        self.assertEqual(DataSource.objects.for_user(self.viewer).get().role, "viewer")

    def test_for_user_finds_no_row_for_nonmembers_and_deactivated_users(self):
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="postgresql")
        self.deactivate(self.editor)
        for user in (self.loner, self.editor, User(username="unsaved")):
            for model in (Organization, Membership, DataSource):
                with self.subTest(user=user.username, model=model.__name__):
                    self.assertFalse(model.objects.for_user(user).exists())

    def test_each_role_includes_the_rights_of_lower_roles(self):
        roles = [Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER]
        for rank, role in enumerate(roles):
            for other_rank, other in enumerate(roles):
                with self.subTest(role=role, other=other):
                    self.assertIs(role in ROLES_WITH[other], rank >= other_rank)

    def test_change_role_refuses_to_demote_the_last_owner(self):
        owner = self.membership(self.owner)
        for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN):
            with self.subTest(role=role), self.assertRaises(StateConflict):
                owner.change_role(role)
            self.assertEqual(self.membership(self.owner).role, Role.OWNER)
        owner.change_role(Role.OWNER)
        self.membership(self.editor).change_role(Role.OWNER)
        owner.change_role(Role.VIEWER)
        self.assertEqual(self.membership(self.owner).role, Role.VIEWER)

    def test_removing_the_last_owner_is_refused(self):
        with self.assertRaises(StateConflict):
            self.membership(self.owner).remove()
        self.assertEqual(self.membership(self.owner).role, Role.OWNER)
        self.membership(self.editor).change_role(Role.OWNER)
        self.membership(self.owner).remove()
        self.assertFalse(Membership.objects.filter(user=self.owner).exists())

    def test_a_second_membership_of_a_user_violates_the_constraint(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Membership.objects.create(user=self.editor, organization=self.acme)
        self.assertEqual(self.membership(self.editor).role, Role.EDITOR)

    def test_removing_the_last_workspace_or_one_in_use_is_refused(self):
        second = self.acme.workspaces.create(name="Second")
        DataSource.objects.create(workspace=second, name="Lake", type="postgresql")
        with self.assertRaises(StateConflict):
            second.remove()
        self.workspace.remove()
        with self.assertRaises(StateConflict):
            second.remove()
        self.assertEqual(self.workspace_names(self.acme), ["Second"])

    def test_saving_a_taken_workspace_name_is_refused(self):
        with self.assertRaises(ValidationError) as caught:
            Workspace(organization=self.acme, name="Default").save_unique()
        self.assertEqual(list(caught.exception.message_dict), ["name"])
        self.assertEqual(self.workspace_names(self.acme), ["Default"])

    def test_data_sources_of_a_deleted_user_remain(self):
        data_source = DataSource.objects.create(
            workspace=self.workspace, name="Lake", type="postgresql",
            created_by=self.editor, updated_by=self.editor,
        )  # fmt: skip
        self.editor.delete()
        data_source.refresh_from_db()
        self.assertEqual((data_source.created_by, data_source.updated_by), (None, None))
