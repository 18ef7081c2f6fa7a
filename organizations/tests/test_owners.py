"""An organization keeps an owner who can sign in, whatever would remove the last one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections
from django.test import Client, TransactionTestCase

from organizations.exceptions import LastOwner
from organizations.models import Membership, Organization, Role, User
from organizations.testing import APITestCase, APITestMixin

SENTENCE = "Acme would have no owner who can sign in. Name another owner first."


class OwnerMixin(APITestMixin):
    """The ways by which an owner goes."""

    staff: User

    def membership(self, user: User) -> Membership:
        return Membership.objects.get(user=user, organization=self.acme)

    def ways_in_the_shell(self, user: User) -> dict[str, Callable[[], Any]]:
        """Return what removes an owner by a method of a model."""
        membership = self.membership(user)

        def deactivate(**options: Any) -> None:
            user.is_active = False
            try:
                user.save(**options)
            finally:
                user.is_active = True

        def demote() -> None:
            membership.role = Role.VIEWER
            membership.save()

        return {
            "user.delete()": user.delete,
            "User.objects.delete()": User.objects.filter(pk=user.pk).delete,
            "user.save()": deactivate,
            "user.save(update_fields=…)": lambda: deactivate(update_fields=["is_active"]),
            "membership.remove()": membership.remove,
            "membership.delete()": membership.delete,
            "membership.change_role()": lambda: membership.change_role(Role.ADMIN),
            "membership.save()": demote,
        }

    def ways_over_http(self, user: User) -> dict[str, Callable[[], Any]]:
        """Return requests that remove an owner; the user sends those to the API."""
        path = f"/organizations/{self.acme.pk}/members/{user.pk}"
        page = f"/admin/organizations/user/{user.pk}"
        client = Client()
        client.force_login(self.staff)
        form = {
            "username": user.username,
            "date_joined_0": "2024-12-01",
            "date_joined_1": "11:00:00",
        }
        return {
            "leave": lambda: self.call("delete", path, user=user),
            "demote": lambda: self.call("patch", path, {"role": "admin"}, user),
            "delete in the admin": lambda: client.post(f"{page}/delete/", {"post": "yes"}),
            "deactivate in the admin": lambda: client.post(f"{page}/change/", form),
        }

    def owners(self) -> set[str]:
        """Return the names of the owners who can sign in."""
        owners = self.acme.memberships.filter(role=Role.OWNER, user__is_active=True)
        return {*owners.values_list("user__username", flat=True)}


class LastOwnerTests(OwnerMixin, APITestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.staff = User.objects.create_user("staff", is_staff=True, is_superuser=True)

    def everything(self) -> list[Any]:
        users = User.objects.exclude(pk=self.staff.pk)  # who signs in
        rows: Any = (users, Membership.objects, Organization.objects)
        return [[*some.order_by("pk").values()] for some in rows]

    def assert_last_owner_stays(self) -> None:
        before = self.everything()
        for way, remove in self.ways_in_the_shell(self.owner).items():
            with self.subTest(way), self.assertRaisesMessage(LastOwner, SENTENCE):
                remove()
            self.assertEqual(self.everything(), before, way)
        for way, request in self.ways_over_http(self.owner).items():
            with self.subTest(way):
                response = request()
                self.assertIn(response.status_code, (200, 409))
                self.assertIn(SENTENCE, response.content.decode())
            self.assertEqual(self.everything(), before, way)

    def test_the_only_owner_stays(self) -> None:
        self.assert_last_owner_stays()

    def test_the_only_active_owner_stays_beside_a_deactivated_one(self) -> None:
        second = self.make_user("otto", self.acme, Role.OWNER)
        second.is_active = False
        second.save()
        self.assert_last_owner_stays()

    def test_a_deactivated_owner_stays_while_there_is_no_other(self) -> None:
        User.objects.filter(pk=self.owner.pk).update(is_active=False)
        before = self.everything()
        client = Client()
        client.force_login(self.staff)
        page = f"/admin/organizations/user/{self.owner.pk}/delete/"
        for response in (client.get(page), client.post(page, {"post": "yes"})):
            self.assertContains(response, SENTENCE)
        with self.assertRaisesMessage(LastOwner, SENTENCE):
            self.owner.delete()
        self.assertEqual(self.everything(), before)

    def test_a_deactivated_owner_can_be_saved_and_goes_once_there_is_another(self) -> None:
        User.objects.filter(pk=self.owner.pk).update(is_active=False)
        self.owner.refresh_from_db()
        self.owner.email = "olivia@example.com"
        self.owner.save()
        self.acme.add_member(self.loner, Role.OWNER)
        self.owner.delete()
        self.assertEqual(self.owners(), {"leo"})

    def test_all_owners_cannot_be_deleted_together(self) -> None:
        second = self.make_user("otto", self.acme, Role.OWNER)
        before = self.everything()
        with self.assertRaisesMessage(LastOwner, SENTENCE):
            User.objects.filter(pk__in=[self.owner.pk, second.pk]).delete()
        self.assertEqual(self.everything(), before)

    def test_one_of_two_owners_goes_by_every_way(self) -> None:
        for way in self.ways_in_the_shell(self.owner):
            user = self.make_user(f"of {way}", self.acme, Role.OWNER)
            with self.subTest(way):
                self.ways_in_the_shell(user)[way]()
                self.assertEqual(self.owners(), {"olivia"})
        for way in self.ways_over_http(self.owner):
            user = self.make_user(way.replace(" ", "-"), self.acme, Role.OWNER)
            with self.subTest(way):
                self.assertIn(self.ways_over_http(user)[way]().status_code, (200, 204, 302))
                self.assertEqual(self.owners(), {"olivia"})

    def test_organization_is_removed_with_its_last_owner(self) -> None:
        self.acme.remove()
        self.assertFalse(Membership.objects.filter(user=self.owner).exists())
        self.owner.delete()


class RacingOwnersTests(OwnerMixin, TransactionTestCase):
    def test_of_two_owners_who_go_at_the_same_moment_one_stays(self) -> None:
        self.make_world()
        self.staff = User.objects.create_user("staff", is_staff=True, is_superuser=True)
        names = [*self.ways_in_the_shell(self.owner), *self.ways_over_http(self.owner)]
        for number, way in enumerate(names * 2):
            organization = Organization.objects.create(name="Acme", slug=f"acme-{number}")
            self.acme = organization  # type: ignore[misc]
            owners = [self.make_user(f"{side}{number}", organization, Role.OWNER) for side in "ab"]
            others = [names[(number + 5) % len(names)], way]
            start = threading.Barrier(2, timeout=60)

            def go(owner: User, way: str, start: threading.Barrier = start) -> None:
                try:
                    ways = self.ways_in_the_shell(owner) | self.ways_over_http(owner)
                    start.wait()
                    ways[way]()
                except LastOwner:
                    pass
                finally:
                    connections.close_all()

            with ThreadPoolExecutor(2) as pool:
                [*pool.map(go, owners, others)]
            self.assertEqual(len(self.owners()), 1, others)
