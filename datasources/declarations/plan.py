"""Applying declarations: create, change and delete data sources until they match the file."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from rest_framework.serializers import Serializer

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.connections.ssh.pasted_keys import mend_private_key
from datasources.connections.ssh.private_keys import KeyRefused
from datasources.credentials.private_keys import KEY
from datasources.credentials.serializers import CredentialsUpdateSerializer
from datasources.declarations.problems import Path, name_of
from datasources.declarations.reading import Declaration, Declarations
from datasources.models import Author, DataSource
from datasources.models.changing import is_same_json
from datasources.models.field_names import DESTINATION_FIELDS, UPDATABLE_FIELDS
from datasources.models.querysets import DataSourceQuerySet
from datasources.models.revision import Changes
from datasources.serializers import DataSourceCreateSerializer, DataSourceUpdateSerializer
from organizations.models import Organization, Role, Workspace
from rivergen.errors import StateConflict
from rivergen.names import normalized
from rivergen.postgresql.lookups import AnyOf, lower_case

# The error about an unknown workspace names at most so many.
WORKSPACES_NAMED = 20
CREATE, CHANGE, DELETE, KEEP = "create", "change", "delete", "keep"
KINDS = (CREATE, CHANGE, DELETE, KEEP)
SIGNS = {CREATE: "+", CHANGE: "~", DELETE: "-"}

Key = tuple[int, str]
"""The id of a workspace, and a name in lower case: names are unique ignoring case."""
Secrets = dict[str, Any]
"""The secrets of a data source in clear, by field."""
Valid = tuple[dict[str, Any], dict[str, Any]]
"""Validated fields, and validated credentials."""
# What decides where secrets travel, as far as a file can declare it.
DECLARED_DESTINATION = [
    field for field in UPDATABLE_FIELDS if field in (*DESTINATION_FIELDS, "connection_string")
]
# Stands for a stored secret that cannot be opened; it equals no secret that is entered.
UNUSABLE = object()


@dataclass
class Step:
    """What is done with one data source; `changes` never contain a secret."""

    kind: str
    workspace: str
    name: str
    type: str
    changes: Changes

    def lines(self) -> Iterator[str]:
        """Yield the step as lines of text; none if the data source is kept unchanged."""
        if self.kind == KEEP:
            return
        yield f"{SIGNS[self.kind]} {self.workspace}/{self.name} ({self.type})"
        for name, change in self.changes.items():
            before, after = (json.dumps(change[end], ensure_ascii=False) for end in ("from", "to"))
            yield f"    {name}: {before} -> {after}"


class Plan:
    """The steps that lead from the stored data sources to the declared ones."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def counts(self) -> dict[str, int]:
        """Return the number of steps of each kind."""
        counts = Counter(step.kind for step in self.steps)
        return {kind: counts[kind] for kind in KINDS}


