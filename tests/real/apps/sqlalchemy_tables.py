"""Create the tables of an application that uses SQLAlchemy; runs in the application's environment.

The arguments are the URL of an empty database, and modules to import. After a colon stands where
the tables are: a `MetaData`, or a base class of models; or a function to call first, with `()`.
"""

import importlib
import sys
from functools import reduce

from sqlalchemy import create_engine


def main(url: str, *modules: str) -> None:
    """Create all tables."""
    found = []
    for name in modules:
        module, _, attribute = name.partition(":")
        imported = importlib.import_module(module)
        if attribute.endswith("()"):
            getattr(imported, attribute.removesuffix("()"))()
        elif attribute:
            base = reduce(getattr, attribute.split("."), imported)
            found.append(getattr(base, "metadata", base))
    engine = create_engine(url)
    for metadata in found:
        metadata.create_all(engine)


if __name__ == "__main__":
    main(*sys.argv[1:])
