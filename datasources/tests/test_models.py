"""Tests of the model DataSource: apply_changes, restore, search, locks and history."""

import threading
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from datasources.models import UPDATABLE_FIELDS, DataSource, DataSourceRevision
from datasources.testing import DataSourceTestCase, DataSourceTestMixin
from organizations.testing import sql


class MigrationTests(TestCase):
    def test_migrations_create_what_the_models_say(self) -> None:
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)


class DataSourceModelTests(DataSourceTestCase):
    def fetch(self) -> DataSource:
        return DataSource.objects.get(pk=self.data_source.pk)

    def revisions(self) -> list[Any]:
        return [*self.data_source.revisions.values()]

    def test_apply_changes_returns_and_records_the_differences(self):
        data_source = self.fetch()
        changes = data_source.apply_changes(
            {"port": 5433, "host": "db.example.com", "tags": ["a"]}, user=self.admin
        )
        expected = {"port": {"from": 5432, "to": 5433}, "tags": {"from": [], "to": ["a"]}}
        self.assertEqual(changes, expected)
        row = self.stored()
        self.assertEqual((row["port"], row["tags"], row["version"]), (5433, ["a"], 2))
        revision = self.revisions()[0]
        self.assertEqual(revision["changes"], expected)
        self.assertEqual(
            (revision["version"], revision["origin"], revision["changed_by_id"]),
            (2, "shell", self.admin.pk),
        )
        self.assertEqual(revision["changed_at"], row["updated_at"])

    def test_apply_changes_compares_with_the_current_row(self):
        stale = self.fetch()
        self.fetch().apply_changes({"port": 5433}, user=self.admin)
        changes = stale.apply_changes({"port": 5434}, user=self.admin)
        self.assertEqual(changes, {"port": {"from": 5433, "to": 5434}})
        self.assertEqual(self.stored()["version"], 3)

    def test_apply_changes_without_fields_does_nothing(self):
        before = self.stored()
        self.assertEqual(self.fetch().apply_changes({}, user=self.admin), {})
        self.assertEqual(self.stored(), before)

    def test_apply_changes_validates_as_the_api_does(self):
        before = self.stored()
        for changes, fields in (
            ({"port": 0}, {"port"}),
            ({"port": "x"}, {"port"}),
            ({"name": " "}, {"name"}),
            ({"name": None, "tags": ["a", "a"]}, {"name", "tags"}),
            ({"metadata": {"password": "x"}}, {"metadata"}),
            ({"connection_string": "mysql://db/x"}, {"connection_string"}),
            ({"use_ssh_tunnel": True}, {"ssh_host", "ssh_username"}),
            ({"type": "mysql"}, {"type"}),
            ({"version": 9}, {"version"}),
            ({"no_such_field": 1}, {"no_such_field"}),
        ):
            with self.subTest(changes=changes):
                with self.assertRaises(ValidationError) as caught:
                    self.fetch().apply_changes(changes, user=self.admin)
                self.assertEqual({*caught.exception.message_dict}, fields)
                self.assertEqual(self.stored(), before)
        self.assertEqual(len(self.revisions()), 1)

    def test_values_of_python_that_are_no_json_are_refused(self):
        before = self.stored()
        for changes in (
            {"tags": ("a",)},
            {"tags": {"a"}},
            {"metadata": {"a": (1, 2)}},
            {"metadata": {1: "a"}},
            {"metadata": {"a": {None: 1}}},
            {"metadata": {"a": float("nan")}},
            {"metadata": {"a": b"b"}},
            {"metadata": {"a": Decimal("1.5")}},
            {"metadata": {"a": datetime(2024, 12, 1)}},
            {"description": b"a"},
            {"description": gettext_lazy("a")},
            {"port": Decimal(5433)},
            {"port": HTTPStatus.OK},
        ):
            with self.subTest(changes), self.assertRaises(ValidationError) as caught:
                self.fetch().apply_changes(changes, user=self.admin)
            self.assertEqual(caught.exception.message_dict.keys(), changes.keys())
            self.assertEqual(self.stored(), before)

    def test_strings_of_other_classes_are_stored_as_text(self):
        data_source = self.fetch()
        text = SafeString("a")
        changes = {"description": text, "schema_name": DataSource.Type.CSV, "tags": [text]}
        data_source.apply_changes(changes, user=self.admin)
        self.assertIs(type(data_source.description), str)
        self.assertEqual(data_source.schema_name, "csv")
        self.assertEqual(data_source.apply_changes(changes, user=self.admin), {})
        stored = self.stored()
        self.assertEqual((stored["schema_name"], stored["tags"]), ("csv", ["a"]))

    def test_full_clean_refuses_each_value_of_another_type(self):
        empty = {"metadata": {}, "tags": [], "description": ""}
        for field in UPDATABLE_FIELDS:
            for value in ({}, [], "", 5.5, b"a", object()):
                if value == empty.get(field, self):
                    continue
                data_source = DataSource(
                    workspace=self.workspace, organization=self.acme, name="New", type="csv"
                )
                setattr(data_source, field, value)
                with self.subTest(field, value=value), self.assertRaises(ValidationError) as caught:
                    data_source.full_clean()
                self.assertIn(field, caught.exception.message_dict)

    def test_set_credentials_refuses_values_that_are_no_text(self):
        before = self.stored()
        for field in ("username", "password"):
            for value in (5, True, [], {}, b"a", ""):
                with self.subTest(field, value=value), self.assertRaises(ValidationError) as caught:
                    self.fetch().set_credentials({field: value}, user=self.admin)
                self.assertEqual([*caught.exception.message_dict], [field])
                self.assertEqual(self.stored(), before)

    def test_apply_changes_refuses_a_taken_name_and_keeps_the_transaction(self):
        DataSource.objects.create(workspace=self.workspace, name="Taken", type="csv")
        with transaction.atomic():
            with self.assertRaises(ValidationError) as caught:
                self.fetch().apply_changes({"name": "tAKEN", "port": 1}, user=self.admin)
            self.assertEqual({*caught.exception.message_dict}, {"name"})
            self.assertEqual(self.stored()["port"], 5432)

    def test_apply_changes_raises_does_not_exist_for_a_deleted_row(self):
        data_source = self.fetch()
        self.fetch().delete()
        with self.assertRaises(DataSource.DoesNotExist):
            data_source.apply_changes({"port": 1}, user=self.admin)

    def test_dry_run_returns_the_changes_and_stores_nothing(self):
        data_source = self.fetch()
        before = self.stored()
        changes = data_source.apply_changes({"port": 1}, user=self.admin, dry_run=True)
        self.assertEqual(changes, {"port": {"from": 5432, "to": 1}})
        self.assertEqual((data_source.port, data_source.version), (1, 2))
        self.assertEqual(self.stored(), before)

    def test_dry_run_keeps_earlier_changes_of_the_transaction(self):
        with transaction.atomic():
            data_source = DataSource.objects.for_update().get(pk=self.data_source.pk)
            data_source.apply_changes({"port": 1}, user=self.admin, is_locked=True)
            data_source.apply_changes({"port": 2}, user=self.admin, is_locked=True, dry_run=True)
        self.assertEqual(self.stored()["port"], 1)

    def test_restore_undoes_all_later_changes(self):
        for changes in ({"port": 1, "tags": ["a"]}, {"port": 2, "metadata": {"a": 1}}, {"port": 3}):
            self.fetch().apply_changes(changes, user=self.editor)
        self.fetch().restore(2, user=self.admin)
        row = self.stored()
        self.assertEqual((row["port"], row["tags"], row["metadata"]), (1, ["a"], {}))
        self.assertEqual(row["version"], 5)
        self.assertEqual(self.revisions()[0]["origin"], "restore")
        self.fetch().restore(4, user=self.admin)
        row = self.stored()
        self.assertEqual((row["port"], row["metadata"], row["version"]), (3, {"a": 1}, 6))

    def test_restore_of_the_current_version_changes_nothing(self):
        before = self.stored()
        self.assertEqual(self.fetch().restore(1, user=self.admin), {})
        self.assertEqual(self.stored(), before)

    def test_restore_raises_does_not_exist_for_an_unknown_version(self):
        for version in (0, -1, 2):
            with self.subTest(version=version), self.assertRaises(DataSourceRevision.DoesNotExist):
                self.fetch().restore(version, user=self.admin)

    def test_creation_of_a_data_source_is_its_first_revision(self):
        revision = self.revisions()[-1]
        self.assertEqual((revision["version"], revision["changed_by_id"]), (1, self.owner.pk))
        self.assertEqual(
            revision["changes"],
            {
                field: {"from": None, "to": value}
                for field, value in {
                    "type": "postgresql",
                    "name": "Production PostgreSQL",
                    "host": "db.example.com",
                    "port": 5432,
                    "database_name": "production",
                    "schema_name": "public",
                }.items()
            },
        )

    def test_save_of_a_new_data_source_validates_and_sets_the_organization(self):
        data_source = DataSource(organization=self.globex, name=" Lake ", type="csv")
        data_source.save()
        self.assertEqual(data_source.workspace, self.globex.workspaces.get())
        self.assertEqual(data_source.name, "Lake")
        elsewhere = DataSource(
            organization=self.globex, workspace=self.workspace, name="Pond", type="csv"
        )
        elsewhere.save()
        self.assertEqual(elsewhere.organization, self.acme)
        for wrong in ({"type": "x"}, {"port": 0}, {"name": ""}, {"tags": [1]}):
            with self.subTest(wrong=wrong), self.assertRaises(ValidationError) as caught:
                values = {"workspace": self.workspace, "name": "n", "type": "csv"} | wrong
                DataSource(**values).save()
            self.assertEqual({*caught.exception.message_dict}, {*wrong})

    def test_bulk_create_records_a_revision_for_each_data_source(self):
        made = DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=f"s{n}", type="csv") for n in range(3)
        )
        versions = DataSourceRevision.objects.filter(data_source__in=made)
        self.assertEqual([*versions.values_list("version", flat=True)], [1, 1, 1])
        for option in ("ignore_conflicts", "update_conflicts"):
            with self.subTest(option=option), self.assertRaises(TypeError):
                DataSource.objects.bulk_create([], **{option: True})

    def test_history_stays_after_its_users_are_deleted(self):
        self.fetch().apply_changes({"port": 1}, user=self.editor)
        self.editor.delete()
        row = self.stored()
        self.assertEqual((row["updated_by_id"], row["version"]), (None, 2))
        self.assertIsNone(self.revisions()[0]["changed_by_id"])

    def test_search_finds_every_word_in_any_field(self):
        DataSource.objects.create(
            workspace=self.workspace, name="100% Ärger", type="csv", description="a_b \\ c"
        )
        for text, names in (
            ("", ["100% Ärger", "Production PostgreSQL"]),
            ("PROD example", ["Production PostgreSQL"]),
            ("prod nowhere", []),
            ("ärger", ["100% Ärger"]),
            ("0%", ["100% Ärger"]),
            ("%", ["100% Ärger"]),
            ("a_b", ["100% Ärger"]),
            ("p_o", []),
            ("\\", ["100% Ärger"]),
        ):
            with self.subTest(text=text):
                found = DataSource.objects.search(text).values_list("name", flat=True)
                self.assertEqual([*found], names)

    def test_for_update_locks_only_the_row_of_the_data_source(self):
        with self.statements() as captured, transaction.atomic():
            DataSource.objects.for_user(self.editor).for_update().get(pk=self.data_source.pk)
        (select,) = sql(captured)
        self.assertTrue(select.endswith('FOR NO KEY UPDATE OF "datasources_datasource"'), select)


class LockTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def test_apply_changes_waits_for_a_concurrent_change(self):
        def change() -> None:
            stale.apply_changes({"port": 5434}, user=self.admin)
            connection.close()

        stale = DataSource.objects.get(pk=self.data_source.pk)
        waiting = threading.Thread(target=change)
        with transaction.atomic():
            data_source = DataSource.objects.get(pk=self.data_source.pk)
            data_source.apply_changes({"port": 5433, "host": "other"}, user=self.admin)
            waiting.start()
            self.wait_for_lock(waiting)
        waiting.join()
        row = self.stored()
        self.assertEqual((row["port"], row["host"], row["version"]), (5434, "other", 3))
        newest = self.data_source.revisions.get(version=3)
        self.assertEqual(newest.changes, {"port": {"from": 5433, "to": 5434}})
