"""Making the data sources of an organization what a file declares them to be."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from rest_framework.serializers import Serializer

from datasources.connections.connectors.base import SECRET_FIELDS
from datasources.credentials.serializers import CredentialsUpdateSerializer
from datasources.declarations.problems import Path, name_of
from datasources.declarations.reading import Declaration, Declarations
from datasources.models import Author, DataSource
from datasources.models.changing import is_same_json
from datasources.models.querysets import DataSourceQuerySet
from datasources.models.revision import Changes
from datasources.serializers import DataSourceCreateSerializer, DataSourceUpdateSerializer
from organizations.models import Organization, Role, Workspace
from rivergen.errors import StateConflict
from rivergen.postgresql.lookups import AnyOf, lower_case

CREATE, CHANGE, DELETE, KEEP = "create", "change", "delete", "keep"
KINDS = (CREATE, CHANGE, DELETE, KEEP)
SIGNS = {CREATE: "+", CHANGE: "~", DELETE: "-"}

Key = tuple[int, str]
"""The id of a workspace, and a name in lower case: names differ by more than case."""
Secrets = dict[str, Any]
"""The secrets of a data source, by field."""
Valid = tuple[dict[str, Any], dict[str, Any]]
"""Fields and credentials."""
# Stands for a secret that cannot be used as it is, and equals none.
UNUSABLE = object()


@dataclass
class Step:
    """What is done with one data source; `changes` never have a secret."""

    kind: str
    workspace: str
    name: str
    type: str
    changes: Changes

    def lines(self) -> Iterator[str]:
        """Say it for people; of what stays as it is there is nothing to say."""
        if self.kind == KEEP:
            return
        yield f"{SIGNS[self.kind]} {self.workspace}/{self.name} ({self.type})"
        for name, change in self.changes.items():
            before, after = (json.dumps(change[end], ensure_ascii=False) for end in ("from", "to"))
            yield f"    {name}: {before} -> {after}"


class Plan:
    """The steps from what there is to what is declared."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def counts(self) -> dict[str, int]:
        """Give how many steps there are of each kind."""
        counts = Counter(step.kind for step in self.steps)
        return {kind: counts[kind] for kind in KINDS}


