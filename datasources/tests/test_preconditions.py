"""Tests of organizations that require If-Match with every change (428)."""

from typing import Any, ClassVar

from datasources.connections.ssh.host_keys import fingerprint
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase, admin_client
from organizations.models import Organization
from organizations.testing import sql
from rivergen.http.input import entity_tag
from tests.api.testing.route_table import HOST_KEY, ROUTES, enter_password, present_host_key

UPDATE = ("patch", "", {"port": 5433})
NOT_NAMED: tuple[dict[str, str], ...] = ({}, {"If-Match": "*"}, {"If-Match": " * "})


class PreconditionTests(DataSourceTestCase):
    writes: ClassVar[tuple[tuple[str, str, Any], ...]]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        enter_password(cls.data_source)
        present_host_key(cls.data_source)
        cls.data_source.refresh_from_db()
        cls.writes = (
            UPDATE,
            ("patch", "?dry_run=true", {"port": 5433}),
            ("patch", "?verify=true", {"port": 5433}),
            ("put", "/credentials", {"username": "reader"}),
            ("patch", "/credentials", {"username": "reader"}),
            ("delete", "/credentials", None),
            ("post", "/credentials/confirm", None),
            ("post", "/ssh-host-key/confirm", {"fingerprint": fingerprint(HOST_KEY)}),
            ("post", "/history/1/restore", None),
            ("delete", "", None),
        )

    def require_if_match(self) -> None:
        Organization.objects.filter(pk=self.acme.pk).update(requires_if_match=True)

    def write(self, method: str, path: str, body: Any, user: Any = None, **headers: str) -> Any:
        target = f"{self.path}{path}"
        return self.call(method, target, body, user or self.admin, headers=headers)

    def test_every_write_without_if_match_is_428(self):
        self.require_if_match()
        before = self.stored()
        for write in self.writes:
            for headers in NOT_NAMED:
                with self.subTest(write=write, headers=headers):
                    response = self.write(*write, **headers)
                    self.assert_error(response, 428, "PRECONDITION_REQUIRED")
                    self.assertNotIn("ETag", response)
        self.assertEqual(self.stored(), before)

    def test_every_operation_with_if_match_in_openapi_is_tested(self):
        document = self.call("get", "/openapi.json").json()
        shared = document["components"]["parameters"]
        described = set()
        for path, item in document["paths"].items():
            for method, operation in item.items():
                for one in operation.get("parameters", ()):
                    parameter = shared[one["$ref"].split("/")[-1]] if "$ref" in one else one
                    if parameter["name"] == "If-Match":
                        described.add((method, path))
        prefix = "/api/v1/data-sources/{data_source_id}"
        written = {
            (method, prefix + path.partition("?")[0].replace("/1/", "/{version}/"))
            for method, path, _ in self.writes
        }
        self.assertEqual({one for one in described if one[0] != "get"}, written)
        self.assertEqual(
            {path for method, path in described if method == "get"},
            {prefix, f"{prefix}/credentials"},
        )
        for method, path in written:
            self.assertIn("428", document["paths"][path][method]["responses"])

    def test_every_write_with_the_current_version_succeeds(self):
        self.require_if_match()
        for write in self.writes:
            if "verify" in write[1]:
                continue  # needs a worker
            with self.subTest(write=write):
                etag = entity_tag(DataSource.objects.get(pk=self.data_source.pk).version)
                stale = self.write(*write, **{"If-Match": '"99"'})
                self.assert_error(stale, 412, "PRECONDITION_FAILED")
                response = self.write(*write, **{"If-Match": f'"99", {etag}'})
                if write[1] == "/ssh-host-key/confirm":  # an earlier write invalidated the key
                    self.assert_error(response, 409, "CONFLICT")
                else:
                    self.assertLess(response.status_code, 300, response.content)

    def test_400_403_404_and_415_come_before_428(self):
        self.require_if_match()
        refused = self.write("patch", "", {"port": 0}, **{"If-Match": "*"})
        self.assert_error(refused, 400, "BAD_REQUEST", "port")
        self.assert_error(self.write("patch", "?x=1", {}), 400, "BAD_REQUEST", "x")
        self.assert_error(self.write(*UPDATE, user=self.viewer), 403, "FORBIDDEN")
        self.assert_error(self.write(*UPDATE, user=self.stranger), 404, "NOT_FOUND")
        text = self.call("patch", self.path, b"{}", self.admin, content_type="text/plain")
        self.assert_error(text, 415, "UNSUPPORTED_MEDIA_TYPE")
        # A comparison with what is stored comes later (contract, section 1).
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        taken = self.write("patch", "", {"name": "Taken"})
        self.assert_error(taken, 428, "PRECONDITION_REQUIRED")

    def test_requests_that_change_no_version_need_no_if_match(self):
        self.require_if_match()
        for method, path, body, status in (
            ("post", "/data-sources", {"name": "New", "type": "csv"}, 201),
            ("post", f"{self.path}/test", None, 202),
            ("post", f"{self.path}/schema/refresh", None, 202),
            ("post", "/data-sources/apply", ROUTES["post", "/data-sources/apply"].body, 200),
        ):
            with self.subTest(path=path):
                response = self.call(method, path, body, self.admin)
                self.assertEqual(response.status_code, status, response.content)

    def test_organizations_that_do_not_require_if_match_need_none(self):
        Organization.objects.filter(pk=self.globex.pk).update(requires_if_match=True)
        for headers in NOT_NAMED:
            with self.subTest(headers=headers):
                self.assertEqual(self.write(*UPDATE, **headers).status_code, 200)

    def test_requiring_if_match_takes_no_extra_statement(self):
        self.require_if_match()
        with self.statements() as captured:
            headers = {"If-Match": entity_tag(self.data_source.version)}
            response = self.write("patch", "", {"description": "New"}, **headers)
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(len(sql(captured)), 2, captured.captured_queries)

    def test_admin_shows_whether_if_match_is_required(self):
        page = f"/admin/organizations/organization/{self.acme.pk}/change/"
        self.assertContains(admin_client(self.admin).get(page), "Requires If-Match")
