"""Create the tables of an application that uses SQLAlchemy; runs in the application's environment.

The arguments are the URL of an empty database, and modules to import. After a colon stands where
the tables are: a `MetaData`, or a base class of models; or a function to call first, with `()`.
"""

import importlib
import sys
from contextlib import suppress
from functools import reduce
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.exc import SQLAlchemyError


def main(url: str, *modules: str) -> None:
    """Create all tables. Exit with the reason if some cannot be created."""
    found: list[MetaData] = []
    for name in modules:
        module, _, attribute = name.partition(":")
        imported = importlib.import_module(module)
        if attribute.endswith("()"):
            getattr(imported, attribute.removesuffix("()"))()
        elif attribute:
            base: Any = reduce(getattr, attribute.split("."), imported)
            found.append(getattr(base, "metadata", base))
    engine = create_engine(url)
    problems = []
    for metadata in found:
        try:
            metadata.create_all(engine)
        except SQLAlchemyError as error:
            problems.append(str(error).splitlines()[0])
            create_most(metadata, engine)
    sys.exit(" ".join(problems) or None)


def create_most(metadata: MetaData, engine: Engine) -> None:
    """Create the tables that this database can have."""
    for table in metadata.sorted_tables:
        with suppress(SQLAlchemyError):
            table.create(engine, checkfirst=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