class Applier:
    """Applies the declarations of one file, in one transaction."""

    def __init__(
        self,
        declarations: Declarations,
        organization: Organization,
        resolve: Callable[[str], str],
        author: Author,
    ) -> None:
        self.declarations = declarations
        self.organization = organization
        self.resolve = resolve
        self.author = author

    def apply(self, *, prune: bool = False, dry_run: bool = False) -> Plan:
        """Create and change the declared data sources, and return the plan: all steps or none.

        With `prune`, delete the data sources that are not declared. With `dry_run`, do everything
        and roll back. Raises DeclarationError with as many problems as can be found at once.
        """
        self.declarations.resolve_secrets(self.resolve)
        with transaction.atomic():
            Organization.objects.lock(self.organization.pk)
            # A prune locks all data sources first, so that rows are locked in the order of ids.
            stored = self._lock_all() if prune else []
            declared = self._find()
            self.declarations.raise_problems()
            valid = [(entry, found, self._validate(entry, found)) for entry, found in declared]
            self.declarations.raise_problems()
            plan = Plan()
            if prune:  # before creating, so that the names are free
                kept = {found.pk for _, found in declared}
                plan.steps += self._delete([source for source in stored if source.pk not in kept])
            given_secrets = [found for _, found, (_, entered) in valid if has_secret(entered)]
            secrets = open_secrets(given_secrets)
            plan.steps += [
                self._write(entry, found, fields, secrets.get(found.pk, {}))
                for entry, found, fields in valid
            ]
            transaction.set_rollback(dry_run)
        return plan

    def _lock_all(self) -> list[DataSource]:
        """Lock and return all data sources, with the columns that a deletion reports."""
        data_sources = self._locked().filter(organization=self.organization)
        return [*data_sources.only("name", "type", "workspace__name")]

    def _lock_named(self, keys: Collection[Key]) -> dict[Key, DataSource]:
        """Lock and return the data sources that exist under these keys, by key."""
        found = self._locked().named(keys)
        return {(source.workspace_id, source.name_key): source for source in found}

    def _locked(self) -> DataSourceQuerySet:
        return DataSource.objects.for_update().select_related("workspace").order_by("pk")

    def _find(self) -> list[tuple[Declaration, DataSource]]:
        """Return each declaration with its data source, locked; a new instance if there is none."""
        all_workspaces = self.organization.workspaces.all()
        workspaces = {normalized(workspace.name): workspace for workspace in all_workspaces}
        default = next(iter(workspaces.values()))
        placed: dict[Key, tuple[Declaration, Workspace]] = {}
        names = lower_case([entry.name for entry in self.declarations.all])
        for entry, name in zip(self.declarations.all, names, strict=True):
            workspace = default if entry.workspace is None else workspaces.get(entry.workspace)
            if workspace is None:
                known = ", ".join([*workspaces][:WORKSPACES_NAMED])
                if (more := len(workspaces) - WORKSPACES_NAMED) > 0:
                    known += f" and {more:,} more"
                message = f"There is no such workspace. There are: {known}."
                self.declarations.add_problem((*entry.path, "workspace"), message)
                continue
            key = workspace.pk, name
            if key in placed:
                message = f"Declared twice: see {name_of(placed[key][0].path)}."
                self.declarations.add_problem((*entry.path, "name"), message)
            placed[key] = entry, workspace
        stored = self._lock_named(placed)
        return [
            (entry, stored.get(key) or DataSource(workspace=workspace))
            for key, (entry, workspace) in placed.items()
        ]

    def _validate(self, declaration: Declaration, data_source: DataSource) -> Valid:
        """Return the validated fields and credentials; add a problem for each invalid one."""
        serializer: Serializer
        if data_source.pk is None:
            serializer = DataSourceCreateSerializer(
                data={**declaration.fields, "workspace_id": data_source.workspace_id},
                context={"roles": {self.organization.pk: Role.OWNER}},
            )
        else:
            serializer = DataSourceUpdateSerializer(
                data_source, data=declaration.fields, partial=True
            )
        fields = self._run(serializer, declaration.path)
        if data_source.pk is None:
            if "type" not in fields:
                return fields, {}
            # The type decides which credentials are allowed.
            data_source = DataSource(type=fields["type"])
        credentials = CredentialsUpdateSerializer(
            data_source, data=declaration.credentials, partial=True
        )
        return fields, self._run(credentials, (*declaration.path, "credentials"))

    def _run(self, serializer: Serializer, path: Path) -> dict[str, Any]:
        """Return the validated data; add the errors to the problems and return {} if invalid."""
        if serializer.is_valid():
            valid: dict[str, Any] = serializer.validated_data
            return valid
        for name, messages in serializer.errors.items():
            self.declarations.add_problem((*path, name), sentences(messages))
        return {}

    def _delete(self, data_sources: list[DataSource]) -> list[Step]:
        ids = [data_source.pk for data_source in data_sources]
        DataSource.objects.filter(AnyOf(models.F("pk"), ids)).only("pk").delete()
        return [step_of(DELETE, data_source, {}) for data_source in data_sources]

    def _write(
        self, declaration: Declaration, data_source: DataSource, valid: Valid, secrets: Secrets
    ) -> Step:
        """Create or change a data source, and return the step; `secrets` are the stored ones.

        Raises DeclarationError for what only the database can say.
        """
        fields, credentials = valid
        try:
            if data_source.pk is None:
                return self._create(fields, credentials)
            # Equal values are left out: they would move `updated_at`.
            different = {
                name: value
                for name, value in fields.items()
                if not is_same_json(getattr(data_source, name), value)
            }
            changes = data_source.apply_changes(different, user=self.author, is_locked=True)
            if has_secret(changes):  # the destination moved: secrets may be unconfirmed now
                secrets = secrets_of(data_source)
            stored = {**secrets, "username": data_source.username}
            entered = {
                name: text
                for name, text in credentials.items()
                if not is_same_credential(name, text, stored.get(name))
            }
            if any(entered.get(field) is not None for field in SECRET_FIELDS):
                self._check_destination(declaration, data_source)
            changes |= data_source.set_credentials(entered, user=self.author, is_locked=True)
        except ValidationError as error:
            self.declarations.add_problem(declaration.path, sentences(error.messages))
            self.declarations.raise_problems()
            raise
        return step_of(CHANGE if changes else KEEP, data_source, changes)

    def _check_destination(self, declaration: Declaration, data_source: DataSource) -> None:
        """Raise DeclarationError if a secret would travel to where the file does not say.

        An editor can change the fields that the file leaves out, such as the SSH server. A file
        without any field of the destination leaves it to others, unless secrets wait for
        confirmation.
        """
        is_stated = not declaration.fields.keys().isdisjoint(DECLARED_DESTINATION)
        is_waiting = data_source.credentials_status == DataSource.CredentialsStatus.UNCONFIRMED
        if not (is_stated or is_waiting):
            return
        for field in unusual_destination(data_source):
            if field not in declaration.fields:
                value = json.dumps(getattr(data_source, field), ensure_ascii=False)
                self.declarations.add_problem(
                    (*declaration.path, field),
                    f"Stored as {value}, but not declared. Declare it: the declared secrets would "
                    "be sent there.",
                )
        self.declarations.raise_problems()

    def _create(self, fields: dict[str, Any], credentials: dict[str, Any]) -> Step:
        user = self.author.user
        data_source = DataSource(**fields, created_by=user, updated_by=user)
        data_source.save(author=self.author, credentials=credentials)
        return step_of(CREATE, data_source, {})


