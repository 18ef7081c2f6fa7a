"""openapi.json as generators of clients read it: names, components, types, and what is shared."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from rivergen.http.openapi.document import schemas
from rivergen.http.openapi.view import document

METHODS = ("get", "post", "put", "patch", "delete")
OPERATION_IDS = {
    ("post", "/auth/token"): "createToken",
    ("post", "/auth/token/refresh"): "refreshToken",
    ("get", "/me"): "getMe",
    ("get", "/data-source-types"): "listDataSourceTypes",
    ("get", "/data-sources"): "listDataSources",
    ("post", "/data-sources"): "createDataSource",
    ("get", "/data-sources/{data_source_id}"): "getDataSource",
    ("patch", "/data-sources/{data_source_id}"): "updateDataSource",
    ("delete", "/data-sources/{data_source_id}"): "deleteDataSource",
    ("post", "/data-sources/{data_source_id}/test"): "testDataSource",
    ("put", "/data-sources/{data_source_id}/credentials"): "replaceCredentials",
    ("post", "/data-sources/{data_source_id}/credentials/confirm"): "confirmCredentials",
    ("get", "/data-sources/{data_source_id}/schema"): "getSchema",
    ("post", "/data-sources/{data_source_id}/schema/refresh"): "refreshSchema",
    ("get", "/data-sources/{data_source_id}/schema/refresh"): "getSchemaRefresh",
    ("get", "/data-sources/{data_source_id}/schema/snapshots"): "listSchemaSnapshots",
    ("post", "/data-sources/{data_source_id}/history/{version}/restore"): "restoreDataSource",
    ("post", "/data-sources/apply"): "applyDeclarations",
    ("get", "/organizations/{organization_id}/members"): "listMembers",
    ("delete", "/organizations/{organization_id}/workspaces/{workspace_id}"): "deleteWorkspace",
}
# Words of Python, Django and DRF, which tell a client nothing.
PRIVATE = re.compile(
    r"\b([Ss]erializers?|[Qq]ueryset|[Vv]iewset|validated_data|docstring|DRF|Django|kwargs)\b"
    r"|\bcontext\[|`\w+\(.*?\)`|\b(datasources|organizations|rivergen)\.\w|`[A-Z][a-z]+[A-Z]\w+`|\.py\b"
    r"|(?<![\w-])None(?![\w-])|\bTrue\b|\bFalse\b|\bRaises\b|\bself\."
)


@pytest.fixture(scope="module")
def api() -> Any:
    """Return the document as a client reads it."""
    return json.loads(json.dumps(document()))


def operations(api: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in api["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolve(api: Any, node: Any) -> Any:
    while "$ref" in node:
        _, *parts = node["$ref"].split("/")
        node = api
        for part in parts:
            node = node[part]
    return node


def all_schemas(api: Any) -> Iterator[Any]:
    yield from schemas([api["paths"], api["components"]])


def test_operation_ids_are_a_verb_and_a_noun(api):
    found = {}
    for path, method, operation in operations(api):
        found[method, path.removeprefix("/api/v1")] = operation["operationId"]
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", operation["operationId"])
    assert {key: found.get(key) for key in OPERATION_IDS} == OPERATION_IDS
    assert len({*found.values()}) == len(found)


def test_component_names_are_not_those_of_the_framework(api):
    for name in api["components"]["schemas"]:
        assert not re.search(r"^(Patched|Paginated)|RequestRequest|Serializer|Enum$|Write", name)
        # Names of the languages that clients are generated for.
        assert name not in {
            *("Change", "Error", "Exception", "Index", "Null", "Object", "String", "Warning"),
        }


def test_no_name_is_used_for_two_kinds_of_components(api):
    # Generators for TypeScript export schemas, responses and parameters from one file.
    names = [
        re.sub(r"\W|_", "", name).casefold()
        for found in (api["components"][kind] for kind in ("schemas", "responses", "parameters"))
        for name in found
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_an_update_and_its_merge_patch_are_two_components(api):
    for path, method, operation in operations(api):
        content = operation.get("requestBody", {}).get("content", {})
        assert [*content][:1] in ([], ["application/json"])
        is_of_one = method == "patch" and path.endswith("}")
        assert not is_of_one or "application/merge-patch+json" in content
        if "application/merge-patch+json" in content:
            plain, merge = [one["schema"]["$ref"] for one in content.values()]
            assert plain.endswith("Update"), path
            assert merge == re.sub("Update$", "MergePatch", plain)
    components = api["components"]["schemas"]
    plain, merge = components["DataSourceUpdate"], components["DataSourceMergePatch"]
    assert "RFC 7396" in merge["properties"]["metadata"]["description"]
    assert [*plain["properties"]] == [*merge["properties"]]


def test_metadata_takes_any_json(api):
    for name in ("DataSource", "DataSourceCreate", "DataSourceUpdate", "DataSourceMergePatch"):
        metadata = api["components"]["schemas"][name]["properties"]["metadata"]
        assert (metadata["type"], metadata["additionalProperties"]) == ("object", {})
        assert "propertyNames" not in metadata


def test_objects_without_properties_say_what_their_members_are(api):
    for schema in all_schemas(api):
        types = schema.get("type", ())
        if types == "object" or (isinstance(types, list) and "object" in types):
            assert schema.get("properties") or "additionalProperties" in schema, schema


def test_results_and_changes_are_typed(api):
    components = api["components"]["schemas"]
    changes = {"$ref": "#/components/schemas/Changes"}
    for name in ("DataSourceRevision", "PlanStep"):
        assert without_words(components[name]["properties"]["changes"]) == changes
    assert [*resolve(api, components["Changes"]["additionalProperties"])["properties"]] == [
        "from",
        "to",
    ]
    assert components["DataSource"]["properties"]["last_test"]["oneOf"] == [
        {"$ref": "#/components/schemas/ConnectionTest"},
        {"type": "null"},
    ]


def test_integers_that_may_pass_32_bits_are_int64(api):
    integers = []
    for schema in all_schemas(api):
        types = schema.get("type", ())
        if types == "integer" or (isinstance(types, list) and "integer" in types):
            integers.append(schema)
            is_small = schema.get("maximum", 2**31) < 2**31 or schema.get("format") == "int32"
            assert is_small != (schema.get("format") == "int64"), schema
    assert len(integers) > 50
    assert components_of(api, "DataSource")["id"]["format"] == "int64"
    assert components_of(api, "DataSource")["port"]["format"] == "int32"
    assert components_of(api, "DataSourceUpdate")["port"]["maximum"] == 65_535
    # What is no column: sizes, counts and versions may be large.
    assert components_of(api, "Table")["row_estimate"]["format"] == "int64"


def components_of(api: Any, name: str) -> Any:
    return api["components"]["schemas"][name]["properties"]


def test_patterns_are_understood_in_every_language(api):
    # Go's regular expressions (RE2) have neither \u nor assertions.
    patterns = {schema["pattern"] for schema in all_schemas(api) if "pattern" in schema}
    assert patterns
    assert not [pattern for pattern in patterns if re.search(r"\\u|\(\?[=!<]", pattern)]


def without_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without its description."""
    return {name: value for name, value in schema.items() if name != "description"}


