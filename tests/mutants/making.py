"""Which code is mutated, and how. The mutations are mutmut's, and those of `operators`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.mutants.operators import OPERATORS, SPARED_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
MUTATED = [
    "datasources/models/**/*.py",
    "datasources/credentials/*.py",
    "datasources/filters.py",
    "datasources/schemas/schedule.py",
    "datasources/schemas/snapshots/pruning.py",
    "datasources/schemas/snapshots/models.py",  # has what pruning selects
]
# Not mutated: what tests are written with; descriptions, which a test compares with openapi.json.
SPARED_FILES = {"testing.py", "openapi.py"}
# Not mutated: what is written for people to read.
SPARED_FUNCTIONS = {"__str__", "__repr__"}
SPARED_OBJECTS = {"logger"}
# Not mutated: what only costs time or memory if it changes.
SPARED_CONSTANTS = ("_AT_ONCE", "_BATCH", "_BATCH_SIZE")
SPARED_CALLS = {"only", "defer", "select_related", "prefetch_related"}


@dataclass(frozen=True)
class Mutant:
    """One small change of one file; `line` is the first one that it changes, counted from 1."""

    path: str
    line: int
    last_line: int
    before: str
    after: str
    code: str

    @cached_property
    def key(self) -> str:
        """Return a name that stays the same while other lines change."""
        return f"{self.path}: {self.before!r} -> {self.after!r}"

    @property
    def compiles(self) -> bool:
        """Return whether the mutated file is Python at all."""
        try:
            compile(self.code, self.path, "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True

    def rank(self, seed: str) -> bytes:
        """Return what sorts mutants in the random order of a seed."""
        return hashlib.sha256(f"{seed} {self.key}".encode()).digest()


class Visitor(MutationVisitor):
    """Find mutations everywhere, decorated functions included, but in code that is spared."""

    def __init__(self) -> None:
        super().__init__(OPERATORS, IgnoredCode(set(), set(), set()))
        self._spared: set[cst.CSTNode] = set()

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):
            return node.name.value in SPARED_FUNCTIONS
        if isinstance(node, cst.ClassDef):
            self._spared |= {*node.bases}  # `QuerySet["DataSource"]` is a type
        if isinstance(node, cst.For | cst.CompFor):
            self._spared.add(node.target)
        return (
            node in self._spared or is_spared(node) or bool(super()._skip_node_and_children(node))
        )


def is_spared(node: cst.CSTNode) -> bool:
    """Return whether a node and all that is in it are left as they are."""
    match node:
        case cst.Import() | cst.ImportFrom() | cst.AssignTarget():
            return True
        case cst.Call(func=cst.Attribute(value=cst.Name(value=name))) if name in SPARED_OBJECTS:
            return True
        case cst.Call(func=cst.Attribute(attr=cst.Name(value=name))) if name in SPARED_CALLS:
            return True
        case cst.Call(func=cst.Name(value="cast" | "TypedDict" | "TypeVar")):
            return True
        case cst.Arg(keyword=cst.Name(value=name)):
            return name in SPARED_ARGUMENTS
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name.endswith(SPARED_CONSTANTS)
        case cst.SimpleString() | cst.ConcatenatedString():
            return " " in str(node.evaluated_value)  # a sentence
    return False


def mutants_of(path: str) -> Iterator[Mutant]:
    """Yield all mutants of a file; those that are the same text are one."""
    code = (ROOT / path).read_text()
    source = code.encode()
    wrapper = cst.MetadataWrapper(cst.parse_module(code))
    visitor = Visitor()
    wrapper.visit(visitor)
    module = wrapper.module
    spans = wrapper.resolve(ByteSpanPositionProvider)
    lines = code.splitlines()
    seen = {code}
    for mutation in visitor.mutations:
        old, new = mutation.original_node, mutation.mutated_node
        span = spans[old]
        start, end = span.start, span.start + span.length
        if source[start:end].decode() == module.code_for_node(old).strip():
            text = module.code_for_node(new).strip()
            mutated = f"{source[:start].decode()}{text}{source[end:].decode()}"
        else:  # a hundred times slower
            mutated = cst.ensure_type(module.deep_replace(old, new), cst.Module).code
        if mutated in seen:
            continue
        seen.add(mutated)
        first, last, after = difference(lines, mutated.splitlines())
        before = "\n".join(lines[first:last])
        yield Mutant(path, first + 1, max(last, first + 1), before, "\n".join(after), mutated)


def difference(before: list[str], after: list[str]) -> tuple[int, int, list[str]]:
    """Return the first and the last changed line of `before`, and the lines that replace these."""
    first = 0
    while first < min(len(before), len(after)) and before[first] == after[first]:
        first += 1
    same = 0
    while same < min(len(before), len(after)) - first and before[-1 - same] == after[-1 - same]:
        same += 1
    return first, len(before) - same, after[first : len(after) - same]


def sample(count: int, seed: str) -> tuple[list[Mutant], int]:
    """Return some of all mutants, and the number of all; those of one name are one.

    While the code of a mutant stays as it is, so does its place in the order of the seed.
    """
    paths = {path for pattern in MUTATED for path in ROOT.glob(pattern)}
    found = [
        mutant
        for path in sorted(paths)
        if path.name not in SPARED_FILES
        for mutant in mutants_of(str(path.relative_to(ROOT)))
    ]
    unique = {mutant.key: mutant for mutant in found}.values()
    ranked = sorted(unique, key=lambda mutant: mutant.rank(seed))
    return [*islice((mutant for mutant in ranked if mutant.compiles), count)], len(unique)