class Applier:
    """Applies the declarations of one file, in a transaction of its own."""

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
        """Create and update what is declared; with `prune`, delete what is not. All or nothing.

        With `dry_run` all of it is done, and undone. Raises DeclarationError with all that is
        wrong, as far as it can be found at once.
        """
        self.declarations.resolve_secrets(self.resolve)
        with transaction.atomic():
            Organization.objects.lock(self.organization.pk)
            # Before others are, so that all of them are locked in one order.
            there = self._lock_all() if prune else []
            declared = self._find()
            self.declarations.raise_problems()
            valid = [(one, found, self._validate(one, found)) for one, found in declared]
            self.declarations.raise_problems()
            plan = Plan()
            if prune:  # first, so that the names are free
                kept = {found.pk for _, found in declared}
                plan.steps += self._delete([one for one in there if one.pk not in kept])
            entering = [found for _, found, (_, entered) in valid if has_secret(entered)]
            opened = open_secrets(entering)
            plan.steps += [self._write(*one, opened.get(one[1].pk, {})) for one in valid]
            transaction.set_rollback(dry_run)
        return plan

    def _lock_all(self) -> list[DataSource]:
        """Give what there is, locked, with what is said of one that is deleted."""
        data_sources = self._locked().filter(organization=self.organization)
        return [*data_sources.only("name", "type", "workspace__name")]

    def _stored(self, keys: Collection[Key]) -> dict[Key, DataSource]:
        """Give what there is of these, locked, by workspace and name."""
        return {(one.workspace_id, one.name_key): one for one in self._locked().named(keys)}

    def _locked(self) -> DataSourceQuerySet:
        return DataSource.objects.for_update().select_related("workspace").order_by("pk")

    def _find(self) -> list[tuple[Declaration, DataSource]]:
        """Give each declaration with the data source that it is about, a new one if need be."""
        workspaces = {one.name: one for one in self.organization.workspaces.all()}
        default = next(iter(workspaces.values()))
        placed: dict[Key, tuple[Declaration, Workspace]] = {}
        names = lower_case([one.name for one in self.declarations.all])
        for one, name in zip(self.declarations.all, names, strict=True):
            workspace = default if one.workspace is None else workspaces.get(one.workspace)
            if workspace is None:
                there = ", ".join(workspaces)
                message = f"The organization has no such workspace; it has: {there}."
                self.declarations.add_problem((*one.path, "workspace"), message)
                continue
            key = workspace.pk, name
            if key in placed:
                message = f"It is declared twice: see {name_of(placed[key][0].path)}."
                self.declarations.add_problem((*one.path, "name"), message)
            placed[key] = one, workspace
        stored = self._stored(placed)
        return [
            (one, stored.get(key) or DataSource(workspace=workspace))
            for key, (one, workspace) in placed.items()
        ]

    def _validate(self, declaration: Declaration, data_source: DataSource) -> Valid:
        """Give the valid fields and credentials; note what is wrong with them."""
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
            # What fits depends on it.
            data_source = DataSource(type=fields["type"])
        credentials = CredentialsUpdateSerializer(
            data_source, data=declaration.credentials, partial=True
        )
        return fields, self._run(credentials, (*declaration.path, "credentials"))

    def _run(self, serializer: Serializer, path: Path) -> dict[str, Any]:
        """Give what is valid, or nothing, and note what is wrong."""
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
        """Create or change it, whose stored secrets are given if any are entered.

        Raises DeclarationError for what only the database can say.
        """
        fields, credentials = valid
        try:
            if data_source.pk is None:
                return self._create(fields, credentials)
            # What is the same already would move `updated_at`.
            anew = {
                name: value
                for name, value in fields.items()
                if not is_same_json(getattr(data_source, name), value)
            }
            changes = data_source.apply_changes(anew, user=self.author, is_locked=True)
            if has_secret(changes):  # which followed to where it was moved, or did not
                secrets = secrets_of(data_source)
            stored = {**secrets, "username": data_source.username}
            entered = {name: text for name, text in credentials.items() if text != stored.get(name)}
            changes |= self._enter(data_source, entered)
        except ValidationError as error:
            self.declarations.add_problem(declaration.path, sentences(error.messages))
            self.declarations.raise_problems()
            raise
        return step_of(CHANGE if changes else KEEP, data_source, changes)

    def _create(self, fields: dict[str, Any], credentials: dict[str, Any]) -> Step:
        user = self.author.user
        data_source = DataSource(**fields, created_by=user, updated_by=user)
        data_source.save(author=self.author)
        self._enter(data_source, credentials)
        return step_of(CREATE, data_source, {})

    def _enter(self, data_source: DataSource, credentials: dict[str, Any]) -> Changes:
        return data_source.set_credentials(credentials, user=self.author, is_locked=True)


def step_of(kind: str, data_source: DataSource, changes: Changes) -> Step:
    """Give the step of a data source."""
    return Step(kind, data_source.workspace.name, data_source.name, data_source.type, changes)


def has_secret(fields: Collection[str]) -> bool:
    """Whether any of these fields is a secret."""
    return any(field in SECRET_FIELDS for field in fields)


def open_secrets(data_sources: list[DataSource]) -> dict[int, Secrets]:
    """Give the stored secrets of each, by its id; all are fetched at once."""
    data_sources = [data_source for data_source in data_sources if data_source.pk is not None]
    models.prefetch_related_objects(data_sources, "credentials")
    opened = {data_source.pk: secrets_of(data_source) for data_source in data_sources}
    for data_source in data_sources:
        data_source.refresh_from_db(fields=["credentials"])  # forgets them, as they will change
    return opened


def secrets_of(data_source: DataSource) -> Secrets:
    """Give the stored secrets; if any of them waits or cannot be opened, none is usable."""
    try:
        return {**data_source.credentials.open()}
    except StateConflict:
        return {credential.field: UNUSABLE for credential in data_source.credentials.all()}


def sentences(messages: Any) -> str:
    """Give the messages about one field, however nested, as a text."""
    if isinstance(messages, dict):
        return " ".join(map(sentences, messages.values()))
    if isinstance(messages, list):
        return " ".join(map(sentences, messages))
    return str(messages)
