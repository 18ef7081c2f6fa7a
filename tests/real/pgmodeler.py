"""The models of pgModeler, such as Pagila (Sakila for PostgreSQL), as SQL.

pgModeler itself prints that, but needs a desktop's libraries. What tables do not need is left out:
functions, triggers, views.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

WITH_LENGTH = ("bit", "char", "character", "character varying", "varchar")
ACTIONS = {"upd-action": "ON UPDATE", "del-action": "ON DELETE"}


def sql_of(model: Path) -> str:
    """Return the statements that create the tables of a model."""
    return ";\n".join(statements(ElementTree.parse(model).getroot())) + ";\n"


def statements(model: Element) -> Iterator[str]:
    """Yield the statements in the order of the model: what is referred to comes first."""
    parents = {
        found.get("src-table"): found.get("dst-table")
        for found in model.iter("relationship")
        if found.get("type") == "relgen"
    }
    for found in model:
        name = f'"{found.get("name")}"'
        if found.tag == "sequence":
            yield f"CREATE SEQUENCE {name}"
        elif found.tag == "usertype" and found.get("configuration") == "enumeration":
            labels = ", ".join(f"'{label.get('label')}'" for label in found.iter("enumeration"))
            yield f"CREATE TYPE {name} AS ENUM ({labels})"
        elif found.tag == "domain":
            yield f"CREATE DOMAIN {name} AS {type_of(found)} {constraint_of(found)}"
        elif found.tag == "table":
            parent = parents.get(f"public.{found.get('name')}")
            columns = ", ".join(map(column_of, found.findall("column")))
            yield f"CREATE TABLE {name} ({columns})" + (f" INHERITS ({parent})" if parent else "")
            for constraint in found.findall("constraint"):
                yield f"ALTER TABLE {name} ADD {constraint_of(constraint)}"
        elif found.tag == "constraint":
            yield f"ALTER TABLE {found.get('table')} ADD {constraint_of(found)}"
        elif found.tag == "index":
            unique = "UNIQUE " if found.get("unique") == "true" else ""
            columns = ", ".join(f'"{column.get("name")}"' for column in found.iter("column"))
            method = found.get("index-type")
            yield f"CREATE {unique}INDEX {name} ON {found.get('table')} USING {method} ({columns})"


def column_of(column: Element) -> str:
    """Return the definition of a column."""
    default = column.get("default-value")
    sequence = column.get("sequence")
    if sequence:
        default = f"nextval('{sequence}'::regclass)"
    return " ".join(
        [
            f'"{column.get("name")}" {type_of(column)}',
            *([f"DEFAULT {default}"] if default else []),
            *(["NOT NULL"] if column.get("not-null") == "true" else []),
        ]
    )


def type_of(element: Element) -> str:
    """Return the type of a column or domain."""
    [found] = element.findall("type")
    name, length, precision = (found.get(key, "") for key in ("name", "length", "precision"))
    size = f"({length})" if name in WITH_LENGTH and length != "0" else ""
    if name in ("numeric", "decimal") and precision:
        size = f"({length},{precision})"
    zone = " with time zone" if found.get("with-timezone") == "true" else ""
    return f"{name}{size}{zone}{'[]' * int(found.get('dimension', 0))}"


def constraint_of(element: Element) -> str:
    """Return a constraint, or that of a domain; nothing if it has none."""
    found = element if element.tag == "constraint" else element.find("constraint")
    if found is None:
        return ""
    kind = found.get("type", "").removesuffix("-constr")
    start = f'CONSTRAINT "{found.get("name")}" '
    if kind in ("ck", "check"):
        return f"{start}CHECK ({found.findtext('expression')})"
    columns, referenced = (
        ", ".join(f'"{name}"' for one in found.findall("columns") for name in names_of(one, side))
        for side in ("src-columns", "dst-columns")
    )
    if kind != "fk":
        return f"{start}{'PRIMARY KEY' if kind == 'pk' else 'UNIQUE'} ({columns})"
    actions = " ".join(f"{words} {found.get(key)}" for key, words in ACTIONS.items())
    reference = f"REFERENCES {found.get('ref-table')} ({referenced})"
    return f"{start}FOREIGN KEY ({columns}) {reference} {actions}"


def names_of(columns: Element, side: str) -> list[str]:
    """Return the names in a list of columns, if it is that of a side of a foreign key."""
    return columns.get("names", "").split(",") if columns.get("ref-type") == side else []
