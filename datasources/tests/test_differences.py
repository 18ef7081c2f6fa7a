"""Tests of what a revision stores of a nested value, and of restoring from it."""

import copy
import json
import random
import string
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from datasources.models import DataSource, DataSourceRevision
from datasources.models.changing import difference, is_same_json
from datasources.models.restoring import REVISIONS_AT_ONCE, undo
from datasources.testing import DataSourceTestCase

# Few names and values, so that two objects often have some in common.
SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, "", "x", -0.0, 10**30])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES)
LARGE_BYTES = 48_000


def dump(value: Any) -> str:
    """Return JSON that distinguishes 1 from 1.0 and true, as `==` does not."""
    return json.dumps(value, sort_keys=True)


def large_metadata(seed: int) -> dict[str, Any]:
    """Return metadata of some 48 KB that hardly compresses."""
    letters = random.Random(seed)
    text = "".join(letters.choices(string.ascii_letters + string.digits, k=LARGE_BYTES))
    return {f"m{n}": text[n * 1000 : (n + 1) * 1000] for n in range(LARGE_BYTES // 1000)}


class DifferenceTests(SimpleTestCase):
    @given(OBJECTS, OBJECTS)
    def test_undoing_a_difference_gives_back_the_value_before(self, before, after):
        stored = json.loads(json.dumps(difference(before, after)))
        self.assertEqual(dump(undo(after, stored)), dump(before))

    @given(OBJECTS, OBJECTS)
    def test_undoing_whole_values_gives_back_the_value_before(self, before, after):
        self.assertEqual(dump(undo(after, {"from": before, "to": after})), dump(before))

    @given(st.lists(OBJECTS, min_size=2, max_size=5))
    def test_undoing_several_changes_newest_first_gives_back_each_version(self, versions):
        pairs = [*zip(versions, versions[1:], strict=False)]
        value = versions[-1]
        for before, after in reversed(pairs):
            value = undo(value, difference(before, after))
            self.assertEqual(dump(value), dump(before))

    @given(OBJECTS, OBJECTS)
    def test_difference_names_no_member_that_is_equal(self, before, after):
        stored = difference(before, after)
        for name in before.keys() & after.keys():
            is_named = name in stored["from"] or name in stored["to"]
            self.assertEqual(is_named, not is_same_json(before[name], after[name]))

    @given(OBJECTS, OBJECTS)
    def test_neither_value_is_changed(self, before, after):
        copies = copy.deepcopy((before, after))
        stored = difference(before, after)
        undo(after, stored)
        self.assertEqual(dump([before, after]), dump([*copies]))

    def test_difference_has_only_the_members_that_differ(self):
        for before, after, expected in (
            ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 2}}, ({"a": {"b": 1}}, {"a": {"b": 2}})),
            ({"a": 1}, {"a": 1, "b": None}, ({}, {"b": None})),
            ({"a": {}, "b": 1}, {"b": 1}, ({"a": {}}, {})),
            ({"a": {"b": 1}}, {"a": {}}, ({"a": {"b": 1}}, {"a": {}})),
            ({"a": {"b": 1}}, {"a": 1}, ({"a": {"b": 1}}, {"a": 1})),
            ({"a": 1}, {"a": {"b": 1}}, ({"a": 1}, {"a": {"b": 1}})),
            ({"a": 1, "b": 1, "c": 0}, {"a": 1.0, "b": True, "c": False}, (
                {"a": 1, "b": 1, "c": 0}, {"a": 1.0, "b": True, "c": False})),
            ({"a": [1, 2, 3]}, {"a": [1, 2, 4]}, ({"a": [1, 2, 3]}, {"a": [1, 2, 4]})),
            (None, {"a": 1}, (None, {"a": 1})),
        ):  # fmt: skip
            with self.subTest(before=before, after=after):
                stored = difference(before, after)
                self.assertEqual(dump([stored["from"], stored["to"]]), dump([*expected]))


