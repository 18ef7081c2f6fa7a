"""Tests of POST /data-sources/apply."""

import os
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from django.test import override_settings

from datasources.declarations import input as declarations_input
from datasources.models import DataSource, DataSourceRevision
from datasources.testing import DataSourceTestCase
from organizations.models import Organization, Role, Workspace
from rivergen.http import serializers
from rivergen.http.serializers import MOST_UNKNOWN_NAMES_REPORTED

PATH = "/data-sources/apply"
LAKE = {"name": "Lake", "type": "parquet", "file_path": "lake.parquet"}
MOVED = {"name": "Production PostgreSQL", "port": 5433}


class ApplyTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.root = Path(self.enterContext(TemporaryDirectory()))
        for organization in (self.acme, self.globex):
            (self.root / str(organization.pk)).mkdir()
            (self.root / str(organization.pk) / "shop").write_text(f"of {organization.slug}\n")
        self.enterContext(override_settings(SECRETS_ROOT=str(self.root)))

    def apply(self, *entries: Any, query: str = "", user: Any = None, **others: Any) -> Any:
        body = {"data_sources": [*entries], **others}
        return self.call("post", f"{PATH}{query}", body, user or self.editor)

    def apply_yaml(self, text: str) -> Any:
        data = text.encode()
        return self.call("post", PATH, data, self.editor, content_type="application/yaml")

    def everything(self) -> list[Any]:
        models: Any = (DataSource, DataSourceRevision)
        return [[*model._default_manager.order_by("pk").values()] for model in models]

    def with_secret(self, text: str) -> dict[str, Any]:
        return {"name": "Production PostgreSQL", "credentials": {"password": text}}

    def test_apply_creates_and_changes_data_sources(self) -> None:
        response = self.apply(LAKE, MOVED)
        self.assertEqual(response.status_code, 200, response.content)
        lake = {"action": "create", "workspace": "Default", "name": "Lake", "type": "parquet"}
        moved = {"workspace": "Default", "name": "Production PostgreSQL", "type": "postgresql"}
        changes = {"port": {"from": 5432, "to": 5433}}
        steps = [{**lake, "changes": {}}, {"action": "change", **moved, "changes": changes}]
        summary = {"create": 1, "change": 1, "delete": 0, "keep": 0}
        self.assertEqual(response.json()["data"], {"steps": steps, "summary": summary})
        revision = self.data_source.revisions.first()
        assert revision is not None
        self.assertEqual((revision.origin, revision.changed_by), ("api", self.editor))
        self.assertEqual(revision.request_id, response["X-Request-ID"])
        self.assertEqual(DataSource.objects.get(name="Lake").created_by, self.editor)

    def test_dry_run_returns_the_same_plan_and_stores_nothing(self) -> None:
        before = self.everything()
        planned = self.apply(LAKE, MOVED, query="?dry_run=true&prune=true", user=self.admin)
        self.assertEqual(self.everything(), before)
        applied = self.apply(LAKE, MOVED, query="?prune=true", user=self.admin)
        self.assertEqual(applied.json()["data"], planned.json()["data"])

    def test_prune_needs_the_role_admin(self) -> None:
        before = self.everything()
        for query in ("?prune=true", "?prune=true&dry_run=true"):
            self.assert_error(self.apply(LAKE, query=query), 403, "FORBIDDEN")
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.apply(LAKE, query="?prune=true", user=self.admin).status_code, 200)
        self.assertEqual([one.name for one in DataSource.objects.all()], ["Lake"])

    def test_problems_in_json_are_reported_by_field(self) -> None:
        before = self.everything()
        response = self.apply({**LAKE, "name": "x", "type": "oracel"}, {**MOVED, "port": 0})
        fields = ("data_sources[0].type", "data_sources[1].port")
        error = self.assert_error(response, 400, "BAD_REQUEST", *fields)
        self.assertNotIn("Line", str(error["details"]))
        self.assertEqual(self.everything(), before)

    def test_problems_in_yaml_are_reported_with_their_lines(self) -> None:
        response = self.apply_yaml("data_sources:\n- name: Lake\n  type: csv\n")
        self.assertEqual(response.json()["data"]["summary"]["create"], 1, response.content)
        response = self.apply_yaml("data_sources:\n- name: Lake\n  prot: 1\n")
        error = self.assert_error(response, 400, "BAD_REQUEST", "data_sources[0].prot")
        self.assertIn("Line 3: ", error["details"]["data_sources[0].prot"][0])
        for text, words in (("a: [", "Not valid YAML"), ("a: &b 1", "line 1: Anchors")):
            with self.subTest(text):
                error = self.assert_error(self.apply_yaml(text), 400, "BAD_REQUEST")
                self.assertIn(words, error["message"])

    def test_secret_references_of_an_editor_are_403_and_tell_nothing_of_files(self) -> None:
        before = self.everything()
        own = {"host": "own.example.com"}
        answers = set()
        with mock.patch("datasources.declarations.references.read_file") as reads:
            for text in ("${file:shop}", "${file:nowhere}", "${file:..}", "${env:PATH}", "x", ""):
                for query in ("", "?dry_run=true"):
                    for entry in (
                        self.with_secret(text) | own,
                        LAKE | {"type": "mysql", "credentials": {"ssh_private_key": text}},
                    ):
                        with self.subTest(text, query=query):
                            response = self.apply(entry, query=query)
                            error = self.assert_error(response, 403, "FORBIDDEN")
                            answers.add(error["message"])
            self.assertFalse(reads.called)
        self.assertEqual(len(answers), 1)
        self.assertIn("needs the role admin; yours is editor", answers.pop())
        yaml = "data_sources:\n- name: Lake\n  credentials: {token: '${file:shop}'}\n"
        self.assert_error(self.apply_yaml(yaml), 403, "FORBIDDEN")
        self.assertEqual(self.everything(), before)

    def test_role_for_secret_references_is_that_in_the_declared_organization(self) -> None:
        self.globex.add_member(self.editor, Role.ADMIN)
        entry = self.with_secret("${file:shop}")
        refused = self.apply(entry, organization="acme")
        self.assert_error(refused, 403, "FORBIDDEN")
        theirs = {**LAKE, **entry, "type": "mysql", "file_path": None}
        self.assertEqual(self.apply(theirs, organization="globex").status_code, 200)

    def test_editors_apply_declarations_that_clear_secrets_or_have_none(self) -> None:
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        cleared = {"username": "reader", "password": None}
        entry = {"name": "Production PostgreSQL", "credentials": cleared}
        self.assertEqual(self.apply(entry).status_code, 200)
        self.assertEqual(self.stored()["credentials_status"], "unset")

    def test_secret_references_reach_only_files_of_the_callers_organization(self) -> None:
        sent = self.apply(self.with_secret("${file:shop}"), user=self.admin)
        self.assertEqual(sent.status_code, 200)
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        self.assertEqual(data_source.credentials.open(), {"password": "of acme"})
        self.assertNotIn("of acme", str(sent.content))
        for text in (
            "hunter2",
            "${env:SHOP_PASSWORD}",
            f"${{file:../{self.globex.pk}/shop}}",
            f"${{file:{self.root}/{self.globex.pk}/shop}}",
            "${file:nowhere}",
        ):
            with self.subTest(text), mock.patch.dict(os.environ, {"SHOP_PASSWORD": "x"}):
                response = self.apply(self.with_secret(text), user=self.admin)
                field = "data_sources[0].credentials.password"
                self.assert_error(response, 400, "BAD_REQUEST", field)
                self.assertNotContains(response, "hunter2", status_code=400)

    def test_moved_secrets_are_unconfirmed_for_an_editor_and_kept_for_an_admin(self) -> None:
        for user, status in ((self.editor, "unconfirmed"), (self.admin, "set")):
            with self.subTest(status):
                self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
                moved = {"name": "Production PostgreSQL", "host": f"{user.username}.example.com"}
                self.assertEqual(self.apply(moved, user=user).status_code, 200)
                self.assertEqual(self.shown()["credentials_status"], status)

    def test_apply_needs_an_unambiguous_organization_of_the_caller(self) -> None:
        self.assert_error(
            self.apply(LAKE, organization="globex"), 400, "BAD_REQUEST", "organization"
        )
        for slug in ("nowhere", "a\0b", "", 5):
            with self.subTest(slug):
                response = self.apply(LAKE, organization=slug)
                self.assert_error(response, 400, "BAD_REQUEST", "organization")
        other = Organization.objects.create(name="Other", slug="other")
        other.add_member(self.editor, Role.VIEWER)
        self.assert_error(self.apply(LAKE), 400, "BAD_REQUEST", "organization")
        self.assert_error(self.apply(LAKE, organization="other"), 403, "FORBIDDEN")
        self.assertEqual(self.apply(LAKE, organization="acme").status_code, 200)

    def test_number_of_reported_unknown_fields_is_limited(self) -> None:
        unknown = {f"port{number}": 1 for number in range(MOST_UNKNOWN_NAMES_REPORTED + 1)}
        error = self.apply(LAKE | unknown | {"x" * 100_000: 1}).json()["error"]
        self.assertEqual(len(error["details"]), MOST_UNKNOWN_NAMES_REPORTED)

    def test_reading_a_document_stops_after_a_hundred_mistakes(self) -> None:
        mistakes = {f"shema_refresh_{number}": 1 for number in range(50)}
        entries = [{**LAKE, **mistakes, "name": f"Lake {number}"} for number in range(500)]
        with mock.patch.object(
            serializers, "get_close_matches", side_effect=get_close_matches
        ) as compare:
            error = self.apply(*entries).json()["error"]
        self.assertLessEqual(compare.call_count, 150)
        self.assertEqual(len(error["details"]), 101)
        sentence = "There may be more. Correct these first."
        self.assertEqual(error["details"]["data_sources"], [sentence])

    def test_error_about_an_unknown_workspace_names_a_few(self) -> None:
        Workspace.objects.bulk_create(
            Workspace(organization=self.acme, name=f"Team {number}") for number in range(1_000)
        )
        entries = [{**LAKE, "name": f"Lake {number}", "workspace": "No"} for number in range(50)]
        response = self.apply(*entries)
        self.assert_error(response, 400, "BAD_REQUEST", *response.json()["error"]["details"])
        [message] = response.json()["error"]["details"]["data_sources[7].workspace"]
        self.assertRegex(message, r"^There is no such workspace. .* and 9\d\d more\.$")
        self.assertLess(len(message), 500)

    def test_number_of_data_sources_in_a_request_is_limited(self) -> None:
        with mock.patch.object(declarations_input, "DATA_SOURCES_MAX", 1):
            self.assert_error(self.apply(LAKE, MOVED), 400, "BAD_REQUEST", "data_sources")
            self.assertEqual(self.apply(LAKE).status_code, 200)

    def test_apply_refuses_bad_parameters_media_types_and_bodies(self) -> None:
        for query, field in (
            ("?dry_run=1", "dry_run"),
            ("?prune=", "prune"),
            ("?plan=true", "plan"),
        ):
            with self.subTest(query):
                self.assert_error(self.apply(LAKE, query=query), 400, "BAD_REQUEST", field)
        response = self.call("post", PATH, b"a,b", self.editor, content_type="text/csv")
        self.assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")
        large = b"# " + b"x" * (1 << 20)
        response = self.call("post", PATH, large, self.editor, content_type="application/yaml")
        self.assert_error(response, 413, "PAYLOAD_TOO_LARGE")
        response = self.call("post", PATH, b"\xff", self.editor, content_type="application/yaml")
        self.assert_error(response, 400, "BAD_REQUEST")
