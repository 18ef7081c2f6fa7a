"""Find the classes that the modules of a package define."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

Base = TypeVar("Base")


def find_subclasses(
    package: str, path: Iterable[str], base: type[Base], attribute: str
) -> list[type[Base]]:
    """Import all modules of a package. Return the subclasses of `base` that define `attribute`.

    Subclasses that only inherit the attribute are left out. The order is that of definition, level
    by level.
    """
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")
    return _subclasses(base, attribute)


def _subclasses(base: type[Base], attribute: str) -> list[type[Base]]:
    subclasses = base.__subclasses__()
    found = [subclass for subclass in subclasses if attribute in vars(subclass)]
    return found + [inner for subclass in subclasses for inner in _subclasses(subclass, attribute)]