def step_of(kind: str, data_source: DataSource, changes: Changes) -> Step:
    """Return the step of one kind for a data source."""
    return Step(kind, data_source.workspace.name, data_source.name, data_source.type, changes)


def unusual_destination(data_source: DataSource) -> Iterator[str]:
    """Yield the fields that decide where secrets travel and do not have their default."""
    unset = DataSource(port=data_source.connector.default_port)
    for field in DECLARED_DESTINATION:
        is_used = data_source.use_ssh_tunnel or not field.startswith("ssh_")
        if is_used and getattr(data_source, field) not in (None, "", getattr(unset, field)):
            yield field


def is_same_credential(name: str, text: str | None, stored: Any) -> bool:
    """Return whether a credential is stored; a private key also as it was before it was mended."""
    if text == stored or name != KEY or not isinstance(stored, str):
        return bool(text == stored)
    try:
        return text == mend_private_key(stored)
    except KeyRefused:
        return False


def has_secret(fields: Collection[str]) -> bool:
    """Return whether any of these fields is a secret."""
    return any(field in SECRET_FIELDS for field in fields)


def open_secrets(data_sources: list[DataSource]) -> dict[int, Secrets]:
    """Return the stored secrets of each data source, by its id, read in one query."""
    data_sources = [data_source for data_source in data_sources if data_source.pk is not None]
    models.prefetch_related_objects(data_sources, "credentials")
    opened = {data_source.pk: secrets_of(data_source) for data_source in data_sources}
    for data_source in data_sources:
        data_source.refresh_from_db(
            fields=["credentials"]
        )  # drops the prefetched rows, which will change
    return opened


def secrets_of(data_source: DataSource) -> Secrets:
    """Return the stored secrets by field; all UNUSABLE if any is unconfirmed or unreadable."""
    try:
        return {**data_source.credentials.open()}
    except StateConflict:
        return {credential.field: UNUSABLE for credential in data_source.credentials.all()}


def sentences(messages: Any) -> str:
    """Return the messages about one field as one text, however they are nested."""
    if isinstance(messages, dict):
        return " ".join(map(sentences, messages.values()))
    if isinstance(messages, list):
        return " ".join(map(sentences, messages))
    return str(messages)
