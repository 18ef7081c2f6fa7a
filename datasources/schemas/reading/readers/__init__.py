"""Readers of catalogues, a module for each family of types, registered in READERS."""

from importlib import import_module
from pkgutil import iter_modules

from datasources.schemas.reading.readers.base import Reader


def _find(reader: type[Reader]) -> "list[type[Reader]]":
    """Return all subclasses of a reader that declare types."""
    subclasses = reader.__subclasses__()
    found = [subclass for subclass in subclasses if "types" in vars(subclass)]
    return found + [one for subclass in subclasses for one in _find(subclass)]


for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

READERS: dict[str, type[Reader]] = {
    type_name: reader for reader in _find(Reader) for type_name in reader.types
}
