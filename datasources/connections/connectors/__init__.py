"""The catalogue of what a data source can be: a file for each family of types, found here."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from django.db import models

from datasources.connections.connectors.base import Connector


def _find(connector: type[Connector]) -> "list[type[Connector]]":
    """Give all connectors that stand for a type, in the order in which they are defined."""
    subclasses = connector.__subclasses__()
    found = [subclass for subclass in subclasses if "name" in vars(subclass)]
    return found + [one for subclass in subclasses for one in _find(subclass)]


for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")

CONNECTORS: dict[str, type[Connector]] = {
    connector.name: connector for connector in sorted(_find(Connector), key=lambda one: one.label)
}

# By their names in the API: DataSourceType.POSTGRESQL is "postgresql".
DataSourceType: Any = models.TextChoices(  # type: ignore[call-overload]  # its members are found above
    "DataSourceType",
    [(name.upper(), (name, connector.label)) for name, connector in CONNECTORS.items()],
)


def type_choices() -> list[tuple[str, str]]:
    """Give the types for a choice; a function, so that a new one needs no migration."""
    choices: list[tuple[str, str]] = DataSourceType.choices
    return choices
