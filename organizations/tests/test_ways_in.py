"""The API, the models and the admin take the same values for organizations and their parts."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from organizations.models import Membership, Organization, Workspace
from organizations.testing import APITestCase

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 5.5, "", " ", " a ", "a" * 256, "a\0", "\ud800"),
    *("true", "1", "admin", "boss", [], ["a"], {}, {"a": 1}),
)


class WaysInTests(APITestCase):
    def stored_by_api(self, method: str, path: str, body: Any, member: str) -> str:
        response = self.call(method, path, json.dumps(body).encode(), self.owner)
        if response.status_code == 400:
            return "refused"
        self.assertIn(response.status_code, (200, 201), response.content)
        return json.dumps(response.json()["data"][member])

    def assert_alike(self, api: tuple[str, str, Any, str], change: Any, value: Any) -> None:
        """Assert that the request stores what `change` returns, or that both are refused."""
        with transaction.atomic():
            by_api = self.stored_by_api(*api)
            transaction.set_rollback(True)
        with transaction.atomic():
            try:
                by_model = json.dumps(change())
            except ValidationError:
                by_model = "refused"
            transaction.set_rollback(True)
        with self.subTest(api[1], member=api[3], value=value):
            self.assertEqual(by_api, by_model)

    def test_models_take_the_values_that_the_api_takes(self) -> None:
        path = f"/organizations/{self.acme.pk}"
        member = Membership.objects.get(user=self.viewer)
        for value in VALUES:
            for field in ("name", "requires_if_match"):

                def change(field: str = field, value: Any = value) -> Any:
                    organization = Organization.objects.get(pk=self.acme.pk)
                    organization.change({field: value})
                    return Organization.objects.values_list(field, flat=True).get(pk=self.acme.pk)

                self.assert_alike(("patch", path, {field: value}, field), change, value)

            def add(value: Any = value) -> Any:
                workspace = Workspace(organization=self.acme, name=value)
                workspace.save_unique()
                return Workspace.objects.get(pk=workspace.pk).name

            def change_role(value: Any = value) -> Any:
                Membership.objects.get(pk=member.pk).change_role(value)
                return Membership.objects.get(pk=member.pk).role

            body = {"name": value}
            self.assert_alike(("post", f"{path}/workspaces", body, "name"), add, value)
            body = {"role": value}
            api = ("patch", f"{path}/members/{self.viewer.pk}", body, "role")
            self.assert_alike(api, change_role, value)
