"""Every naughty string in every text field of the API is stored unchanged, or refused.

The fields are taken from the OpenAPI document, so that a new field is covered automatically.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import quote, urlencode

from django.db import connection, transaction
from django.test import Client

from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.models import DataSource
from datasources.models.connection_strings import without_secrets
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase
from organizations.sign_in.throttling import SignInThrottle
from organizations.testing import bearer
from rivergen.http.middleware import logger
from rivergen.http.openapi.view import document
from rivergen.http.throttling import UserThrottle
from rivergen.names import normalized
from rivergen.testing.fingerprint import business_tables, fingerprint
from rivergen.testing.naughty_strings import STRINGS
from tests.api.testing.route_table import CREDENTIALS, DATA_SOURCE, ORGANIZATION, PUBLIC, ROUTES
from tests.fuzz.values import Schemas, as_json, parameters_of, put

Place = tuple[str | int, ...]
# Valid bodies for routes whose body in the table has no text field.
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/auth/token"): {"username": "edith", "password": "wrong"},
    ("post", "/auth/token/refresh"): {"refresh_token": "wrong"},
    ("post", "/data-sources"): {"name": "New", "type": "postgresql"},
    ("post", "/data-sources/test"): {"type": "postgresql"},
    ("post", "/data-sources/apply"): {"data_sources": [{"name": "New", "type": "postgresql"}]},
    ("post", f"{DATA_SOURCE}/ssh-host-key/confirm"): {"fingerprint": "SHA256:x"},
    ("patch", DATA_SOURCE): {},
}
# Fields that the contract trims.
NAMES = ("name", "tags")
# Gets all strings; each other route gets a different twelfth. `make fuzz` sends the rest.
CENTRAL = {("patch", DATA_SOURCE)}
SHARE = 12
OK = {200, 201, 202}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each method and path of the OpenAPI document, and its operation."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            yield method, path.removeprefix("/api/v1"), operation


def strings_for(number: int, method: str, path: str) -> list[str]:
    """Return the strings to send to a route; `number` is its position in the document."""
    return STRINGS if (method, path) in CENTRAL else STRINGS[number % SHARE :: SHARE]


def named(place: Place) -> str:
    """Return a place as the keys of `error.details` name it."""
    return ".".join(str(step) for step in place)


class NaughtyStringTests(DataSourceTestCase):
    client: Client
    ids: ClassVar[dict[str, Any]]
    tables: ClassVar[list[str]]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        refresh(cls.data_source, table("orders", column("id")))
        cls.ids = {
            "organization_id": cls.acme.pk,
            "workspace_id": cls.workspace.pk,
            "user_id": cls.viewer.pk,
            "data_source_id": cls.data_source.pk,
        }
        cls.tables = business_tables()

    def setUp(self) -> None:
        stack = self.enterContext(ExitStack())
        for throttle in (UserThrottle, SignInThrottle, ConnectionTestThrottle):
            stack.enter_context(mock.patch.object(throttle, "limit", 10**9))
        stack.enter_context(mock.patch.object(logger, "disabled", True))
        self.client = Client(
            raise_request_exception=False, headers={"Authorization": bearer(self.owner)}
        )

    def fingerprint(self) -> Any:
        with connection.cursor() as cursor:
            return fingerprint(cursor, self.tables)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request, and check that it succeeds or is refused in the envelope."""
        content = b"" if body is None else as_json(body)
        options: dict[str, Any] = {} if body is None else {"content_type": "application/json"}
        response = self.client.generic(
            method.upper(), f"/api/v1{path}", content, headers=headers, **options
        )
        if response.status_code not in OK:
            self.assertIn(response.status_code, {304, 400, 401, 404, 409, 412, 413})
        if response.status_code >= 400:
            error = response.json()["error"]
            self.assertEqual(error["request_id"], response["X-Request-ID"])
            self.assertNotIn("\ud800", error["message"])
        return response

    def try_text(self, method: str, path: str, where: list[Place], text: str) -> None:
        """Send the text in all places, leaving out those that are refused, until it is accepted."""
        left = [*where]
        while left:
            key = method, path
            body = BODIES[key] if key in BODIES else ROUTES[key].body_for(self.ids)
            for place in left:
                body = put(body, place, text)
            with transaction.atomic():
                response = self.send(method, path.format(**self.ids), body)
                if response.status_code in OK:
                    self.check_stored(method, path, left, body, response)
                    transaction.set_rollback(True)
                    return
            refused = [
                key.replace("[", ".").replace("]", "")
                for key in response.json()["error"]["details"]
            ]
            kept = [
                place
                for place in left
                if not any(f"{named(place)}.".startswith(f"{name}.") for name in refused)
            ]
            if len(kept) == len(left):
                return  # refused for another reason than a field
            left = kept

    def check_stored(
        self, method: str, path: str, left: list[Place], body: Any, response: Any
    ) -> None:
        """Check that the response, and a later GET, show the values that were sent."""
        data = response.json()["data"]
        shown = [data]
        if path == "/data-sources/apply":
            body = body["data_sources"][0]
            data = {"id": DataSource.objects.latest("pk").pk}
            shown = []
        if path.startswith("/data-sources") and "id" in data:
            shown.append(self.send("get", f"/data-sources/{data['id']}").json()["data"])
        elif path == CREDENTIALS:
            shown.append(self.send("get", path.format(**self.ids)).json()["data"])
            opened = DataSource.objects.get(pk=self.data_source.pk).credentials.open()
            secrets = {name: value for name, value in body.items() if name != "username"}
            mended = {name: value.strip("\r\n\ufeff") for name, value in secrets.items()}
            self.assertEqual({**opened, **mended}, opened)
            body = {"username": body["username"].strip()} if "username" in body else {}
        elif path.startswith(ORGANIZATION) and "id" in data:
            is_one = path == ORGANIZATION
            address = ORGANIZATION if is_one else f"{ORGANIZATION}/workspaces?page_size=200"
            found = self.send("get", address.format(**self.ids)).json()["data"]
            shown.append(found if is_one else {one["id"]: one for one in found}[data["id"]])
        for one in shown:
            for name in body.keys() & one.keys():
                self.assertEqual(one[name], self.expected(name, body[name]), name)

    def expected(self, name: str, sent: Any) -> Any:
        if name in NAMES:
            return [*map(normalized, sent)] if isinstance(sent, list) else normalized(sent)
        return without_secrets(sent) if name == "connection_string" else sent

    def test_strings_in_bodies_are_stored_unchanged_or_refused(self):
        schemas = Schemas(document())
        for number, (method, path, operation) in enumerate(operations()):
            if "requestBody" not in operation:
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            where = [place for place in schemas.texts(schema) if place]
            before = self.fingerprint()
            for text in strings_for(number, method, path):
                with self.subTest(method=method, path=path, text=text[:40]):
                    self.try_text(method, path, where, text)
            # Accepted requests were rolled back; refused requests must have changed nothing.
            self.assertEqual(self.fingerprint(), before)

    def test_every_route_with_a_body_is_in_the_openapi_document(self):
        described = {(m, p) for m, p, operation in operations() if "requestBody" in operation}
        taking = {key for key, route in ROUTES.items() if route.body is not None}
        self.assertLessEqual(taking | (PUBLIC - {("get", "/openapi.json")}), described)

    def test_strings_in_query_parameters_are_accepted_or_refused_by_name(self):
        before = self.fingerprint()
        for number, (method, path, operation) in enumerate(operations()):
            parameters = parameters_of(document(), operation)
            names = [one["name"] for one in parameters if one["in"] == "query"]
            if method != "get" or not names:
                continue
            for text in strings_for(number, method, path):
                with self.subTest(path=path, text=text[:40]):
                    self.try_parameters(path.format(**self.ids), names, text)
        self.assertEqual(self.fingerprint(), before)

    def try_parameters(self, path: str, names: list[str], text: str) -> None:
        while names:
            query = urlencode(dict.fromkeys(names, text), errors="surrogatepass")
            response = self.send("get", f"{path}?{query}")
            if response.status_code in OK:
                break
            refused = response.json()["error"]["details"]
            if not (response.status_code == 400 and refused):
                break
            self.assertLessEqual({*refused}, {*names})
            names = [name for name in names if name not in refused]

    def test_strings_as_unknown_field_and_parameter_names_are_400(self):
        before = self.fingerprint()
        for text in STRINGS[::3]:
            with self.subTest(text=text[:40]):
                body = {text: text, "port": 5}
                response = self.send("patch", self.path, body)
                self.assertEqual(response.status_code, 200 if text == "description" else 400)
                query = urlencode({text: text}, errors="surrogatepass")
                self.assertEqual(self.send("get", f"{self.path}?{query}").status_code, 400)
        self.assertEqual(self.fingerprint(), before)

    def test_strings_in_headers_are_accepted_or_refused(self):
        before = self.fingerprint()
        sane = re.compile(r"[A-Za-z0-9._-]{1,128}")
        for text in STRINGS:
            # gunicorn passes headers on as Latin-1, without line breaks and NUL.
            value = text.encode(errors="replace").decode("latin-1").strip()
            if re.search(r"[\r\n\0]", value):
                continue
            with self.subTest(text=text[:40]):
                headers = dict.fromkeys(("X-Request-ID", "Idempotency-Key", "If-Match"), value)
                with transaction.atomic():
                    response = self.send("patch", self.path, {"port": 5}, **headers)
                    transaction.set_rollback(True)
                is_meant = value == "*" or '"1"' in value.split(", ")
                # Anything but entity tags (RFC 9110, section 8.8.3) or `*` is 400.
                expected = {200} if is_meant else {400, 412}
                # A key in quotes must be a valid RFC 9651 string, else the request is 400.
                is_key = re.fullmatch(r"[ -~]{1,255}", value) and not value.startswith('"')
                self.assertIn(response.status_code, expected if is_key else {*expected, 400})
                kept = response["X-Request-ID"] == value
                self.assertEqual(kept, bool(sane.fullmatch(value)))
                name = ("If-None-Match", "Authorization", "Accept")[len(value) % 3]
                response = self.client.get(f"/api/v1{self.path}", headers={name: value})
                self.assertIn(response.status_code, {200, 304, 401, 406})
        self.assertEqual(self.fingerprint(), before)

    def test_strings_as_ids_are_404(self):
        before = self.fingerprint()
        for text in STRINGS[1::3]:
            with self.subTest(text=text[:40]):
                path = quote(text, safe="", errors="surrogatepass")
                response = self.client.get(f"/api/v1/connection-tests/{path}")
                self.assertEqual(response.status_code, 404)
                self.assertFalse(response.json()["success"])
        self.assertEqual(self.fingerprint(), before)
