"""The catalogue of the types of data sources; each family of types is a module here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from django.db import models

from datasources.connections.connectors.base import Connector


def _find(connector: type[Connector]) -> "list[type[Connector]]":
    """Return the subclasses that stand for a type, in the order of definition."""
    subclasses = connector.__subclasses__()
    found = [subclass for subclass in subclasses if "name" in vars(subclass)]
    return found + [inner for subclass in subclasses for inner in _find(subclass)]


for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

CONNECTORS: dict[str, type[Connector]] = {
    connector.name: connector
    for connector in sorted(_find(Connector), key=lambda found: found.label)
}

# The members have the names of the API: DataSourceType.POSTGRESQL is "postgresql".
DataSourceType: Any = models.TextChoices(  # type: ignore[call-overload]  # the members are found at run time
    "DataSourceType",
    [(name.upper(), (name, connector.label)) for name, connector in CONNECTORS.items()],
)


def type_choices() -> list[tuple[str, str]]:
    """Return the choices of the field `type`; a function, so that new types need no migration."""
    choices: list[tuple[str, str]] = DataSourceType.choices
    return choices
