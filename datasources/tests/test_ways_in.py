"""One rule for all ways in: what one accepts, all accept, and store alike.

Each value is sent to each field by the API, in declarations, by commands, in the admin and in the
shell. Run longer: `pytest --hypothesis-profile=deep`.
"""

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from datasources.declarations.text import write_yaml
from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client, filled_in

Values = dict[str, Any]
"""Values by field."""
Way = Callable[[Values], "int | set[str]"]
"""Sends values; returns the id of the data source that has them now, or the refused fields."""

REFUSED = "refused"
NOT_POSSIBLE = object()
"""The way cannot express the value: a browser sends text, and YAML has no lone surrogates."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 5, 65_536, 10**30, 0.0, 1.0, 5433.5, 1e300),
    *("", " ", "a", " a ", "5", "true", "null", "[]", "{}", "a\nb", "a\r\nb", "a\0", "\ud800"),
    *([], ["a"], [" a "], ["a", "a"], ["a", " a"], [""], [1], [None], [["a"]], ["a"] * 51),
    *({}, {"a": 1}, {"a": [1.0, True, None, "b"]}, {"": ""}, {"password": 1}, {"a": "\0"}),
    {"a": {"b": {"c": 10**30}}},
)
FITTING: tuple[Values, ...] = (
    {"host": "10.0.0.1", "port": 5433, "file_path": "a/b.csv", "schema_refresh_interval": 60},
    {"connection_string": "postgresql://db.example.com/x", "ssh_port": 22, "max_retries": 10},
    {"connection_string": "mysql://db/x", "file_path": "../a", "query_timeout": 86_400},
    {"use_ssh_tunnel": True, "ssh_host": None, "ssh_username": None},
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(codec="utf-8"), max_size=12)
    | st.sampled_from(["5", "true", "db.example.com", "a/b", "postgresql://db/x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
TUNNEL = {"ssh_host": "b.example.com", "ssh_username": "b"}
NEW = {"name": "New", "type": "postgresql", **TUNNEL}
# A profile such as `deep` says how many; otherwise few, as each is sent by all ways.
IS_DEFAULT = settings.get_current_profile_name() == "default"
EXAMPLES = 40 if IS_DEFAULT else settings().max_examples
NUMBERS = {field.name for field in DataSource._meta.fields if "Integer" in type(field).__name__}
SWITCHES = {"use_ssh_tunnel", "schema_auto_refresh"}


class WaysInMixin(DataSourceTestMixin):
    """The ways by which values reach the fields of a data source."""

    browser: ClassVar[Client]
    page: ClassVar[str]
    shown_form: ClassVar[dict[str, Any]]
    blank_form: ClassVar[dict[str, Any]]

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        cls.data_source.apply_changes(TUNNEL, user=cls.editor)
        cls.browser = admin_client(cls.admin)
        cls.page = f"{ADMIN_PAGES}{cls.data_source.pk}/change/"
        cls.shown_form = filled_in(cls.browser, cls.page)
        cls.blank_form = filled_in(cls.browser, f"{ADMIN_PAGES}add/")

    def assert_alike(self, ways: dict[str, Way], values: Values) -> None:
        """Assert that all ways refuse the same of these values, and store the others alike."""
        outcomes = {name: self.outcomes(way, values) for name, way in ways.items()}
        differing = {}
        for field, value in values.items():
            of_field = {name: of[field] for name, of in outcomes.items() if field in of}
            if len({*of_field.values()}) > 1:
                differing[field] = (value, of_field)
        assert not differing, str(differing)

    def outcomes(self, way: Way, values: Values) -> dict[str, str]:
        """Return by field what is stored, as JSON, or REFUSED; without what is not possible."""
        possible = {
            field: value for field, value in values.items() if self.can_express(way, field, value)
        }
        outcomes: dict[str, str] = {}
        while left := {field: possible[field] for field in possible if field not in outcomes}:
            with transaction.atomic():
                answer = way(left)
                if isinstance(answer, int):
                    row = DataSource.objects.filter(pk=answer).values(*left).get()
                    outcomes |= {field: json.dumps(row[field], sort_keys=True) for field in row}
                else:
                    assert answer and answer <= left.keys(), (way, left, answer)
                    outcomes |= dict.fromkeys(answer, REFUSED)
                transaction.set_rollback(True)
        return outcomes

    def can_express(self, way: Way, field: str, value: Any) -> bool:
        if way in (self.edit, self.add):
            return as_browser_sends(field, value) is not NOT_POSSIBLE
        if way in (self.declare, self.declare_in_yaml) and field == "name":
            return False  # it says which data source is meant
        if way == self.merge_patch and field == "metadata" and isinstance(value, dict):
            return False  # merging is another operation
        return way not in (self.declare_in_yaml, self.declare_new) or is_storable(value)

    # Updates

    def patch(self, values: Values) -> Any:
        return self.answered(self.send("patch", self.path, values), values)

    def merge_patch(self, values: Values) -> Any:
        content_type = "application/merge-patch+json"
        return self.answered(self.send("patch", self.path, values, content_type), values)

    def patch_many(self, values: Values) -> Any:
        body = {"updates": [{"id": self.data_source.pk, **values}]}
        response = self.send("patch", "/data-sources?atomic=false", body)
        if response.status_code != 200:
            return self.answered(response, values)
        [result] = response.json()["data"]
        if result["status"] == 400:
            return {*result["error"]["details"]}
        assert result["status"] == 200, result
        return self.data_source.pk

    def apply_changes(self, values: Values) -> Any:
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        return self.saved(data_source, lambda: data_source.apply_changes(values, user=self.admin))

    def edit(self, values: Values) -> Any:
        return self.submitted(self.page, self.shown_form, values)

    def declare(self, values: Values) -> Any:
        body = {"data_sources": [{"name": self.data_source.name, **values}]}
        return self.answered(self.send("post", "/data-sources/apply", body), values)

    def declare_in_yaml(self, values: Values) -> Any:
        text = write_yaml({"data_sources": [{"name": self.data_source.name, **values}]})
        response = self.send("post", "/data-sources/apply", text.encode(), "application/yaml")
        return self.answered(response, values)

    # Creations

    def post(self, values: Values) -> Any:
        return self.answered(self.send("post", "/data-sources", {**NEW, **values}), values)

    def save_new(self, values: Values) -> Any:
        data_source = DataSource(workspace=self.workspace, **{**NEW, **values})
        return self.saved(data_source, data_source.save)

    def bulk_create(self, values: Values) -> Any:
        data_source = DataSource(workspace=self.workspace, **{**NEW, **values})
        return self.saved(data_source, lambda: DataSource.objects.bulk_create([data_source]))

    def clean_and_save(self, values: Values) -> Any:
        data_source = DataSource(
            workspace=self.workspace, organization=self.acme, **{**NEW, **values}
        )

        def clean_and_save() -> None:
            data_source.full_clean()
            data_source.save()

        return self.saved(data_source, clean_and_save)

    def add(self, values: Values) -> Any:
        shown = {**self.blank_form, **NEW, "workspace": self.workspace.pk}
        return self.submitted(f"{ADMIN_PAGES}add/", shown, values)

    def declare_new(self, values: Values) -> Any:
        declared = {"organization": "acme", "data_sources": [{**NEW, **values}]}
        with NamedTemporaryFile("w", suffix=".yaml") as file:
            Path(file.name).write_text(write_yaml(declared))
            try:
                call_command("apply_data_sources", file.name, stdout=StringIO())
            except CommandError as error:
                return {*re.findall(r"data_sources\[0\]\.(\w+)", str(error))}
        return DataSource.objects.latest("pk").pk

    # What they have in common

    def send(self, method: str, path: str, body: Any, content_type: str = "") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        options = {"content_type": content_type} if content_type else {}
        return self.call(method, path, data, self.admin, **options)

    def answered(self, response: Any, values: Values) -> Any:
        """Return the id of what a request has stored, or the refused fields.

        Without details the body is no valid JSON, so that all of it is refused.
        """
        assert response.status_code in (200, 201, 400), response.content
        body = response.json()
        if response.status_code == 400:
            return {name.rpartition(".")[2] for name in body["error"]["details"]} or {*values}
        return body["data"].get("id", self.data_source.pk)

    def saved(self, data_source: DataSource, save: Callable[[], Any]) -> Any:
        try:
            with transaction.atomic():
                save()
        except ValidationError as error:
            return {*error.message_dict}
        return data_source.pk

    def submitted(self, page: str, shown: dict[str, Any], values: Values) -> Any:
        """Return the id of what a form has stored, or the refused fields."""
        entered = {field: as_browser_sends(field, value) for field, value in values.items()}
        form = {name: text for name, text in {**shown, **entered}.items() if text is not None}
        response = self.browser.post(page, form)
        if response.status_code == 200:
            return {*response.context["adminform"].form.errors}
        assert response.status_code == 302, response.status_code
        return self.data_source.pk if page == self.page else DataSource.objects.latest("pk").pk


def as_browser_sends(field: str, value: Any) -> Any:
    """Return what a form sends for a value, None for a box that is not ticked, or NOT_POSSIBLE."""
    if not is_storable(value):
        return NOT_POSSIBLE
    if field in SWITCHES:
        return {True: "on", False: None}[value] if isinstance(value, bool) else NOT_POSSIBLE
    if field == "metadata":
        return json.dumps(value, ensure_ascii=False)
    if field == "tags":
        is_lines = isinstance(value, list) and all(
            isinstance(tag, str) and tag.strip() and tag.splitlines() == [tag] for tag in value
        )
        return "\r\n".join(value) if is_lines else NOT_POSSIBLE
    if field in NUMBERS:
        if value is None:
            return ""
        return str(value) if type(value) in (int, float) else NOT_POSSIBLE
    if value is None:
        return "" if DataSource._meta.get_field(field).null else NOT_POSSIBLE
    if value == "" and DataSource._meta.get_field(field).null:
        return NOT_POSSIBLE  # an empty box is null
    if isinstance(value, str) and value != value.strip() and field not in ("name", "description"):
        return NOT_POSSIBLE  # the form removes white space around what was pasted
    is_line = isinstance(value, str) and value.splitlines() in ([], [value])
    return value if is_line else NOT_POSSIBLE


def is_storable(value: Any) -> bool:
    """Return whether UTF-8 can hold a JSON value."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class WaysInTests(WaysInMixin, HypothesisTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.make_world()

    def updates(self) -> dict[str, Way]:
        return {
            "API": self.patch,
            "API, merge patch": self.merge_patch,
            "API, many": self.patch_many,
            "shell": self.apply_changes,
            "admin": self.edit,
            "declaration, JSON": self.declare,
            "declaration, YAML": self.declare_in_yaml,
        }

    def creations(self) -> dict[str, Way]:
        return {
            "API": self.post,
            "shell": self.save_new,
            "shell, many": self.bulk_create,
            "shell, full_clean": self.clean_and_save,
            "admin": self.add,
            "declaration, command": self.declare_new,
        }

    def test_every_way_to_change_a_data_source_takes_the_same_values(self) -> None:
        for value in VALUES:
            self.assert_alike(self.updates(), dict.fromkeys(UPDATABLE_FIELDS, value))
        for values in FITTING:
            self.assert_alike(self.updates(), values)

    def test_every_way_to_create_a_data_source_takes_the_same_values(self) -> None:
        for value in VALUES:
            self.assert_alike(self.creations(), dict.fromkeys(("type", *UPDATABLE_FIELDS), value))
        for values in FITTING:
            self.assert_alike(self.creations(), values)

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.sampled_from(UPDATABLE_FIELDS), JSON_VALUES, st.booleans())
    def test_any_json_value_is_taken_by_all_ways_or_by_none(
        self, field: str, value: Any, is_update: bool
    ) -> None:
        self.assert_alike(self.updates() if is_update else self.creations(), {field: value})
