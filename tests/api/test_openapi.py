"""GET /api/v1/openapi.json and /api/docs: the OpenAPI document, and the page that shows it."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.test import Client

from datasources.bulk.exceptions import NotApplied
from organizations.idempotency.exceptions import KeyInUse, KeyReused
from organizations.testing import APITestCase
from rivergen.errors import Gone, StateConflict
from rivergen.http.responses import ERROR_CODES
from rivergen.testing.routes import METHODS, routes

PUBLIC_PATHS = ("/api/v1/auth/token", "/api/v1/auth/token/refresh")
# Limits of the contract, section 3.
MAX_LENGTHS = {
    "name": 255,
    "description": 10_000,
    "host": 253,
    "database_name": 255,
    "schema_name": 255,
    "connection_string": 4_096,
    "file_path": 1_000,
    "ssh_host": 253,
    "ssh_username": 255,
}
BOUNDS = {
    "port": (1, 65_535),
    "ssh_port": (1, 65_535),
    "ssh_local_port": (1, 65_535),
    "connection_pool_size": (1, 100),
    "connection_timeout": (1, 300),
    "query_timeout": (1, 86_400),
    "max_retries": (0, 10),
    "schema_refresh_interval": (60, 2_592_000),
}
NULLABLE = {
    *("host", "port", "database_name", "schema_name", "connection_string", "file_path"),
    *("ssh_host", "ssh_port", "ssh_username", "ssh_local_port"),
}


class PageParser(HTMLParser):
    """Collect the inline scripts and styles of a page, and all attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tag = ""
        self.inline: dict[str, str] = {"script": "", "style": ""}
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.tag = ""

    def handle_data(self, data: str) -> None:
        if self.tag in self.inline:
            self.inline[self.tag] += data.strip()


