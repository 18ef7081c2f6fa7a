"""The examples of openapi.json: valid, and true of the demo that `make run` creates."""

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, transaction
from django.test import SimpleTestCase, TestCase, override_settings
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from datasources.connection_tests.exceptions import ConnectionFailed
from datasources.connection_tests.openapi import FINGERPRINT, HOST_KEY
from datasources.connections.failures import Code
from datasources.credentials.exceptions import CredentialsUnconfirmed
from datasources.examples import TEST_ID
from datasources.models import DataSource
from datasources.testing import SEED_REQUEST, SEED_RESPONSE
from organizations.authentication import EXPIRED, NO_TOKEN
from organizations.idempotency.exceptions import KeyInUse, KeyReused
from organizations.models import Organization, User, Workspace
from organizations.sign_in.openapi import SIGN_IN
from organizations.testing import bearer
from rivergen.http.openapi.view import document
from rivergen.testing.routes import METHODS

UPDATE = "PATCH /api/v1/data-sources/{data_source_id}"
# The failures that a client is likely to meet, and their codes.
FAILURES_WITH_EXAMPLES = {
    "400": {"BAD_REQUEST"},
    "401": {"UNAUTHORIZED"},
    "403": {"FORBIDDEN"},
    "404": {"NOT_FOUND", "SCHEMA_NOT_READ", "SNAPSHOT_NOT_FOUND"},
    "409": {"CONFLICT", "CREDENTIALS_UNCONFIRMED", "QUOTA_EXCEEDED", "IDEMPOTENCY_KEY_IN_USE"},
    "412": {"PRECONDITION_FAILED"},
    "422": {"CONNECTION_FAILED", "IDEMPOTENCY_KEY_REUSED"},
    "428": {"PRECONDITION_REQUIRED"},
    "429": {"TOO_MANY_REQUESTS"},
}
# Requests that say what only the caller can know: a token of the last sign-in.
UNKNOWABLE = {"POST /api/v1/auth/token/refresh"}
# What differs each time.
VOLATILE = {"access_token", "refresh_token", "test_id", "refresh_id", "request_id"}


class Example(NamedTuple):
    """One example of openapi.json, with the schema that it must fit."""

    where: str
    status: str
    """Empty for the body of a request."""
    media_type: str
    name: str
    value: Any
    schema: Any


