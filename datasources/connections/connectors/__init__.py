"""The catalogue of the types of data sources; each family of types is a module here."""

from typing import Any

from django.db import models

from datasources.connections.connectors.base import Connector
from datasources.connections.discovery import find_subclasses

CONNECTORS: dict[str, type[Connector]] = {
    connector.name: connector
    for connector in sorted(
        find_subclasses(__name__, __path__, Connector, "name"), key=lambda found: found.label
    )
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
