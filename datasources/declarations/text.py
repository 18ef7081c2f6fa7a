"""A strict subset of YAML: values that JSON has, with the line of each value.

Scalars follow the core schema (YAML 1.2.2, section 10.3), so `no` and `2024-12-01` are strings.
Tags, anchors, duplicate keys and numbers with leading zeros are refused.
"""

import math
import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from datasources.declarations.problems import DeclarationError, Path, Problem, name_of
from rivergen.http.parsers import NumberReader, TooManyDigitsError

NULL, BOOLEAN, INTEGER, FLOAT, TEXT = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
PATTERNS = (
    (NULL, r"^(?:~|null|Null|NULL|)$"),
    (BOOLEAN, r"^(?:true|True|TRUE|false|False|FALSE)$"),
    (INTEGER, r"^[-+]?[0-9]+$"),
    (FLOAT, r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
)
# The tag of a node that names one itself, whichever: `!!bool yes` would not be what it says.
EXPLICIT = "!"
TAG_REFUSED = "Tags are not supported. Remove it, and put text in quotes."
# YAML 1.1 reads 010 as 8.
LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
LEADING_ZERO_REFUSED = "A number must not begin with a zero. Remove it, or put text in quotes."
RARE_LINE_BREAKS = re.compile(r"[\x85\u2028\u2029]")
# libyaml compares each with all before it, and this subset has no tags that they could be for.
TAG_DIRECTIVE = re.compile(r"(?:\A\ufeff?|[\n\r\x85\u2028\u2029])%TAG\b")
LINE_WIDTH = 100


class Loader(Composer, CParser, Resolver):
    """Composes nodes from the events of libyaml, without constructing objects.

    Composer, not CParser, composes: the latter follows anchors and recurses without limit.
    """

    yaml_implicit_resolvers: Any = {}

    def __init__(self, text: str, most: float) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        Resolver.__init__(self)
        self._most = most
        self._nodes_left = most

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        self._nodes_left -= 1
        if self._nodes_left < 0:
            message = f"Has more than {self._most:,} keys and values. Split the document."
            raise DeclarationError([Problem(event.start_mark.line + 1, "", message)])
        if getattr(event, "anchor", None):  # an alias has an anchor, too
            line = event.start_mark.line + 1
            problem = Problem(line, "", "Anchors and aliases are not supported. Repeat the value.")
            raise DeclarationError([problem])
        node: Any = super().compose_node(parent, index)
        if getattr(event, "tag", None) is not None:
            node.tag = EXPLICIT
        return node


class Dumper(yaml.SafeDumper):
    """Writes YAML that `Loader` and readers of YAML 1.1 read as the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        # An object that is in two places is written twice: `Loader` takes no anchors.
        return True


for tag, pattern in PATTERNS:
    for dialect in (Loader, Dumper):
        dialect.add_implicit_resolver(tag, re.compile(pattern), None)


def represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Return a scalar node; quote rare line breaks, which the emitter would turn into spaces."""
    style = '"' if RARE_LINE_BREAKS.search(text) else None
    return dumper.represent_scalar(TEXT, text, style)


Dumper.add_representer(str, represent_text)


class Document:
    """A YAML text as a value of JSON types; `line_of` returns the line of a part of it."""

    def __init__(self, text: str, most: float = math.inf) -> None:
        """Parse a text of at most `most` keys and values.

        Raises DeclarationError for invalid YAML, and values outside of JSON.
        """
        self._read_number = NumberReader().read
        if found := TAG_DIRECTIVE.search(text):
            number = len(text[: found.end()].splitlines())
            raise DeclarationError([Problem(number, "", "Directives for tags are not supported.")])
        try:
            self._root: yaml.Node | None = Loader(text, most).get_single_node()
            self.value: Any = None if self._root is None else self._read(self._root, ())
        except yaml.MarkedYAMLError as error:
            # What is missing at the end is reported on the line after it.
            last = max(len(text.splitlines()), 1)
            line = min(error.problem_mark.line + 1, last) if error.problem_mark else None
            message = f"Not valid YAML: {error.problem}."
            raise DeclarationError([Problem(line, "", message)]) from None
        except RecursionError:
            problem = Problem(None, "", "The document is nested too deeply.")
            raise DeclarationError([problem]) from None
        except yaml.YAMLError:
            raise DeclarationError([Problem(None, "", "Not valid YAML.")]) from None

    @classmethod
    def of_json(cls, value: Any) -> "Document":
        """Return a document of a parsed JSON value, which has no lines."""
        document = cls("")
        document.value = value
        return document

    def line_of(self, path: Path) -> int | None:
        """Return the line of the value at a path, or of the nearest value around it."""
        if self._root is None:
            return None
        line, node = line_of(self._root), self._root
        for part in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = line_of(node)
                continue
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            pair = next((pair for pair in pairs if pair[0].value == part), None)
            if pair is None:
                break
            line, node = line_of(pair[0]), pair[1]
        return line

    def problem(self, path: Path, message: str) -> Problem:
        """Return a problem with the value at a path, with its line."""
        return Problem(self.line_of(path), name_of(path), message)

    def _read(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._read(item, (*path, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        raise self._refusal(node, path, TAG_REFUSED)

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag == EXPLICIT:
                raise self._refusal(key_node, path, TAG_REFUSED)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != TEXT:
                raise self._refusal(key_node, path, "A key must be a string.")
            if key in values:
                raise self._refusal(key_node, (*path, key), "This key appears twice.")
            values[key] = self._read(value_node, (*path, key))
        return values

    def _read_scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text: str = node.value
        if node.tag == TEXT:
            return text
        if node.tag == NULL:
            return None
        if node.tag == BOOLEAN:
            return text.lower() == "true"
        if node.tag not in (INTEGER, FLOAT):
            raise self._refusal(node, path, TAG_REFUSED)
        if LEADING_ZERO.match(text):
            raise self._refusal(node, path, LEADING_ZERO_REFUSED)
        try:
            return int(text) if node.tag == INTEGER else self._read_number(text)
        except TooManyDigitsError as error:
            raise self._refusal(node, path, str(error)) from None
        except ValueError:
            raise self._refusal(node, path, "This number is too large.") from None

    def _refusal(self, node: yaml.Node, path: Path, message: str) -> DeclarationError:
        return DeclarationError([Problem(line_of(node), name_of(path), message)])


def line_of(node: yaml.Node) -> int:
    """Return the line on which a node begins, from 1."""
    line: int = node.start_mark.line
    return line + 1


def write_yaml(value: Any) -> str:
    """Return a JSON value as YAML, with the keys in their order."""
    text: str = yaml.dump(
        value,
        Dumper=Dumper,
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        width=LINE_WIDTH,
    )
    return text
