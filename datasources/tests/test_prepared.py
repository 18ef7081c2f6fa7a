"""Tests that statements compiled once behave as those that Django compiles each time."""

from unittest import mock

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction
from django.db.models.sql.compiler import SQLCompiler, SQLInsertCompiler, SQLUpdateCompiler
from django.utils import timezone

from datasources.models import UPDATABLE_FIELDS, DataSource
from datasources.models.querysets import prepared_get
from datasources.testing import DataSourceTestCase
from organizations.models import User
from rivergen.postgresql.prepared import PreparedGet, batched_updates, update_row

READ = prepared_get(DataSource, is_locked=False)
LOCK = prepared_get(DataSource, is_locked=True)
ODD_VALUES = {
    "description": "100 % of \\ 'quotes' \" and %s",
    "host": None,
    "tags": ["a", "b'c", "{d}", "%s"],
    "metadata": {"a": [1.5, None, {"b": "%s"}], "c": True},
    "schema_auto_refresh": True,
    "schema_next_refresh_at": timezone.now(),
    "last_test": {"ok": None},
    "version": 2**40,
}


class PreparedTests(DataSourceTestCase):
    def test_prepared_query_returns_what_the_queryset_returns(self):
        for user in (self.editor, self.owner):
            expected = DataSource.objects.for_user(user).get(pk=self.data_source.pk)
            for get, policy in ((READ, {}), (LOCK, {"requires_if_match": False})):
                found = get(user.pk, self.data_source.pk)
                values = expected.__dict__ | {"_state": 0, **policy}
                self.assertEqual(found.__dict__ | {"_state": 0}, values)
                self.assertFalse(found._state.adding)
        for user_id, pk in (
            (self.stranger.pk, self.data_source.pk),
            (self.editor.pk, self.data_source.pk + 1),
            (0, 0),
        ):
            with self.subTest(user_id=user_id, pk=pk), self.assertRaises(ObjectDoesNotExist):
                READ(user_id, pk)

    def test_compiled_lock_locks_the_row_of_the_data_source(self):
        with self.statements() as captured, transaction.atomic():
            LOCK(self.editor.pk, self.data_source.pk)
        self.assertTrue(
            captured[1]["sql"].endswith('FOR NO KEY UPDATE OF "datasources_datasource"')
        )

    def test_query_that_ignores_an_argument_is_refused(self):
        get = PreparedGet(DataSource, lambda user_id, pk: DataSource.objects.filter(pk=pk))
        with self.assertRaises(AssertionError):
            get(self.editor.pk, self.data_source.pk)

    def test_update_row_stores_what_save_would_store(self):
        other = DataSource.objects.get(pk=self.data_source.pk)
        for name, value in ODD_VALUES.items():
            setattr(other, name, value)
        other.updated_by = self.admin
        user = User(username="new", password="x")
        update_row(other, [*ODD_VALUES, "updated_by"], user)
        stored = self.stored()
        self.assertEqual({name: stored[name] for name in ODD_VALUES}, ODD_VALUES)
        self.assertEqual(stored["updated_by_id"], self.admin.pk)
        self.assertEqual(stored["name"], "Production PostgreSQL")
        stored_user = User.objects.get(username="new")
        for field in User._meta.concrete_fields[1:]:
            self.assertEqual(getattr(stored_user, field.attname), getattr(user, field.attname))

    def test_repeated_update_and_read_compile_no_sql(self):
        self.call("patch", self.path, {"description": "0"}, self.editor)
        self.shown()
        compilers = (SQLCompiler, SQLUpdateCompiler, SQLInsertCompiler)
        spies = [self.enterContext(mock.patch.object(one, "as_sql")) for one in compilers]
        response = self.call("patch", self.path, {"description": "1"}, self.editor)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.call("get", self.path, user=self.viewer).status_code, 200)
        for spy in spies:
            spy.assert_not_called()

    def test_batched_updates_are_stored_in_order_and_before_other_statements(self):
        with transaction.atomic(), batched_updates():
            for number in range(50):
                self.data_source.port = 1 + number
                update_row(self.data_source, ["port"])
            self.assertEqual(self.stored()["port"], 50)
            self.data_source.port = 51
            with self.assertNumQueries(0):
                update_row(self.data_source, ["port"])
        self.assertEqual(self.stored()["port"], 51)

    def test_error_of_a_batched_update_is_raised_at_the_end_as_that_of_django(self):
        other = DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        for ends_early in (False, True):
            refused = self.assertRaises(IntegrityError)
            with self.subTest(ends_early), refused, transaction.atomic(), batched_updates():
                other.name = self.data_source.name
                update_row(other, ["name"])
                if ends_early:
                    self.stored()
            self.assertEqual(DataSource.objects.get(pk=other.pk).name, "Other")

    def test_batch_that_is_left_by_an_error_sends_nothing_more(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic(), batched_updates():
            self.data_source.port = 1
            update_row(self.data_source, ["port"])
            raise ZeroDivisionError
        self.assertEqual(self.stored()["port"], 5432)
        self.data_source.port = 2
        update_row(self.data_source, ["port"])
        self.assertEqual(self.stored()["port"], 2)

    def test_update_row_stores_every_updatable_field(self):
        for field in UPDATABLE_FIELDS:
            with self.subTest(field):
                value = self.stored()[field]
                update_row(self.data_source, [field])
                self.assertEqual(self.stored()[field], value)