class NestedHistoryTests(DataSourceTestCase):
    def patch(self, body: Any, query: str = "", **options: Any) -> Any:
        return self.call("patch", f"{self.path}{query}", body, self.editor, **options)

    def history(self) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = self.call(
            "get", f"{self.path}/history", user=self.viewer
        ).json()["data"]
        return data

    def test_history_of_large_metadata_stores_only_the_members_that_changed(self):
        metadata = large_metadata(0)
        self.patch({"metadata": metadata})
        for number in range(20):
            metadata = {**metadata, "m7": f"changed {number}"}
            self.assertEqual(self.patch({"metadata": metadata}).status_code, 200)
        sizes = [len(json.dumps(one.changes)) for one in self.data_source.revisions.all()[:20]]
        self.assertLess(max(sizes), 1200)
        newest = {"metadata": {"from": {"m7": "changed 18"}, "to": {"m7": "changed 19"}}}
        self.assertEqual(self.history()[0]["changes"], newest)

    def test_dry_run_and_merge_patch_show_only_the_members_that_change(self):
        self.patch({"metadata": {"team": {"name": "data", "size": 3}, "tier": 1}})
        body = {"metadata": {"team": {"size": 4}, "tier": None}}
        expected = {
            "metadata": {"from": {"team": {"size": 3}, "tier": 1}, "to": {"team": {"size": 4}}}
        }
        sent = {"body": json.dumps(body).encode(), "content_type": "application/merge-patch+json"}
        planned = self.patch(query="?dry_run=true", **sent).json()
        self.assertEqual(planned["changes"], expected)
        self.patch(**sent)
        self.assertEqual(self.history()[0]["changes"], expected)

    def test_restore_brings_back_each_version_of_nested_metadata(self):
        values: list[dict[str, Any]] = [
            {},
            {"a": None},
            {"a": {"b": {"c": 1, "d": [1, {"e": 1}]}}},
            {"a": {"b": {"c": 1.0, "d": [1, {"e": 2}]}}, "x": {}},
            {"a": {"b": True}, "x": {"y": {}}},
            {"a": {"b": {}}, "x": {"y": {"z": "0"}}},
            {"x": 1},
            {},
        ]
        values = [{**value, "same": {"in": ["all"]}} if value else value for value in values]
        for value in values[1:]:
            self.data_source.apply_changes({"metadata": value}, user=self.editor)
        for version in (*range(1, len(values) + 1), 3, 6, 2):
            with self.subTest(version=version):
                DataSource.objects.get(pk=self.data_source.pk).restore(version, user=self.admin)
                self.assertEqual(dump(self.stored()["metadata"]), dump(values[version - 1]))

    def test_restore_undoes_revisions_that_have_whole_values(self):
        first, second = {"a": {"b": 1, "c": 2}, "z": 1}, {"a": {"b": 2, "c": 2}, "y": 1}
        self.data_source.apply_changes({"metadata": first}, user=self.editor)
        self.data_source.apply_changes({"metadata": second}, user=self.editor)
        whole = {"metadata": {"from": first, "to": second}}
        DataSourceRevision.objects.filter(version=3).update(changes=whole)
        self.data_source.apply_changes({"metadata": {"a": {"b": 3}}}, user=self.editor)
        self.data_source.restore(2, user=self.admin)
        self.assertEqual(self.stored()["metadata"], first)

    def test_restore_reads_a_long_history_in_parts(self):
        for number in range(REVISIONS_AT_ONCE + 3):
            values = {"port": 6000 + number, "metadata": {"n": number, "same": True}}
            self.data_source.apply_changes(values, user=self.editor)
        self.data_source.restore(2, user=self.admin)
        row = self.stored()
        self.assertEqual((row["port"], row["metadata"]), (6000, {"n": 0, "same": True}))

    def test_restore_of_a_row_that_was_edited_by_hand_does_not_fail(self):
        self.data_source.apply_changes({"metadata": {"a": {"b": 1}}}, user=self.editor)
        self.data_source.apply_changes({"metadata": {"a": {"b": 2}}}, user=self.editor)
        DataSource._base_manager.filter(pk=self.data_source.pk).update(metadata={})
        DataSource.objects.get(pk=self.data_source.pk).restore(2, user=self.admin)
        self.assertEqual(self.stored()["metadata"], {"a": {"b": 1}})