def test_envelopes_are_components_whose_success_is_a_constant(api):
    for path, method, operation in operations(api):
        for status, response in operation["responses"].items():
            content = resolve(api, response).get("content", {})
            for media in content.values():
                assert re.fullmatch(r"#/components/schemas/\w+Response", media["schema"]["$ref"])
                envelope = resolve(api, media["schema"])
                success = without_words(envelope["properties"]["success"])
                is_success = {"const": status < "400"}
                assert success == is_success, (path, method, status)
                if pagination := envelope["properties"].get("pagination"):
                    assert pagination["$ref"] == "#/components/schemas/Pagination"


def test_enumerations_that_are_components_have_no_value_in_common(api):
    # Generators for Go make one constant for each value, in one package.
    values = Counter(
        value.casefold()
        for schema in api["components"]["schemas"].values()
        for value in schema.get("enum", ())
    )
    assert values["postgresql"] == 1
    assert not [value for value, count in values.items() if count > 1]


def test_values_that_only_responses_have_are_open(api):
    # A client that was generated from an `enum` raises an error for a value that is new.
    for component, name in (
        ("DataSource", "type"),
        ("DataSourceTypeInfo", "type"),
        ("DataSourceRevision", "origin"),
        ("ConnectionTestStage", "stage"),
        ("Table", "kind"),
        ("Column", "common_type"),
    ):
        schema = api["components"]["schemas"][component]["properties"][name]
        assert schema["type"] == "string", component
        assert "enum" not in schema, component
        assert "list may grow" in schema["description"], component
    sent = api["components"]["schemas"]["DataSourceCreate"]["properties"]["type"]
    assert "postgresql" in resolve(api, sent)["enum"]


