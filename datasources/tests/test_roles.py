"""Who may do what with data sources (contract, section 2), role by role, over HTTP."""

from typing import Any

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase

# The least role, the method, the path below the data source's, the body, and the success.
REQUESTS: tuple[tuple[str, str, str, Any, int], ...] = (
    ("viewer", "get", "{path}", None, 200),
    ("viewer", "get", "{path}/history", None, 200),
    ("viewer", "get", "/data-sources", None, 200),
    ("viewer", "get", "/data-source-types", None, 200),
    ("editor", "post", "/data-sources", {"name": "New", "type": "csv"}, 201),
    ("editor", "patch", "{path}", {"port": 5433}, 200),
    ("admin", "post", "{path}/history/1/restore", None, 200),
    ("admin", "delete", "{path}", None, 204),
)
# Lists and the catalogue show a stranger its own; the rest does not exist for it.
OPEN_TO_STRANGERS = ("/data-sources", "/data-source-types")


class RoleTests(DataSourceTestCase):
    def rows(self) -> list[Any]:
        return [*DataSource.objects.order_by("id").values()]

    def test_each_role_may_what_the_contract_says(self):
        ranks = ["viewer", "editor", "admin", "owner"]
        for least, method, path, body, success in REQUESTS:
            for rank, role in enumerate(ranks):
                user = getattr(self, role)
                with self.subTest(role=role, method=method, path=path):
                    # The row may be gone by now: each request finds it as it was.
                    data_source = self.make_another(f"{role} {method} {path}")
                    before = self.rows()
                    target = path.format(path=f"/data-sources/{data_source.pk}")
                    response = self.call(method, target, body, user)
                    if rank >= ranks.index(least):
                        self.assertEqual(response.status_code, success, response.content)
                        DataSource.objects.filter(name="New").delete()
                    else:
                        error = self.assert_error(response, 403, "FORBIDDEN")
                        self.assertIn(least, error["message"])
                        self.assertEqual(self.rows(), before)

    def test_others_may_nothing(self):
        before = self.rows()
        for _, method, path, body, _ in REQUESTS:
            with self.subTest(method=method, path=path):
                target = path.format(path=self.path)
                anonymous = self.call(method, target, body)
                self.assert_error(anonymous, 401, "UNAUTHORIZED")
                self.assertEqual(anonymous["WWW-Authenticate"], "Bearer")
                loner = self.call(method, target, body, self.loner)
                self.assert_error(loner, 403, "FORBIDDEN")
                if path not in OPEN_TO_STRANGERS:
                    stranger = self.call(method, target, body, self.stranger)
                    self.assert_error(stranger, 404, "NOT_FOUND")
                self.assertEqual(self.rows(), before)

    def make_another(self, name: str) -> DataSource:
        return DataSource.objects.create(workspace=self.workspace, name=name, type="postgresql")
