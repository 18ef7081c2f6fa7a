"""Reading a file of declarations: its keys, and the declaration of each data source."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import slug_re

from datasources.connections.connectors.base import CREDENTIAL_FIELDS, SECRET_FIELDS
from datasources.declarations.problems import DeclarationError, Path, Problem
from datasources.declarations.text import Document
from datasources.models import UPDATABLE_FIELDS
from datasources.models.connection_strings import validate_connection_string, without_secrets
from datasources.models.validators import validate_name
from rivergen.http.serializers import unknown_names
from rivergen.names import normalized

FILE_KEYS = ("organization", "data_sources")
# The service stops at so many problems: each costs a search for the name that was meant.
PROBLEMS_MAX = 100
KEYS = ("workspace", "type", *UPDATABLE_FIELDS, "credentials")


@dataclass
class Declaration:
    """The declaration of one data source; fields that it leaves out stay unchanged."""

    path: Path
    name: str
    workspace: str | None
    fields: dict[str, Any]
    credentials: dict[str, Any]


class Declarations:
    """All declarations of a file, and the problems found in it so far."""

    def __init__(self, document: Document, most: float = math.inf) -> None:
        """Read a document of at most `most` data sources. Raises DeclarationError."""
        self.document = document
        self.most = most
        self.problems: list[Problem] = []
        self.organization: str | None = None
        self.all: list[Declaration] = []
        self._read_file(document.value)
        self.raise_problems()

    def add_problem(self, path: Path, message: str) -> None:
        """Add a problem with the value at a path. Raises DeclarationError at `PROBLEMS_MAX`."""
        self.problems.append(self.document.problem(path, message))
        if len(self.problems) == PROBLEMS_MAX:
            self.problems.append(Problem(None, "", "There may be more. Correct these first."))
            self.raise_problems()

    def raise_problems(self) -> None:
        """Raise DeclarationError if there are problems, sorted by line."""
        if self.problems:
            last = math.inf  # without a line
            raise DeclarationError(sorted(self.problems, key=lambda one: one.line or last))

    @property
    def refer_to_secrets(self) -> bool:
        """Whether any declaration gives a secret, which can only be a reference."""
        return any(
            declaration.credentials.get(field) is not None
            for declaration in self.all
            for field in SECRET_FIELDS
        )

    def resolve_secrets(self, resolve: Callable[[str], str]) -> None:
        """Replace each reference by its secret; add a problem for each that does not resolve."""
        for declaration in self.all:
            credentials = declaration.credentials
            for field, text in credentials.items():
                if field in SECRET_FIELDS and text is not None:
                    try:
                        credentials[field] = resolve(text if isinstance(text, str) else "")
                    except ValueError as error:
                        path = (*declaration.path, "credentials", field)
                        self.add_problem(path, str(error))

    def _read_file(self, value: Any) -> None:
        if not isinstance(value, dict):
            self.add_problem((), "Must be a mapping with a list named data_sources.")
            return
        self._check_keys(value, (), FILE_KEYS)
        organization, entries = value.get("organization"), value.get("data_sources")
        is_slug = isinstance(organization, str) and slug_re.fullmatch(organization)
        if organization is not None and not is_slug:
            self.add_problem(("organization",), "Must be the short name of an organization.")
        else:
            self.organization = organization
        if not isinstance(entries, list):
            self.add_problem(("data_sources",), "Must be a list.")
        elif len(entries) > self.most:
            message = f"Must have at most {self.most:,} entries. Split the document."
            self.add_problem(("data_sources",), message)
        else:
            for number, entry in enumerate(entries):
                self._read_entry(entry, ("data_sources", number))

    def _read_entry(self, entry: Any, path: Path) -> None:
        if not isinstance(entry, dict):
            self.add_problem(path, "Must be a mapping with a name and fields.")
            return
        self._check_keys(entry, path, KEYS)
        name, workspace = entry.get("name"), entry.get("workspace")
        try:
            if not isinstance(name, str):
                raise ValidationError("Must be a string.")
            name = normalized(name)
            validate_name(name)  # before it is looked up in the database
        except ValidationError as error:
            self.add_problem((*path, "name"), str(error.message))
            return
        if workspace is not None and not isinstance(workspace, str):
            self.add_problem((*path, "workspace"), "Must be the name of a workspace.")
        elif workspace is not None:
            workspace = normalized(workspace)
        self._check_connection_string(entry.get("connection_string"), path)
        fields = {key: value for key, value in entry.items() if key in ("type", *UPDATABLE_FIELDS)}
        credentials = self._read_credentials(entry.get("credentials"), path)
        self.all.append(Declaration(path, name, workspace, fields, credentials))

    def _check_keys(self, value: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
        unknown = [key for key in value if key not in known]
        for key, messages in unknown_names(unknown, known).items():
            is_misplaced = key in CREDENTIAL_FIELDS
            message = "Belongs in credentials." if is_misplaced else " ".join(messages)
            self.add_problem((*path, key), message)

    def _check_connection_string(self, url: Any, path: Path) -> None:
        """Add a problem if a URL contains a password: secrets are given by reference only."""
        if not isinstance(url, str):
            return
        try:
            validate_connection_string(url)
        except ValidationError:
            return  # the serializer reports it
        if without_secrets(url) != url:
            message = "Contains a password. Move it to credentials, as a reference."
            self.add_problem((*path, "connection_string"), message)

    def _read_credentials(self, value: Any, path: Path) -> dict[str, Any]:
        """Return the credentials by field: references to secrets, or None to clear one."""
        path = (*path, "credentials")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add_problem(path, "Must be a mapping of credential fields to references.")
            return {}
        self._check_keys(value, path, CREDENTIAL_FIELDS)
        return dict(value)
