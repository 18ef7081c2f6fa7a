"""The last steps of building openapi.json: what is repeated becomes a component."""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from drf_spectacular.plumbing import deep_import_string
from drf_spectacular.settings import spectacular_settings

from rivergen.http.openapi.names import error_name
from rivergen.http.openapi.words import ENUMERATIONS
from rivergen.http.pagination import pagination_schema
from rivergen.http.responses import ERROR_CODES, EXACT_CODES

INT32_MAX = 2**31 - 1
METHODS = ("get", "post", "put", "patch", "delete")
# Members whose values are data, not schemas.
DATA = {"const", "default", "enum", "example", "examples"}
# drf-spectacular's own notes, and what is said already: requests and responses share no component.
DROPPED = ("readOnly", "writeOnly", "x-spec-enum-id")
# Lists of codes that grow. As an `enum`, a code that is new would break each client that was
# generated before.
OPEN_ENUMS = {"ConnectionTestCode", "ConnectionTestWarningCode"}
# What responses say about enumerations that requests have, too, and that may grow.
GROWING = {"DataSourceType": "One of `GET /data-source-types`"}
SCHEMA_REFERENCE = "#/components/schemas/"
# By status, if the failure has several codes.
FAILURE_NAMES = {422: "UNPROCESSABLE_CONTENT"}
SHARED_SCHEMAS: dict[str, Any] = {
    "Changes": {
        "type": "object",
        "description": "What changed, by field. Of a secret only the state is shown, such as "
        "`set` or `unset`.",
        "additionalProperties": {"$ref": "#/components/schemas/FieldChange"},
    },
    "ErrorCode": {
        "type": "string",
        "description": "What went wrong. The list may grow: treat a code that you do not know like "
        "the status of its response.",
        "x-extensible-enum": sorted([*ERROR_CODES.values(), *EXACT_CODES]),
    },
    "FieldChange": {
        "type": "object",
        "description": "The value of a field before and after a change, of any JSON type.",
        "properties": {
            "from": {"description": "The value before. Null if there was none."},
            "to": {"description": "The value after. Null if there is none any more."},
        },
        "required": ["from", "to"],
    },
    "Pagination": pagination_schema(),
}


class Place(NamedTuple):
    """Where the document has something that may be repeated elsewhere, and its name."""

    container: Any
    key: Any
    name: str

    @property
    def text(self) -> str:
        return json.dumps(self.container[self.key], default=str, sort_keys=True)


