"""The words of openapi.json: every operation, parameter, header and property is explained."""

import json
import re
from collections.abc import Iterator
from typing import Any

from django.test import SimpleTestCase

from rivergen.http.openapi.view import document
from rivergen.testing.routes import METHODS

# What only the developers of this service can know.
PRIVATE_WORDS = re.compile(
    r"validated_data|context\[|[Ss]erializer|[Qq]ueryset|[Vv]iewset|openapi\.json|read_draft"
    r"|The body of|contract|partial_update|\bDRF\b|Django|None\b"
)


def normalized(text: str) -> str:
    """Return only the letters and digits of a text."""
    return re.sub(r"[\W_]|^(a|an|the)\b", "", text.lower())


def fault(name: str, text: Any) -> str | None:
    """Return what is wrong with a description, or None."""
    if not text:
        return "no description"
    if not text.endswith(".") and not text.splitlines()[-1].startswith("* "):
        return f"no full stop: {text!r}"
    if normalized(text) == normalized(name):
        return f"only the name again: {text!r}"
    if found := PRIVATE_WORDS.search(text):
        return f"a private word, {found.group()!r}: {text!r}"
    return None


class OpenAPIWordsTests(SimpleTestCase):
    def setUp(self) -> None:
        self.document: Any = json.loads(json.dumps(document()))

    def operations(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                if method in METHODS:
                    yield f"{method.upper()} {path}", operation

    def resolve(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return an object, or the component that it refers to."""
        while "$ref" in found:
            node: Any = self.document
            for part in found["$ref"].removeprefix("#/").split("/"):
                node = node[part]
            found = node
        return found

    def properties(self) -> Iterator[tuple[str, str, Any]]:
        """Yield each property of any schema, however deeply it is nested: where, name, schema."""

        def walk(where: str, node: Any) -> Iterator[tuple[str, str, Any]]:
            if isinstance(node, list):
                for item in node:
                    yield from walk(where, item)
            elif isinstance(node, dict):
                if isinstance(node.get("properties"), dict):
                    for name, schema in node["properties"].items():
                        yield where, name, schema
                        yield from walk(f"{where}.{name}", schema)
                for key, child in node.items():
                    if key not in ("properties", "example", "examples"):
                        yield from walk(f"{where}/{key}", child)

        yield from walk("", self.document["components"])
        yield from walk("", self.document["paths"])

    def report(self, faults: list[str]) -> None:
        self.assertEqual(faults, [], f"{len(faults)} faults:\n" + "\n".join(faults))

    def test_each_property_has_a_description(self):
        found = [
            (f"{where}.{name}", fault(name, schema.get("description")))
            for where, name, schema in self.properties()
        ]
        self.assertGreater(len(found), 300)
        self.report([f"{where}: {text}" for where, text in found if text])

    def test_each_component_has_a_description(self):
        found = [
            (name, fault(name, schema.get("description")))
            for name, schema in self.document["components"]["schemas"].items()
        ]
        self.report([f"{name}: {text}" for name, text in found if text])

    def test_each_parameter_has_a_description(self):
        found = [
            (f"{where} {parameter['name']}", fault(parameter["name"], parameter.get("description")))
            for where, operation in self.operations()
            for parameter in map(self.resolve, operation.get("parameters", ()))
        ]
        self.report([f"{where}: {text}" for where, text in found if text])

    def test_each_response_and_each_of_its_headers_has_a_description(self):
        found = []
        for where, operation in self.operations():
            for status, reference in operation["responses"].items():
                response = self.resolve(reference)
                found.append((f"{where} {status}", fault("", response.get("description"))))
                for name, header in response.get("headers", {}).items():
                    text = fault(name, self.resolve(header).get("description"))
                    found.append((f"{where} {status} {name}", text))
        self.report([f"{where}: {text}" for where, text in found if text])

    def test_each_operation_has_a_summary_and_a_description_of_its_own(self):
        faults = []
        descriptions = []
        for where, operation in self.operations():
            summary, text = operation.get("summary", ""), operation.get("description", "")
            descriptions.append(text)
            if not re.fullmatch(r"[A-Z][^.\n]{3,60}", summary):
                faults.append(f"{where}: the summary {summary!r}")
            if found := fault(summary, text):
                faults.append(f"{where}: {found}")
        self.report(faults)
        self.assertEqual(len(descriptions), len({*descriptions}))

    def test_each_operation_says_which_role_it_needs(self):
        needs_role = re.compile(r"\b(Any member|viewer|editor|admin|owner|No token|Any user)\b")
        self.report(
            [
                where
                for where, operation in self.operations()
                if not needs_role.search(operation.get("description", ""))
            ]
        )

    def test_each_tag_has_a_description(self):
        declared = {tag["name"]: tag.get("description") for tag in self.document.get("tags", ())}
        used = {tag for _, operation in self.operations() for tag in operation["tags"]}
        found = [(tag, fault(tag, declared.get(tag))) for tag in sorted(used)]
        self.report([f"{tag}: {text}" for tag, text in found if text])

    def test_document_tells_a_stranger_how_to_begin(self):
        text = self.document["info"]["description"]
        words = ("/auth/token", "Bearer", "If-Match", "Idempotency-Key", "next", "details", "429")
        for word in words:
            with self.subTest(word=word):
                self.assertIn(word, text)
