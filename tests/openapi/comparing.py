"""What changed between two versions of an OpenAPI document, and whether that breaks a client.

A client may be generated code: a name that it uses must stay, too. What a server takes may only
get more; what it returns may only get more members, and no values of a new kind.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

METHODS = ("get", "post", "put", "patch", "delete")
ANY = {"array", "boolean", "null", "number", "object", "string"}
# Limits of a request, and whether a new one is stricter than the one before.
LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("maximum", "maxLength", "maxItems"), lambda old, new: new < old),
    **dict.fromkeys(("minimum", "minLength", "minItems"), lambda old, new: new > old),
    **dict.fromkeys(("pattern", "uniqueItems", "propertyNames"), lambda old, new: new != old),
}


class Change(NamedTuple):
    """One difference: where, what, and whether a client may break."""

    breaks: bool
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Schema(NamedTuple):
    """A schema without its wrapping: the component's name, its members, and its JSON types."""

    name: str
    members: dict[str, Any]
    types: set[str]


def compare(before: Any, after: Any) -> list[Change]:
    """Return the changes from one OpenAPI document to another."""
    return [*dict.fromkeys(Comparison(before, after).operations())]


def report(changes: list[Change]) -> str:
    """Return the changes as text, those that break clients first."""
    breaking = [f"  {change}" for change in changes if change.breaks]
    harmless = [f"  {change}" for change in changes if not change.breaks]
    if not breaking + harmless:
        return "Only words, examples or the order have changed."
    lines = ["Breaks clients:", *breaking] if breaking else ["Breaks no client."]
    lines += ["Does not break clients:", *harmless] if harmless else []
    return "\n".join(lines)


class Comparison:
    """The comparison of two documents; each component is compared once for each direction."""

    def __init__(self, before: Any, after: Any) -> None:
        self.before, self.after = before, after
        self.done: set[tuple[str, bool]] = set()

    def operations(self) -> Iterator[Change]:
        """Yield the changes of all operations."""
        old, new = by_method_and_path(self.before), by_method_and_path(self.after)
        for key in sorted(old.keys() - new.keys()):
            yield Change(True, key, "was removed")
        for key in sorted(new.keys() - old.keys()):
            yield Change(False, key, "was added")
        for key in sorted(old.keys() & new.keys()):
            yield from self.operation(key, old[key], new[key])

    def operation(self, where: str, old: Any, new: Any) -> Iterator[Change]:
        """Yield the changes of one operation."""
        for name in ("operationId", "tags"):
            if old.get(name) != new.get(name):
                yield Change(True, where, f"{name} is {new.get(name)}, was {old.get(name)}")
        if old.get("security") != new.get("security"):
            yield Change(any(new.get("security", ())), where, "needs other credentials")
        yield from self.parameters(where, old, new)
        old_body, new_body = old.get("requestBody", {}), new.get("requestBody", {})
        if new_body.get("required") and not old_body.get("required"):
            yield Change(True, f"{where} body", "is required now")
        yield from self.contents(f"{where} body", old_body, new_body, is_request=True)
        yield from self.responses(where, old["responses"], new["responses"])

    def parameters(self, where: str, old: Any, new: Any) -> Iterator[Change]:
        """Yield the changes of the parameters of an operation."""
        befores = self.named_parameters(self.before, old)
        afters = self.named_parameters(self.after, new)
        for name in sorted(befores.keys() - afters.keys()):
            yield Change(True, f"{where} {name}", "was removed")
        for name, after in afters.items():
            before, here = befores.get(name), f"{where} {name}"
            if before is None:
                yield Change(bool(after.get("required")), here, "was added")
                continue
            if after.get("required") and not before.get("required"):
                yield Change(True, here, "is required now")
            yield from self.schema(here, before["schema"], after["schema"], is_request=True)

    def named_parameters(self, document: Any, operation: Any) -> dict[str, Any]:
        """Return the parameters of an operation by place and name."""
        found = [resolve(document, one) for one in operation.get("parameters", ())]
        return {f"{one['in']} parameter {one['name']}": one for one in found}

    def responses(self, where: str, old: Any, new: Any) -> Iterator[Change]:
        """Yield the changes of the responses of an operation. A failure may come and go."""
        for status in sorted(old.keys() ^ new.keys()):
            what = "was removed" if status in old else "was added"
            yield Change(status < "400", f"{where} {status}", what)
        for status in sorted(old.keys() & new.keys()):
            before = resolve(self.before, old[status])
            after = resolve(self.after, new[status])
            here = f"{where} {status}"
            old_headers, new_headers = {*before.get("headers", ())}, {*after.get("headers", ())}
            for name in sorted(old_headers - new_headers):
                yield Change(True, f"{here} header {name}", "was removed")
            for name in sorted(new_headers - old_headers):
                yield Change(False, f"{here} header {name}", "was added")
            yield from self.contents(here, before, after, is_request=False)

    def contents(self, where: str, old: Any, new: Any, *, is_request: bool) -> Iterator[Change]:
        """Yield the changes of a body, for each media type."""
        befores, afters = old.get("content", {}), new.get("content", {})
        for media_type in sorted(befores.keys() - afters.keys()):
            yield Change(True, f"{where} as {media_type}", "was removed")
        for media_type, after in afters.items():
            if before := befores.get(media_type):
                yield from self.schema(where, before["schema"], after["schema"], is_request)
            else:
                yield Change(False, f"{where} as {media_type}", "was added")

    def schema(self, where: str, old: Any, new: Any, is_request: bool) -> Iterator[Change]:
        """Yield the changes of a schema."""
        before, after = unwrap(self.before, old), unwrap(self.after, new)
        if before.name and before.name == after.name:
            where = before.name
            if (where, is_request) in self.done:
                return
            self.done.add((where, is_request))
        elif before.name and after.name:
            yield Change(True, where, f"is called {after.name}, was {before.name}")
        yield from types_and_values(where, before, after, is_request)
        yield from self.properties(where, before.members, after.members, is_request)
        for name in ("items", "additionalProperties"):
            # Nothing said, true and {} are the same.
            old_member = before.members.get(name) or before.members.get(name) is not False
            new_member = after.members.get(name) or after.members.get(name) is not False
            if isinstance(old_member, dict) and isinstance(new_member, dict):
                yield from self.schema(f"{where} {name}", old_member, new_member, is_request)
            elif old_member != new_member:
                breaks = new_member is not True if is_request else old_member is not True
                yield Change(breaks, f"{where} {name}", "is another")
        yield from self.variants(where, before.members, after.members, is_request)

    def properties(self, where: str, old: Any, new: Any, is_request: bool) -> Iterator[Change]:
        """Yield the changes of the properties of an object."""
        befores, afters = old.get("properties", {}), new.get("properties", {})
        old_required, new_required = {*old.get("required", ())}, {*new.get("required", ())}
        for name in sorted(befores.keys() - afters.keys()):
            yield Change(True, f"{where}.{name}", "was removed")
        for name in sorted(afters.keys() - befores.keys()):
            breaks = is_request and name in new_required
            yield Change(breaks, f"{where}.{name}", "was added" + " as required" * breaks)
        for name in sorted(befores.keys() & afters.keys()):
            if (name in old_required) != (name in new_required):
                is_required = name in new_required
                what = "is required now" if is_required else "is not required any more"
                yield Change(is_request == is_required, f"{where}.{name}", what)
            yield from self.schema(f"{where}.{name}", befores[name], afters[name], is_request)

    def variants(self, where: str, old: Any, new: Any, is_request: bool) -> Iterator[Change]:
        """Yield the changes of `oneOf`, `anyOf` and `allOf`."""
        for name in ("oneOf", "anyOf", "allOf"):
            befores, afters = old.get(name, ()), new.get(name, ())
            for before, after in zip(befores, afters, strict=False):
                yield from self.schema(where, before, after, is_request)
            if len(befores) != len(afters):
                what = f"has {len(afters)} alternatives, had {len(befores)}"
                yield Change(True, where, what)