def finish(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """Return the document that drf-spectacular has built, with repetitions made components."""
    components = result["components"]
    components["schemas"] |= copy.deepcopy(SHARED_SCHEMAS)
    enums = Enums()
    for schema in [*schemas(result)]:
        finish_schema(schema)
        enums.refer(schema)
    components["schemas"] |= enums.components
    operations = [
        operation
        for item in result["paths"].values()
        for method, operation in item.items()
        if method in METHODS
    ]
    requests = [
        [operation.get("requestBody"), operation.get("parameters")] for operation in operations
    ]
    open_values(components["schemas"], requests)
    components["parameters"] = share("parameters", parameters(operations))
    components["headers"] = share("headers", headers(operations))
    components["examples"] = share("examples", examples(operations))
    components["responses"] = share("responses", failures(operations))
    for operation in operations:
        if not any(operation.get("security", [])):
            operation["security"] = []  # open to all
    result["security"] = [{"bearer": []}]
    for kind, found in components.items():
        components[kind] = dict(sorted(found.items()))
    return result


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object below a node that may be a schema, the outer ones first."""
    if isinstance(node, list):
        for item in node:
            yield from schemas(item)
    elif isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key == "properties":
                yield from (found for member in value.values() for found in schemas(member))
            elif key not in DATA:
                yield from schemas(value)


def finish_schema(schema: dict[str, Any]) -> None:
    """Set the format of integers that may need 64 bits, and remove useless keywords."""
    types = schema.get("type")
    is_integer = "integer" in types if isinstance(types, list) else types == "integer"
    if is_integer and schema.get("maximum", INT32_MAX + 1) > INT32_MAX:
        schema.setdefault("format", "int64")
    for name in DROPPED:
        schema.pop(name, None)
    if {*schema} <= {"allOf", "description"} and len(schema.get("allOf", ())) == 1:
        schema |= schema.pop("allOf")[0]


class Enums:
    """The enumerations that are components; all others stay where they are used.

    No two have a value in common, because generators for Go make one constant for each value.
    """

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self.choices: dict[frozenset[str], tuple[str, dict[str, str]]] = {}
        for name, path in spectacular_settings.ENUM_NAME_OVERRIDES.items():
            labels = dict(deep_import_string(path).choices)
            self.choices[frozenset(labels)] = name, labels

    def refer(self, schema: dict[str, Any]) -> None:
        """Replace an enumeration by a reference to its component."""
        values = schema.get("enum", ())
        name, labels = self.choices.get(frozenset(values) - {None}, ("", {}))
        if not name:
            return
        is_open = name in OPEN_ENUMS
        self.components[name] = {
            "type": "string",
            "description": describe_choices(ENUMERATIONS[name], labels),
            "x-extensible-enum" if is_open else "enum": [*labels],
        }
        del schema["enum"], schema["type"]
        reference = {"$ref": f"#/components/schemas/{name}"}
        if None in values:
            schema["oneOf"] = [reference, {"type": "null"}]
        else:
            schema |= reference


def open_values(components: dict[str, Any], requests: list[Any]) -> None:
    """Replace the enumerations in schemas that none of `requests` refers to by open lists.

    Generated code raises an error for a value that an `enum` lacks, and so loses the response.
    """
    for component in components.keys() - referred(requests, components):
        for schema in [*schemas(components[component])]:
            values = [value for value in schema.get("enum", ()) if value is not None]
            name = schema.get("$ref", "").removeprefix(SCHEMA_REFERENCE)
            if len(values) > 1:
                schema["x-extensible-enum"] = values
                del schema["enum"]
                growing = "One of " + ", ".join(f"`{value}`" for value in values)
            elif name in GROWING:
                del schema["$ref"]
                schema["type"] = "string"
                growing = GROWING[name]
            else:
                continue
            words = schema.get("description", "")
            schema["description"] = f"{words} {growing}; the list may grow.".strip()


def referred(node: Any, components: dict[str, Any]) -> set[str]:
    """Return the names of the schemas to which a node refers, directly or through others."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        text = json.dumps(waiting.pop(), default=str)
        names = {name for name in components if f'"{SCHEMA_REFERENCE}{name}"' in text} - found
        found |= names
        waiting += [components[name] for name in names]
    return found


def describe_choices(words: str, labels: dict[str, str]) -> str:
    """Return the description of an enumeration, with its labels if they say more than values."""
    if all(value.casefold() == str(label).casefold() for value, label in labels.items()):
        return words
    lines = [f"* `{value}`: {label}" for value, label in labels.items()]
    return "\n".join([words, "", *lines])


def parameters(operations: list[Any]) -> list[Place]:
    """Return the parameters of all operations."""
    return [
        Place(operation["parameters"], index, parameter["name"])
        for operation in operations
        for index, parameter in enumerate(operation.get("parameters", []))
    ]


def headers(operations: list[Any]) -> list[Place]:
    """Return the headers of all responses."""
    return [
        Place(
            response["headers"],
            name,
            f"{'' if header.get('required', True) else 'Optional-'}{name}",
        )
        for operation in operations
        for response in operation["responses"].values()
        for name, header in response.get("headers", {}).items()
    ]


def examples(operations: list[Any]) -> list[Place]:
    """Return the examples of all operations that are failures."""
    return [
        Place(media["examples"], name, name)
        for operation in operations
        for status, response in operation["responses"].items()
        if status >= "400"
        for media in response["content"].values()
        for name in media.get("examples", ())
    ]


def failures(operations: list[Any]) -> list[Place]:
    """Return the responses of all operations that are failures."""
    names = {status: error_name(code) for status, code in (ERROR_CODES | FAILURE_NAMES).items()}
    return [
        Place(operation["responses"], status, names[int(status)])
        for operation in operations
        for status in operation["responses"]
        if status >= "400"
    ]


def share(kind: str, places: list[Place]) -> dict[str, Any]:
    """Return the components for what is repeated, and refer to them in its places.

    Of several things with the same name, the most frequent becomes the component.
    """
    counts = Counter((place.name, place.text) for place in places)
    shared: dict[str, str] = {}
    for (name, text), count in counts.most_common():
        if count > 1:
            shared.setdefault(name, text)
    components = {}
    for place in places:
        if place.text == shared.get(place.name):
            components[place.name] = place.container[place.key]
            place.container[place.key] = {"$ref": f"#/components/{kind}/{place.name}"}
    return components
