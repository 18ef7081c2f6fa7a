"""The readers of schemas, by type of data source; each family of types is a module here."""

from datasources.connections.discovery import find_subclasses
from datasources.schemas.reading.readers.base import Reader

READERS: dict[str, type[Reader]] = {
    type_name: reader
    for reader in find_subclasses(__name__, __path__, Reader, "types")
    for type_name in reader.types
}
