"""Which changes of an OpenAPI document break a client."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from rivergen.http.openapi import document
from tests.openapi.comparing import compare, report

SOURCES = "/api/v1/data-sources"
SOURCE = f"{SOURCES}/{{data_source_id}}"

Mutation = Callable[[Any], Any]


def component(name: str, kind: str = "schemas") -> Callable[[Any], Any]:
    return lambda api: api["components"][kind][name]


def properties(api: Any, name: str) -> Any:
    return api["components"]["schemas"][name]["properties"]


def add_parameter(api: Any, *, required: bool) -> None:
    new = {"in": "query", "name": "new", "schema": {"type": "string"}, "required": required}
    api["paths"][SOURCES]["get"]["parameters"].append(new)


def rename(api: Any, old: str, new: str) -> None:
    schemas = api["components"]["schemas"]
    schemas[new] = schemas.pop(old)
    for item in api["paths"].values():
        for operation in item.values():
            for one in operation.get("requestBody", {}).get("content", {}).values():
                if one["schema"]["$ref"].endswith(f"/{old}"):
                    one["schema"]["$ref"] = f"#/components/schemas/{new}"


BREAKING: dict[str, Mutation] = {
    "a path removed": lambda api: api["paths"].pop("/api/v1/me"),
    "an operation removed": lambda api: api["paths"][SOURCE].pop("delete"),
    "an operation renamed": lambda api: api["paths"][SOURCE]["get"].update(operationId="fetch"),
    "an operation in another group": lambda api: api["paths"][SOURCE]["get"].update(tags=["X"]),
    "a component renamed": lambda api: rename(api, "DataSourceUpdate", "DataSourcePatch"),
    "credentials needed": lambda api: api["paths"]["/api/v1/auth/token"]["post"].update(
        security=[{"bearer": []}]
    ),
    "a parameter removed": lambda api: api["paths"][SOURCES]["get"]["parameters"].pop(),
    "a parameter required": lambda api: add_parameter(api, required=True),
    "a shared parameter narrower": lambda api: api["components"]["parameters"]["page_size"][
        "schema"
    ].update(maximum=100),
    "a default changed": lambda api: api["components"]["parameters"]["page_size"]["schema"].update(
        default=20
    ),
    "a media type refused": lambda api: api["paths"][SOURCE]["patch"]["requestBody"]["content"].pop(
        "application/merge-patch+json"
    ),
    "a success with another status": lambda api: api["paths"][SOURCES]["post"]["responses"].update(
        {"202": api["paths"][SOURCES]["post"]["responses"].pop("201")}
    ),
    "a header removed": lambda api: api["paths"][SOURCE]["get"]["responses"]["200"]["headers"].pop(
        "ETag"
    ),
    "a property of a response removed": lambda api: properties(api, "DataSource").pop("port"),
    "a property of a response not required": lambda api: api["components"]["schemas"]["DataSource"][
        "required"
    ].remove("port"),
    "a property of a response nullable": lambda api: properties(api, "DataSource")["id"].update(
        type=["integer", "null"]
    ),
    "a property of a response of another type": lambda api: properties(api, "DataSource")[
        "port"
    ].update(type=["string", "null"]),
    "a property of a response of another format": lambda api: properties(api, "DataSource")[
        "id"
    ].pop("format"),
    "a property of a request removed": lambda api: properties(api, "DataSourceUpdate").pop("port"),
    "a property of a request required": lambda api: api["components"]["schemas"][
        "DataSourceCreate"
    ]["required"].append("host"),
    "a new required property of a request": lambda api: (
        properties(api, "TokenRequest").update(code={"type": "string"}),
        api["components"]["schemas"]["TokenRequest"]["required"].append("code"),
    ),
    "null refused": lambda api: properties(api, "DataSourceUpdate")["port"].update(type="integer"),
    "a shorter text": lambda api: properties(api, "DataSourceUpdate")["name"].update(maxLength=100),
    "a new pattern": lambda api: properties(api, "TokenRequest")["password"].update(pattern="^a"),
    "a value removed": lambda api: component("DataSourceType")(api)["enum"].remove("csv"),
    "a value of a response added": lambda api: component("SchemaStatus")(api)["enum"].append("new"),
    "unknown members refused": lambda api: properties(api, "DataSourceUpdate")["metadata"].update(
        additionalProperties=False
    ),
    "members of a map changed": lambda api: properties(api, "FieldChange").pop("from"),
    "items of a list changed": lambda api: properties(api, "DataSource")["tags"].update(
        items={"type": "integer"}
    ),
    "a shared envelope changed": lambda api: properties(api, "Pagination").pop("next"),
    "an alternative of a response": lambda api: properties(api, "DataSource").update(
        last_test={"oneOf": [{"type": "string"}, {"type": "boolean"}, {"type": "null"}]}
    ),
}
HARMLESS: dict[str, Mutation] = {
    "a path added": lambda api: api["paths"].update({"/api/v1/new": {"get": {"responses": {}}}}),
    "an operation added": lambda api: api["paths"][SOURCES].update(patch={"responses": {}}),
    "a parameter added": lambda api: add_parameter(api, required=False),
    "a failure added": lambda api: api["paths"]["/api/v1/me"]["get"]["responses"].update(
        {"409": {"description": "New."}}
    ),
    "a header added": lambda api: api["paths"][SOURCE]["get"]["responses"]["200"]["headers"].update(
        {"Age": {"schema": {"type": "string"}}}
    ),
    "a property of a response added": lambda api: properties(api, "DataSource").update(
        new={"type": "string"}
    ),
    "a property of a request added": lambda api: properties(api, "DataSourceUpdate").update(
        new={"type": "string"}
    ),
    "a property of a request not required": lambda api: api["components"]["schemas"][
        "TokenRequest"
    ]["required"].remove("password"),
    "a longer text": lambda api: properties(api, "DataSourceUpdate")["name"].update(maxLength=300),
    "null taken": lambda api: properties(api, "DataSourceUpdate")["name"].update(
        type=["string", "null"]
    ),
    "a code added": lambda api: component("ErrorCode")(api)["x-extensible-enum"].append("NEW"),
}
SILENT: dict[str, Mutation] = {
    "words": lambda api: api["paths"][SOURCE]["get"].update(description="Other words."),
    "an example": lambda api: properties(api, "DataSource")["name"].update(examples=["Orders"]),
    "a component used by nothing": lambda api: api["components"]["schemas"].update(New={}),
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
    assert not [change for change in changes if change.breaks]
    # A code is no limit: the list of codes is open.
    assert changes or name == "a code added"


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