def resolve(found: Any) -> Any:
    """Return an object of openapi.json, or the component that it refers to."""
    while "$ref" in found:
        node = document()
        for part in found["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        found = node
    return found


def operations() -> Iterator[tuple[str, Any]]:
    """Yield the operations of openapi.json, each with its method and path."""
    for path, item in document()["paths"].items():
        for method in METHODS & item.keys():
            yield f"{method.upper()} {path}", item[method]


def contents(operation: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield each body of an operation: its status, its media type, and what describes it."""
    bodies = {"": operation.get("requestBody", {}), **operation["responses"]}
    for status, found in bodies.items():
        for media_type, media in resolve(found).get("content", {}).items():
            yield status, media_type, media


def examples() -> Iterator[Example]:
    """Yield all examples of openapi.json."""
    for where, operation in operations():
        for status, media_type, media in contents(operation):
            for name, example in media.get("examples", {}).items():
                value = resolve(example)["value"]
                yield Example(where, status, media_type, name, value, media["schema"])


def without_other_members(node: Any) -> Any:
    """Return schemas that refuse every member that they do not describe."""
    if isinstance(node, list):
        return [without_other_members(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {
        key: value if key in ("examples", "enum", "const") else without_other_members(value)
        for key, value in node.items()
    }
    is_open = "properties" in schema and "additionalProperties" not in schema
    if is_open and isinstance(schema.get("type"), str):
        schema["unevaluatedProperties"] = False
    return schema


def steady(value: Any) -> Any:
    """Return a value without what differs each time, such as times and tokens."""
    if isinstance(value, list):
        return [steady(item) for item in value]
    if isinstance(value, dict):
        return {
            name: bool(item) if name in VOLATILE or name.endswith("_at") else steady(item)
            for name, item in value.items()
        }
    return value


def restart_ids() -> None:
    """Reset the sequences of ids to the stored rows: a rollback does not reset them."""
    models = (User, Organization, Workspace, DataSource)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)


class OpenAPIExamplesTests(SimpleTestCase):
    def test_each_body_and_each_success_has_an_example(self):
        missing = [
            f"{where} {status} {media_type}"
            for where, operation in operations()
            for status, media_type, media in contents(operation)
            if status < "300" and not media.get("examples")
        ]
        self.assertEqual(missing, [])

    def test_each_failure_that_a_client_may_meet_has_an_example(self):
        missing = [
            f"{where} {status}"
            for where, operation in operations()
            for status, media_type, media in contents(operation)
            if status in FAILURES_WITH_EXAMPLES and not media.get("examples")
        ]
        self.assertEqual(missing, [])
        shown: dict[str, set[str]] = {}
        for example in examples():
            if example.status in FAILURES_WITH_EXAMPLES:
                shown.setdefault(example.status, set()).add(example.value["error"]["code"])
        for status, codes in FAILURES_WITH_EXAMPLES.items():
            with self.subTest(status=status):
                self.assertLessEqual(codes, shown[status])

    def test_each_example_fits_its_schema_and_has_no_other_members(self):
        components = without_other_members(json.loads(json.dumps(document()["components"])))
        count = 0
        for example in examples():
            with self.subTest(where=example.where, status=example.status, name=example.name):
                schema = {**without_other_members(example.schema), "components": components}
                errors = Draft202012Validator(schema).iter_errors(example.value)
                self.assertEqual([f"{e.json_path}: {e.message}" for e in errors], [])
                count += 1
        self.assertGreater(count, 300)

    def test_update_has_the_example_of_its_document_first(self):
        found = [example for example in examples() if example.where == UPDATE]
        body = next(example for example in found if example.status == "")
        answer = next(example for example in found if example.status == "200")
        self.assertEqual(body.value, SEED_REQUEST)
        data = {name: answer.value["data"][name] for name in SEED_RESPONSE["data"]}
        self.assertEqual(answer.value | {"data": data}, answer.value | SEED_RESPONSE)

    def test_error_example_has_the_status_of_its_code(self):
        for example in examples():
            if example.status >= "400":
                with self.subTest(where=example.where, status=example.status, name=example.name):
                    self.assertIn(f'"{example.value["error"]["code"]}"', json.dumps(document()))
                    self.assertRegex(example.value["error"]["message"], r"\.$")

    def test_examples_of_failures_have_the_sentences_of_the_service(self):
        shown = {e.value["error"]["message"] for e in examples() if e.status >= "400"}
        stages = [("dns", True, 2.1), ("tcp", False, 701.9)]
        result = {
            "code": Code.TCP_REFUSED,
            "message": Code.TCP_REFUSED.label,
            "details": {},
            "stages": [
                dict(zip(("stage", "ok", "milliseconds"), one, strict=True)) for one in stages
            ],
            "test_id": TEST_ID,
        }
        sentences = {NO_TOKEN, *EXPIRED.values(), KeyInUse.default_detail, KeyReused.default_detail}
        sentences |= {str(CredentialsUnconfirmed(["password"])), str(ConnectionFailed(result))}
        details = [e.value["error"]["details"] for e in examples() if e.status == "422"]
        self.assertIn(ConnectionFailed(result).details, details)
        for sentence in sentences:
            with self.subTest(sentence=sentence):
                self.assertIn(sentence, shown)


class OpenAPIExamplesOnTheDemoTests(TestCase):
    """Each example of a request, sent to the demo of `make run`."""

    owner: User

    @classmethod
    def setUpTestData(cls) -> None:
        restart_ids()
        password = SIGN_IN["examples"][0].value["password"]
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (folder / "demo_password").write_text(password)
        cls.enterClassContext(override_settings(LOCAL_DIR=folder, STORAGE_ROOT=folder / "storage"))
        call_command("demo", stdout=io.StringIO())
        cls.owner = User.objects.get(username="demo-owner")

    def send(self, where: str, value: Any = None, media_type: str = "application/json") -> Any:
        """Send a request as the owner of the demo, with the example values in its path."""
        method, path = where.split(" ")
        operation = next(operation for name, operation in operations() if name == where)
        for parameter in map(resolve, operation.get("parameters", ())):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        restart_ids()
        content: Any = (
            {} if value is None else {"data": json.dumps(value), "content_type": media_type}
        )
        headers = {"Authorization": bearer(self.owner)}
        return APIClient().generic(method, path, headers=headers, **content)

    def test_each_example_of_a_body_is_accepted(self):
        key = {"key": HOST_KEY, "fingerprint": FINGERPRINT}
        result = {"ok": False, "version": 1, "ssh_host_key": key}
        DataSource.objects.filter(pk=1).record_test(result, version=1)
        count = 0
        for example in examples():
            if example.status or example.where in UNKNOWABLE:
                continue
            with self.subTest(where=example.where, name=example.name), transaction.atomic():
                response = self.send(example.where, example.value, example.media_type)
                self.assertLess(response.status_code, 300, response.content)
                transaction.set_rollback(True)
                count += 1
        self.assertGreater(count, 15)

    def test_first_example_of_an_answer_is_that_to_the_first_example_of_a_body(self):
        bodies = {
            example.where: example for example in reversed([*examples()]) if not example.status
        }
        for where, body in bodies.items():
            if where in UNKNOWABLE or "ssh-host-key" in where:
                continue
            with self.subTest(where=where), transaction.atomic():
                response = self.send(where, body.value, body.media_type)
                answer = next(
                    example
                    for example in examples()
                    if (example.where, example.status) == (where, str(response.status_code))
                )
                self.assertEqual(steady(response.json()), steady(answer.value))
                transaction.set_rollback(True)

    def test_examples_of_reading_show_the_demo(self):
        for path in (
            "/me",
            "/organizations",
            "/organizations/{organization_id}",
            "/organizations/{organization_id}/members",
            "/organizations/{organization_id}/workspaces",
            "/data-sources",
            "/data-sources/{data_source_id}",
        ):
            where = f"GET /api/v1{path}"
            with self.subTest(where=where):
                answer = next(e for e in examples() if (e.where, e.status) == (where, "200"))
                self.assertEqual(steady(self.send(where).json()), steady(answer.value))