def types_and_values(
    where: str, before: Schema, after: Schema, is_request: bool
) -> Iterator[Change]:
    """Yield the changes of the types, values and limits of a schema, not those of its members."""
    lost, won = before.types - after.types, after.types - before.types
    if lost or won:
        kinds = f"is {words(after.types)}, was {words(before.types)}"
        yield Change(bool(lost if is_request else won), where, kinds)
    old, new = before.members, after.members
    old_values, new_values = listed_values(old), listed_values(new)
    if old_values is None or new_values is None:
        if old_values != new_values:
            is_narrower = old_values is None
            what = "is limited to some values now" if is_narrower else "takes any value now"
            yield Change(is_narrower == is_request, where, what)
    else:
        if gone := old_values - new_values:
            yield Change(True, where, f"has lost {listed(gone)}")
        if come := new_values - old_values:
            # A client that was generated before does not know what a response brings.
            yield Change(not is_request, where, f"has got {listed(come)}")
    if old.get("format") != new.get("format"):
        yield Change(True, where, f"has format {new.get('format')}, had {old.get('format')}")
    if not is_request:
        return
    for name, is_stricter in LIMITS.items():
        if old.get(name) != new.get(name):
            limit = new.get(name)
            breaks = name in new and (name not in old or is_stricter(old[name], limit))
            yield Change(breaks, where, f"{name} is {limit}, was {old.get(name)}")
    if old.get("default") != new.get("default"):
        what = f"default is {new.get('default')}, was {old.get('default')}"
        yield Change(True, where, what)


def by_method_and_path(document: Any) -> dict[str, Any]:
    """Return the operations of a document, such as `PATCH /api/v1/data-sources`."""
    return {
        f"{method.upper()} {path}": item[method]
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def resolve(document: Any, node: Any) -> Any:
    """Return what a reference leads to; anything else as it is."""
    while "$ref" in node:
        _, _, kind, name = node["$ref"].split("/")
        node = document["components"][kind][name]
    return node


def unwrap(document: Any, schema: Any) -> Schema:
    """Return a schema without references, `allOf` of one, and `oneOf` with null."""
    name, is_nullable = "", False
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = resolve(document, schema)
        elif len(schema.get("allOf", ())) == 1:
            [schema] = schema["allOf"]
        elif {"type": "null"} in schema.get("oneOf", ()) and len(schema["oneOf"]) == 2:
            is_nullable = True
            [schema] = [one for one in schema["oneOf"] if one != {"type": "null"}]
        else:
            break
    types = schema.get("type", ANY)
    types = {types} if isinstance(types, str) else {*types}
    types |= {"integer"} if "number" in types else set()
    return Schema(name, schema, types | {"null"} if is_nullable else types)


def listed_values(schema: Any) -> set[Any] | None:
    """Return the values that a schema lists; None if it takes others."""
    if "const" in schema:
        return {schema["const"]}
    return {*schema["enum"]} if "enum" in schema else None


def words(types: set[str]) -> str:
    """Return types as text."""
    return "anything" if types >= ANY else " or ".join(sorted(types))


def listed(values: set[Any]) -> str:
    """Return values as text."""
    return ", ".join(sorted(map(str, values)))
