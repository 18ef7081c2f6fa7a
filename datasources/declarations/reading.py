"""The shape of a file of declarations: one organization's data sources, each by its name."""

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

FILE_KEYS = ("organization", "data_sources")
KEYS = ("workspace", "type", *UPDATABLE_FIELDS, "credentials")


@dataclass
class Declaration:
    """What a file says of one data source; what it does not say stays as it is."""

    path: Path
    name: str
    workspace: str | None
    fields: dict[str, Any]
    credentials: dict[str, Any]


class Declarations:
    """What a file says, or all that is wrong with its shape."""

    def __init__(self, document: Document, most: float = math.inf) -> None:
        """Read it, if it has so many entries at most. Raises DeclarationError."""
        self.document = document
        self.most = most
        self.problems: list[Problem] = []
        self.organization: str | None = None
        self.all: list[Declaration] = []
        self._read_file(document.value)
        self.raise_problems()

    def add_problem(self, path: Path, message: str) -> None:
        """Note that something is wrong with the value at a path."""
        self.problems.append(self.document.problem(path, message))

    def raise_problems(self) -> None:
        """Raise DeclarationError if anything is wrong."""
        if self.problems:
            raise DeclarationError(sorted(self.problems, key=lambda one: one.line or 0))

    def resolve_secrets(self, resolve: Callable[[str], str]) -> None:
        """Put the secrets in the place of the references, and note what leads nowhere."""
        for one in self.all:
            for field, text in one.credentials.items():
                if field in SECRET_FIELDS and text is not None:
                    try:
                        one.credentials[field] = resolve(text if isinstance(text, str) else "")
                    except ValueError as error:
                        self.add_problem((*one.path, "credentials", field), str(error))

    def _read_file(self, value: Any) -> None:
        if not isinstance(value, dict):
            self.add_problem((), "There must be a list named data_sources.")
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
            sentence = f"Must have at most {self.most:,} entries; the command takes more."
            self.add_problem(("data_sources",), sentence)
        else:
            for number, entry in enumerate(entries):
                self._read_entry(entry, ("data_sources", number))

    def _read_entry(self, entry: Any, path: Path) -> None:
        if not isinstance(entry, dict):
            self.add_problem(path, "Must have a name, and fields.")
            return
        self._check_keys(entry, path, KEYS)
        name, workspace = entry.get("name"), entry.get("workspace")
        try:
            if not isinstance(name, str):
                raise ValidationError("Must be a text.")
            validate_name(name)  # before the database is asked for it
        except ValidationError as error:
            self.add_problem((*path, "name"), str(error.message))
            return
        if workspace is not None and not isinstance(workspace, str):
            self.add_problem((*path, "workspace"), "Must be the name of a workspace.")
        self._check_connection_string(entry.get("connection_string"), path)
        fields = {key: value for key, value in entry.items() if key in ("type", *UPDATABLE_FIELDS)}
        credentials = self._read_credentials(entry.get("credentials"), path)
        self.all.append(Declaration(path, name.strip(), workspace, fields, credentials))

    def _check_keys(self, value: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
        unknown = [key for key in value if key not in known]
        for key, [message] in unknown_names(unknown, known).items():
            if key in CREDENTIAL_FIELDS:
                message = "This belongs in credentials."
            self.add_problem((*path, key), message)

    def _check_connection_string(self, url: Any, path: Path) -> None:
        """Refuse a password in a URL: a file is no place for one."""
        if not isinstance(url, str):
            return
        try:
            validate_connection_string(url)
        except ValidationError:
            return  # which is said of it later
        if without_secrets(url) != url:
            message = "A password in it belongs in credentials, by reference."
            self.add_problem((*path, "connection_string"), message)

    def _read_credentials(self, value: Any, path: Path) -> dict[str, Any]:
        """Give the credentials, secrets by reference; null clears one."""
        path = (*path, "credentials")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add_problem(path, "Must have names of credentials, and references to them.")
            return {}
        self._check_keys(value, path, CREDENTIAL_FIELDS)
        return dict(value)