def test_lists_of_codes_are_open(api):
    # A closed enumeration would make older clients fail on each code that is new.
    for name in ("ErrorCode", "ConnectionTestCode"):
        schema = api["components"]["schemas"][name]
        assert "enum" not in schema
        assert "CREDENTIALS_UNCONFIRMED" in schema["x-extensible-enum"]


def test_repeated_parts_of_the_document_are_components(api):
    failures: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    headers: Counter[str] = Counter()
    for _, _, operation in operations(api):
        parameters.update(map(json.dumps, operation.get("parameters", ())))
        for status, response in operation["responses"].items():
            headers.update(map(json.dumps, response.get("headers", {}).values()))
            if status >= "400":
                failures[json.dumps(response)] += 1
    # A failure with examples of its own stays where it is; the examples are components.
    assert sum(n for text, n in failures.items() if "$ref" not in json.loads(text)) < 30
    assert max(parameters.values()) > 10
    for counts in (parameters, headers):
        inline = {text: n for text, n in counts.items() if "$ref" not in json.loads(text)}
        # Of several with one name, the most frequent is the component.
        assert max(inline.values(), default=0) < 4
    assert {"BadRequest", "Unauthorized", "Conflict", "PreconditionFailed"} <= {
        *api["components"]["responses"]
    }
    assert {"X-Request-ID", "ETag", "Retry-After"} <= {*api["components"]["headers"]}
    assert {"If-Match", "Idempotency-Key"} <= {*api["components"]["parameters"]}
    assert len(json.dumps(api, separators=(",", ":"))) < 250_000


def test_servers_tags_and_security_are_declared(api):
    assert [server["url"] for server in api["servers"]] == ["/"]
    names = [tag["name"] for tag in api["tags"]]
    assert names[:3] == ["Sign-in", "Data sources", "Credentials"]
    assert all(tag["description"].endswith(".") for tag in api["tags"])
    used = {tag for _, _, operation in operations(api) for tag in operation["tags"]}
    assert used == {*names}
    assert {"title", "description", "version", "license", "contact"} <= {*api["info"]}
    assert api["security"] == [{"bearer": []}]
    assert all("security" in operation for _, _, operation in operations(api))


def test_time_to_wait_is_a_number_wherever_a_response_may_have_it(api):
    for path, method, operation in operations(api):
        for status in {"409", "429", "503"} & {*operation["responses"]}:
            headers = resolve(api, operation["responses"][status])["headers"]
            header = resolve(api, headers["Retry-After"])
            assert header["schema"]["type"] == "integer", (path, method)
            assert header["required"] == (status != "409")


def test_conditional_get_is_described(api):
    for path, _, operation in operations(api):
        if "304" in operation["responses"]:
            names = {resolve(api, one)["name"] for one in operation["parameters"]}
            assert "If-None-Match" in names, path
            assert "ETag" in operation["responses"]["304"]["headers"]


def test_descriptions_have_no_words_of_ours(api):
    texts = [
        str(text)
        for schema in all_schemas(api)
        for text in (schema.get("description"), schema.get("summary"), schema.get("title"))
        if isinstance(text, str)
    ]
    assert len(texts) > 100
    assert not [found.group() for text in texts if (found := PRIVATE.search(text))]


def test_only_members_that_are_always_there_are_constants(api):
    # For an optional constant, openapi-python-client writes invalid code.
    for name, schema in api["components"]["schemas"].items():
        for member, described in schema.get("properties", {}).items():
            assert "const" not in described or member in schema["required"], (name, member)


def test_constants_are_no_booleans_by_type(api):
    # openapi-generator compares a constant with its text: True with 'true', if it is a boolean.
    assert not [s for s in schemas(api) if "const" in s and s.get("type") == "boolean"]


def test_no_component_has_a_property_of_its_own_name(api):
    # openapi-python-client gives one variable to both, which does not type-check.
    for name, schema in api["components"]["schemas"].items():
        snake_case = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
        assert snake_case not in schema.get("properties", {}), name


def test_many_updates_need_the_list_of_updates(api):
    for name in ("DataSourcesUpdate", "DataSourcesMergePatch"):
        assert api["components"]["schemas"][name]["required"] == ["updates"]