class OpenAPITests(APITestCase):
    def setUp(self) -> None:
        self.response = self.call("get", "/openapi.json")
        self.document: Any = json.loads(self.response.content)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                if method in METHODS:
                    yield path, method, self.resolved(operation)

    def resolved(self, node: Any) -> Any:
        """Return a part of the document with the components in it that are no schemas."""
        if isinstance(node, list):
            return [self.resolved(item) for item in node]
        if not isinstance(node, dict):
            return node
        _, _, kind, name = f"{node.get('$ref', '')}///".split("/")[:4]
        if kind in ("headers", "parameters", "responses"):
            return self.resolved(self.document["components"][kind][name])
        return {key: self.resolved(value) for key, value in node.items()}

    def test_openapi_document_is_generated_without_warnings(self):
        # spectacular warns of two components with the same name, of which one would be lost.
        call_command("spectacular", "--fail-on-warn", stdout=StringIO())

    def test_openapi_document_lists_every_error_code(self):
        exact = {KeyInUse.error_code, KeyReused.error_code}
        exact |= {error.code for kind in (Gone, StateConflict) for error in kind.__subclasses__()}
        codes = {*ERROR_CODES.values(), *exact, NotApplied.error_code}
        code = self.document["components"]["schemas"]["ErrorCode"]
        self.assertEqual({*code["x-extensible-enum"]}, codes)

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a schema with its reference resolved, however deeply it is wrapped."""
        while "$ref" in schema or "allOf" in schema:
            schema = schema["allOf"][0] if "allOf" in schema else schema
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def update_schema(self) -> dict[str, Any]:
        operation = self.document["paths"]["/api/v1/data-sources/{data_source_id}"]["patch"]
        content = operation["requestBody"]["content"]
        return self.resolve(content["application/json"]["schema"])

    def test_openapi_document_is_version_3_1_and_needs_no_token(self):
        self.assertEqual(self.response.status_code, 200)
        self.assertEqual(self.response["Content-Type"], "application/json")
        self.assertRegex(self.document["openapi"], r"^3\.1\.\d+$")

    def test_openapi_document_is_the_same_for_every_caller(self):
        response = self.call("get", "/openapi.json", user=self.editor)
        self.assertEqual(response.json(), self.document)
        headers = {"Authorization": "Bearer forged"}
        self.assertEqual(self.call("get", "/openapi.json", headers=headers).status_code, 200)

    def test_openapi_document_has_every_route_and_method(self):
        found = dict(routes())
        del found["/api/v1/openapi.json"]
        self.assertIn("/api/v1/data-sources/{data_source_id}", found)
        described: dict[str, set[str]] = {}
        for path, method, _ in self.operations():
            described.setdefault(path, set()).add(method)
        self.assertEqual(described, found)

    def test_each_operation_has_a_success_response_and_a_unique_id(self):
        identifiers = []
        for path, method, operation in self.operations():
            with self.subTest(path=path, method=method):
                self.assertTrue([code for code in operation["responses"] if code[0] == "2"])
                self.assertTrue(operation["summary"])
                identifiers.append(operation["operationId"])
        self.assertEqual(len(identifiers), len({*identifiers}))

    def test_each_operation_that_needs_a_token_declares_bearer_security(self):
        for path, method, operation in self.operations():
            with self.subTest(path=path, method=method):
                if path in PUBLIC_PATHS:
                    self.assertEqual(operation["security"], [])
                else:
                    self.assertEqual(operation["security"], [{"bearer": []}])
                    headers = operation["responses"]["401"]["headers"]
                    self.assertIn("WWW-Authenticate", headers)
        scheme = self.document["components"]["securitySchemes"]["bearer"]
        self.assertEqual((scheme["type"], scheme["scheme"]), ("http", "bearer"))

    def test_each_error_response_has_the_envelope(self):
        for path, method, operation in self.operations():
            for status, response in operation["responses"].items():
                if status >= "400":
                    with self.subTest(path=path, method=method, status=status):
                        schema = self.resolve(response["content"]["application/json"]["schema"])
                        self.assertEqual([*schema["properties"]], ["success", "error"])
                        self.assertIn("X-Request-ID", response["headers"])

    def test_each_operation_with_a_body_declares_400_413_and_415(self):
        for path, method, operation in self.operations():
            if "requestBody" in operation:
                with self.subTest(path=path, method=method):
                    self.assertLessEqual({"400", "413", "415"}, {*operation["responses"]})
                    self.assertIn("application/json", operation["requestBody"]["content"])

    def test_path_parameters_are_declared_in_openapi(self):
        for path, method, operation in self.operations():
            with self.subTest(path=path, method=method):
                names = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
                self.assertEqual(names, {*re.findall(r"{(\w+)}", path)})

    def test_operations_that_take_an_idempotency_key_declare_it(self):
        for path, method, operation in self.operations():
            with self.subTest(path=path, method=method):
                names = [parameter["name"] for parameter in operation.get("parameters", [])]
                is_keyed = method in ("post", "patch") and path not in PUBLIC_PATHS
                self.assertEqual(names.count("Idempotency-Key"), int(is_keyed))
                if is_keyed:
                    self.assertLessEqual({"409", "422"}, {*operation["responses"]})
                    for status, response in operation["responses"].items():
                        is_success = status.startswith("2")
                        self.assertEqual("Idempotency-Replayed" in response["headers"], is_success)

    def test_update_schema_has_the_lengths_of_the_contract(self):
        properties = self.update_schema()["properties"]
        lengths = {name: properties[name].get("maxLength") for name in MAX_LENGTHS}
        self.assertEqual(lengths, MAX_LENGTHS)
        self.assertEqual(properties["name"]["minLength"], 1)

    def test_update_schema_has_the_bounds_of_the_contract(self):
        properties = self.update_schema()["properties"]
        bounds = {
            name: (properties[name].get("minimum"), properties[name].get("maximum"))
            for name in BOUNDS
        }
        self.assertEqual(bounds, BOUNDS)

    def test_update_schema_has_the_tags_of_the_contract(self):
        tags = self.update_schema()["properties"]["tags"]
        self.assertEqual((tags["type"], tags["maxItems"]), ("array", 50))
        items = tags["items"]
        self.assertEqual((items["type"], items["minLength"], items["maxLength"]), ("string", 1, 64))

    def test_update_schema_has_the_nullable_fields_of_the_contract(self):
        properties = self.update_schema()["properties"]
        nullable = {name for name, schema in properties.items() if "null" in schema["type"]}
        self.assertEqual(nullable, NULLABLE)

    def test_update_requires_no_field_and_accepts_merge_patch(self):
        self.assertFalse(self.update_schema().get("required"))
        operation = self.document["paths"]["/api/v1/data-sources/{data_source_id}"]["patch"]
        content = operation["requestBody"]["content"]
        self.assertEqual({*content}, {"application/json", "application/merge-patch+json"})

    def test_schemas_have_no_password_field(self):
        for name in ("DataSource", "Me", "Member"):
            properties = self.document["components"]["schemas"][name]["properties"]
            self.assertFalse([key for key in properties if "password" in key])

    def test_docs_page_has_no_inline_script_and_no_external_address(self):
        response = Client().get("/api/docs")
        self.assertEqual(response.status_code, 200)
        page = PageParser()
        page.feed(response.content.decode())
        self.assertEqual(page.inline["script"], "")
        self.assertFalse([name for name, _ in page.attributes if name.startswith("on")])
        self.assertNotRegex(response.content.decode(), r"(https?:)?//[a-z0-9]")

    def test_docs_page_has_no_inline_style_that_its_policy_forbids(self):
        response = Client().get("/api/docs")
        page = PageParser()
        page.feed(response.content.decode())
        if "'unsafe-inline'" not in response["Content-Security-Policy"]:
            self.assertEqual(page.inline["style"], "")

    def test_files_of_the_docs_page_exist(self):
        page = PageParser()
        page.feed(Client().get("/api/docs").content.decode())
        addresses = [value for name, value in page.attributes if name in ("src", "href") and value]
        self.assertGreaterEqual(len(addresses), 4)
        for address in addresses:
            with self.subTest(address=address):
                self.assertEqual(Client().get(address).status_code, 200)
