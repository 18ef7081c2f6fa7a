"""The floors of the code: a module may import from its own floor and from those below.

docs/architecture.md describes the floors. Tests and their helpers may import from everywhere.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

# From the bottom up. A module is on the floor of its longest prefix in this list.
FLOORS = (
    ("rivergen",),
    ("organizations", "datasources.connections"),
    ("datasources.models", "datasources.jobs"),
    ("datasources.serializers", "datasources.filters", "datasources.viewsets")
    + (
        "datasources.preconditions",
        "datasources.replicas",
        "datasources.openapi",
        "datasources.examples",
    ),
    ("datasources.credentials",),
    ("datasources.connection_tests", "datasources.declarations"),
    ("datasources.schemas", "datasources.bulk"),
    ("datasources.views", "datasources.metrics"),
    ("datasources.urls", "datasources.admin", "datasources.management", "datasources.apps")
    + ("organizations.urls", "organizations.admin", "organizations.management")
    + ("rivergen.urls",),
)
APPS = ("rivergen", "organizations", "datasources")
NOT_PRODUCT = {"tests", "testing", "migrations"}


def product_modules() -> dict[str, Path]:
    """Return the files of the product by the name of their module."""
    modules = {}
    for app in APPS:
        for path in (settings.BASE_DIR / app).rglob("*.py"):
            parts = path.relative_to(settings.BASE_DIR).with_suffix("").parts
            if NOT_PRODUCT.isdisjoint(parts):
                modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the product's modules that a file imports anywhere in it."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import name` imports a module, or else a name of the package.
            imported |= {name if name in modules else node.module for name in names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return imported & modules.keys()


def floor_of(module: str) -> int:
    """Return the number of a module's floor, from 0. Raises LookupError if it has none."""
    floors = {prefix: number for number, floor in enumerate(FLOORS) for prefix in floor}
    name = module
    while name not in floors:
        name, _, rest = name.rpartition(".")
        if not rest or (name == "datasources" and module != "datasources"):
            raise LookupError(f"{module} is on no floor.")
    return floors[name]


class FloorsTests(SimpleTestCase):
    def setUp(self) -> None:
        self.modules = product_modules()
        self.imports = {
            module: imports_of(path, self.modules) for module, path in self.modules.items()
        }

    def test_every_import_leads_to_the_same_or_a_lower_floor(self) -> None:
        upward = [
            f"{module} imports {other}"
            for module, others in self.imports.items()
            for other in others
            if module != "datasources" and floor_of(module) < floor_of(other)
        ]
        self.assertEqual(upward, [])

    def test_no_modules_import_each_other_in_a_circle(self) -> None:
        try:
            TopologicalSorter(self.imports).prepare()
        except CycleError as error:
            self.fail(" -> ".join(error.args[1]))
