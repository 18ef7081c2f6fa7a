"""Which changes of an OpenAPI document break a client."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from rivergen.http.openapi.view import document
from tests.openapi.comparing import compare, report

Mutation = Callable[[Any], None]

SOURCES = "/api/v1/data-sources"
LIST, CREATE = ("paths", SOURCES, "get"), ("paths", SOURCES, "post")
SOURCE = ("paths", f"{SOURCES}/{{data_source_id}}")
GET, UPDATE = (*SOURCE, "get"), (*SOURCE, "patch")
SIGN_IN = ("paths", "/api/v1/auth/token", "post")
PARAMETERS = ("components", "parameters")
SCHEMAS = ("components", "schemas")
TEXT = {"type": "string"}
NULL = {"type": "null"}
REFUSED = {"description": "New."}
PAGE_SIZE = (*PARAMETERS, "page_size", "schema")


def at(api: Any, *steps: Any) -> Any:
    """Return what is at a place of the document."""
    for step in steps:
        api = api[step]
    return api


def members(name: str, *steps: str) -> tuple[Any, ...]:
    """Return the place of the properties of a component, or one below it."""
    return (*SCHEMAS, name, "properties", *steps)


def put(value: Any, *steps: Any) -> Mutation:
    """Return the change that sets a member."""
    return lambda api: at(api, *steps[:-1]).update({steps[-1]: copy.deepcopy(value)})


def remove(*steps: Any) -> Mutation:
    """Return the change that removes a member, or the last item for -1."""
    return lambda api: at(api, *steps[:-1]).pop(steps[-1])


def append(value: Any, *steps: Any) -> Mutation:
    """Return the change that appends to an array."""
    return lambda api: at(api, *steps).append(copy.deepcopy(value))


def drop(value: Any, *steps: Any) -> Mutation:
    """Return the change that removes a value from an array."""
    return lambda api: at(api, *steps).remove(value)


def both(*mutations: Mutation) -> Mutation:
    """Return several changes as one."""

    def mutate(api: Any) -> None:
        for mutation in mutations:
            mutation(api)

    return mutate


def parameter(*, required: bool) -> Any:
    """Return a parameter that is new."""
    return {"in": "query", "name": "new", "schema": TEXT, "required": required}


def rename(old: str, new: str) -> Mutation:
    """Return the change that gives a component another name."""

    def mutate(api: Any) -> None:
        text = json.dumps(api).replace(f'/{old}"', f'/{new}"').replace(f'"{old}":', f'"{new}":')
        api.update(json.loads(text))

    return mutate


BREAKING: dict[str, Mutation] = {
    "a path removed": remove("paths", "/api/v1/me"),
    "an operation removed": remove(*SOURCE, "delete"),
    "an operation renamed": put("fetchDataSource", *GET, "operationId"),
    "an operation in another group": put(["Other"], *GET, "tags"),
    "a component renamed": rename("DataSourceUpdate", "DataSourcePatch"),
    "credentials needed": put([{"bearer": []}], *SIGN_IN, "security"),
    "a parameter removed": remove(*LIST, "parameters", -1),
    "a new parameter required": append(parameter(required=True), *LIST, "parameters"),
    "a parameter required": put(True, *PARAMETERS, "page_size", "required"),
    "a shared parameter narrower": put(100, *PAGE_SIZE, "maximum"),
    "a default changed": put(20, *PAGE_SIZE, "default"),
    "a body required": put({"required": True, "content": {}}, *GET, "requestBody"),
    "a media type refused": remove(
        *UPDATE, "requestBody", "content", "application/merge-patch+json"
    ),
    "a success removed": remove(*CREATE, "responses", "201"),
    "a success added": put(REFUSED, *CREATE, "responses", "202"),
    "a header removed": remove(*GET, "responses", "200", "headers", "ETag"),
    "a shared envelope changed": remove(*members("Pagination", "next")),
    "a property of a response removed": remove(*members("DataSource", "port")),
    "a property of a response not required": drop("port", *SCHEMAS, "DataSource", "required"),
    "a property of a response nullable": put(
        ["integer", "null"], *members("DataSource", "id", "type")
    ),
    "a property of a response of another type": put(
        ["string", "null"], *members("DataSource", "port", "type")
    ),
    "a property of a response of another format": remove(*members("DataSource", "id", "format")),
    "items of a response of another type": put(
        {"type": "integer"}, *members("DataSource", "tags", "items")
    ),
    "members of a map changed": remove(*members("FieldChange", "from")),
    "any members in a map": remove(*SCHEMAS, "Changes", "additionalProperties"),
    "other alternatives of a response": put(
        {"oneOf": [TEXT, {"type": "boolean"}, NULL]}, *members("DataSource", "last_test")
    ),
    "a property of a request removed": remove(*members("DataSourceUpdate", "port")),
    "a property of a request required": append("host", *SCHEMAS, "DataSourceCreate", "required"),
    "a new required property of a request": both(
        put(TEXT, *members("TokenRequest", "code")),
        append("code", *SCHEMAS, "TokenRequest", "required"),
    ),
    "null refused": put("integer", *members("DataSourceUpdate", "port", "type")),
    "a shorter text": put(100, *members("DataSourceUpdate", "name", "maxLength")),
    "a higher minimum": put(2, *members("DataSourceUpdate", "port", "minimum")),
    "a new pattern": put("^a", *members("TokenRequest", "password", "pattern")),
    "values limited": put(["a"], *members("TokenRequest", "password", "enum")),
    "a value removed": drop("csv", *SCHEMAS, "DataSourceType", "enum"),
    "a value of a response added": append("new", *SCHEMAS, "SchemaStatus", "enum"),
    "any value in a response": remove(*SCHEMAS, "SchemaStatus", "enum"),
    "members of metadata refused": put(
        False, *members("DataSourceUpdate", "metadata", "additionalProperties")
    ),
}
HARMLESS: dict[str, Mutation] = {
    "a path added": put({"get": {"responses": {}}}, "paths", "/api/v1/new"),
    "an operation added": put({"responses": {}}, *SOURCE, "put"),
    "credentials no longer needed": put([], *GET, "security"),
    "a parameter added": append(parameter(required=False), *LIST, "parameters"),
    "a media type added": put(
        {"schema": TEXT}, *UPDATE, "requestBody", "content", "application/xml"
    ),
    "a failure added": put(REFUSED, "paths", "/api/v1/me", "get", "responses", "409"),
    "a failure removed": remove(*GET, "responses", "404"),
    "a header added": put({"schema": TEXT}, *GET, "responses", "200", "headers", "Age"),
    "a property of a response added": put(TEXT, *members("DataSource", "new")),
    "a new required property of a response": both(
        put(TEXT, *members("DataSource", "new")),
        append("new", *SCHEMAS, "DataSource", "required"),
    ),
    "a property of a request added": put(TEXT, *members("DataSourceUpdate", "new")),
    "a property of a request not required": drop("password", *SCHEMAS, "TokenRequest", "required"),
    "a longer text": put(300, *members("DataSourceUpdate", "name", "maxLength")),
    "no pattern": remove(*members("DataSourceUpdate", "name", "pattern")),
    "null taken": put(["string", "null"], *members("DataSourceUpdate", "name", "type")),
    "null no longer returned": put("integer", *members("DataSource", "port", "type")),
}
SILENT: dict[str, Mutation] = {
    "words": put("Other words.", *GET, "description"),
    "an example": put(["Orders"], *members("DataSource", "name", "examples")),
    "a code of an open list": append("NEW", *SCHEMAS, "ErrorCode", "x-extensible-enum"),
    "a component that nothing uses": put({}, *SCHEMAS, "New"),
}


def changes_of(mutation: Mutation) -> Any:
    before: Any = document()
    after = copy.deepcopy(before)
    mutation(after)
    assert before != after
    return compare(before, after)


@pytest.mark.parametrize("name", BREAKING)
def test_change_that_breaks_clients(name: str) -> None:
    changes = changes_of(BREAKING[name])
    assert any(change.breaks for change in changes)
    assert report(changes).startswith("Breaks clients:\n  ")


@pytest.mark.parametrize("name", HARMLESS)
def test_change_that_breaks_no_client(name: str) -> None:
    changes = changes_of(HARMLESS[name])
    assert changes
    assert not [change for change in changes if change.breaks]
    assert report(changes).startswith("Breaks no client.\nDoes not break clients:\n  ")


@pytest.mark.parametrize("name", SILENT)
def test_change_of_words_is_no_change_for_clients(name: str) -> None:
    changes = changes_of(SILENT[name])
    assert changes == []
    assert report(changes) == "Only words, examples or the order have changed."


def test_each_change_is_reported_once_and_by_the_name_of_its_component() -> None:
    changes = changes_of(BREAKING["a property of a response removed"])
    assert [str(change) for change in changes] == ["DataSource.port: was removed"]
    before: Any = document()
    assert compare(before, before) == []
