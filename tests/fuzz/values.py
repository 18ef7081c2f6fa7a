"""Generate JSON for a schema: valid, at its limits, or wrong on purpose."""

import copy
import itertools
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from datasources.connections.testing.private_keys import service_account
from rivergen.testing.naughty_strings import STRINGS

WORDS = ("orders", "db", "a", "x1", "Bücher", "日本", "report-2024", "k", "zz top", "É")
HOSTS = ("db.example.com", "10.1.2.3", "2001:db8::1", "bücher.example", "a_b.internal")
URLS = (
    "postgresql://reader@db.example.com:5432/orders?sslmode=require",
    "postgresql://reader:secret@db.example.com/orders",
    "mysql://db.example.com/orders",
)
PATHS = ("orders.csv", "a/b/c.parquet", "2024/é.json")
BY_FORMAT = {
    "host": HOSTS,
    "connection-string": URLS,
    "object-path": PATHS,
    "json-object": ("{}", '{"type": "service_account"}', service_account()),
    "entity-tag": ("*", '"1"', '"2", "3"', 'W/"1"', '"x"'),
    "date-time": ("2024-12-01T11:00:00Z", "2026-01-01T00:00:00.5+02:00"),
    "cursor": ("WyJuYW1lIixmYWxzZSwiYSIsMV0", "MS4x", "MS4wLjE", "WyJpZCIsZmFsc2UsMSwxXQ"),
}
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 0.5, 2**31, 2**63, -(2**64), 1e308, 5e-324, "", "1"),
    *([], {}, [[]], [None], {"": ""}, ["a"] * 51, ["a", "a"], {"password": "x"}, {"a": {"b": []}}),
)
RAW = (
    *(b"", b"{", b"null", b"[]", b'"a"', b"1", b"{}{}", b'{"name": "\xff"}', b"\xef\xbb\xbf{}"),
    *(b'{"port": NaN}', b'{"port": 1e999}', b'{"name": "a", "name": "b"}', b"{'a': 1}", b"name=a"),
    *(b"[" * 100_000, b'{"metadata":' * 5_000, b'{"name": "\\ud800"}', b" " * 70_000, b"\0"),
    b'{"description": "' + b"a" * 1_048_600 + b'"}',
)
numbers = itertools.count(1)


def parameters_of(document: Any, operation: Any) -> list[Any]:
    """Return the parameters of an operation, those that are components included."""
    shared = document["components"]["parameters"]
    return [
        shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        for one in operation.get("parameters", ())
    ]


class Schemas:
    """The schemas of an OpenAPI document."""

    def __init__(self, document: Any) -> None:
        self.components = document["components"]["schemas"]

    def resolve(self, schema: Any) -> Any:
        """Follow `$ref` and `allOf`, and return the OpenAPI schema that they lead to."""
        while "$ref" in schema or "allOf" in schema:
            schema = schema["allOf"][0] if "allOf" in schema else schema
            schema = self.components[schema["$ref"].rpartition("/")[2]]
        return schema

    def texts(self, schema: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the places of a body that take text, as keys and indexes; `*` is any key."""
        schema = self.resolve(schema)
        types = schema.get("type", ())
        if types == "string" or "string" in types:
            yield ()
        elif types == "array":
            yield from ((0, *place) for place in self.texts(schema["items"]))
        elif "properties" in schema:
            for name, member in schema["properties"].items():
                yield from ((name, *place) for place in self.texts(member))
        elif types == "object":
            yield ("*",)

    def make(self, schema: Any, random: Random) -> Any:
        """Return a random value that is valid by the schema."""
        schema = self.resolve(schema)
        types = schema.get("type", "string")
        if not isinstance(types, str):
            if "null" in types and random.random() < 0.15:
                return None
            types = next(one for one in types if one != "null")
        if "enum" in schema:
            return random.choice([one for one in schema["enum"] if one is not None])
        if types == "object":
            return self.make_object(schema, random)
        if types == "array":
            most = min(schema.get("maxItems", 3), 3)
            return [self.make(schema["items"], random) for _ in range(random.randint(0, most))]
        if types == "boolean":
            return random.random() < 0.5
        if types == "integer":
            low, high = schema.get("minimum", 1), schema.get("maximum", 100)
            return random.choice((low, high, random.randint(low, high), random.randint(low, high)))
        return self.make_text(schema, random)

    def make_object(self, schema: Any, random: Random) -> dict[str, Any]:
        """Return a random object with a small or large share of its optional properties."""
        if "properties" not in schema:
            return {random.choice(WORDS): random.choice(WRONG) for _ in range(random.randint(0, 3))}
        required = schema.get("required", ())
        share = random.choice((0.05, 0.2, 0.9))
        return {
            name: self.make(member, random)
            for name, member in schema["properties"].items()
            if name in required or random.random() < share
        }

    @staticmethod
    def make_text(schema: Any, random: Random) -> str:
        """Return a random text of the format, sometimes as long as allowed or one longer."""
        form = schema.get("format")
        if form == "name":
            return f"{random.choice(WORDS)} {next(numbers)}"
        if form in BY_FORMAT:
            return random.choice(BY_FORMAT[form])
        most = schema.get("maxLength", 50)
        if random.random() < 0.05:
            return "a" * random.choice((most, most + 1))
        return random.choice(WORDS)[:most]


def put(body: Any, place: tuple[Any, ...], text: Any) -> Any:
    """Return a copy of a body with another value at a place, creating the containers on the way."""
    if not place:
        return text
    [step, *rest] = place
    if isinstance(step, int):
        items = list(body) if isinstance(body, list) and body else [None]
        return [put(items[0], tuple(rest), text), *items[1:]]
    members = dict(body) if isinstance(body, dict) else {}
    if step == "*":
        return {**members, str(text): text}
    return {**members, step: put(members.get(step), tuple(rest), text)}


def spoil(body: Any, random: Random) -> Any:
    """Return a copy of a body with one random mistake at a random place."""
    body = copy.deepcopy(body)
    container: Any = None
    key: Any = None
    value = body
    while isinstance(value, dict | list) and value and (container is None or random.random() < 0.7):
        container = value
        key = random.choice([*value] if isinstance(value, dict) else range(len(value)))
        value = value[key]
    kind = random.randrange(5)
    if container is None or (kind == 0 and isinstance(container, dict)):
        name = random.choice(
            (*STRINGS, "passwort", "nmae", "id", "version", "created_at", "password")
        )
        (container if isinstance(container, dict) else body)[name] = random.choice(WRONG)
    elif kind == 1:
        del container[key]
    elif kind == 2:
        container[key] = random.choice(STRINGS)
    elif kind == 3 and type(value) is int:
        container[key] = random.choice((value - 1, value + 1, -value, value * 10**6, str(value)))
    else:
        container[key] = random.choice(WRONG)
    return body


def as_json(body: Any) -> bytes:
    """Return a body as UTF-8 JSON; lone surrogates make it ASCII with escapes."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()
