"""Tests of changes between snapshots, and of GET …/schema/changes."""

from unittest import mock

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from datasources.schemas.snapshots.changes import changes_between
from datasources.schemas.snapshots.content import dump
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestCase
from rivergen.http import pagination

NAMES = st.sampled_from("abcd")
COLUMNS = st.builds(
    lambda name, common_type, nullable: column(name, common_type=common_type, nullable=nullable),
    NAMES,
    st.sampled_from(("integer", "string")),
    st.booleans(),
)
TABLES = st.lists(
    st.builds(
        lambda name, columns, comment, key: table(name, *columns, comment=comment, primary_key=key),
        NAMES,
        st.lists(COLUMNS, unique_by=lambda one: one["name"]),
        st.sampled_from((None, "x")),
        st.sampled_from((None, {"name": "k", "columns": ["a"]}, {"name": "k", "columns": ["b"]})),
    ),
    unique_by=lambda one: one["name"],
)


def lines(tables):
    """Return tables in their stored form: sorted keys and JSON."""
    sorted_tables = sorted(tables, key=lambda one: (one["schema"], one["name"]))
    return [((one["schema"], one["name"]), dump(one)) for one in sorted_tables]


def changes(old, new):
    """Return the changes from one list of tables to another."""
    return [*changes_between(lines(old), lines(new))]


class ChangesTests(SimpleTestCase):
    def only_change(self, old, new):
        """Return the only change from one table to another."""
        [change] = changes([old], [new])
        return change

    def test_added_and_removed_tables_are_changes(self):
        self.assertEqual(
            changes([table("b", column("x")), table("c")], [table("a"), table("c")]),
            [
                {
                    "change": "added",
                    "object": "table",
                    "schema": "public",
                    "table": "a",
                    "name": None,
                    "from": None,
                    "to": {"kind": "table", "columns": 0},
                    "breaks_readers": False,
                },
                {
                    "change": "removed",
                    "object": "table",
                    "schema": "public",
                    "table": "b",
                    "name": None,
                    "from": {"kind": "table", "columns": 1},
                    "to": None,
                    "breaks_readers": True,
                },
            ],
        )

    def test_changed_column_shows_the_properties_that_differ(self):
        change = self.only_change(
            table("a", column("x")), table("a", column("x", type="text", common_type="string"))
        )
        self.assertEqual((change["change"], change["object"]), ("changed", "column"))
        self.assertEqual(change["from"], {"type": "integer", "common_type": "integer"})
        self.assertEqual(change["to"], {"type": "text", "common_type": "string"})

    def test_change_of_type_or_to_nullable_breaks_readers(self):
        text = {"type": "varchar(10)", "common_type": "string"}
        array = {"type": "integer[]", "common_type": "array"}
        for old, new, breaks in (
            (text, text | {"type": "varchar(20)"}, False),
            (text, text | {"common_type": "integer"}, True),
            (array, array | {"type": "text[]"}, True),
            ({"nullable": False}, {"nullable": True}, True),
            ({"nullable": True}, {"nullable": False}, False),
            ({"has_default": True}, {"has_default": False}, False),
            ({"comment": None}, {"comment": "x"}, False),
        ):
            with self.subTest(old=old, new=new):
                change = self.only_change(
                    table("a", column("x", **old)), table("a", column("x", **new))
                )
                self.assertEqual(change["breaks_readers"], breaks)

    def test_removed_column_breaks_readers_and_added_column_does_not(self):
        removed, added = column("x"), column("y")
        found = changes([table("a", removed)], [table("a", added)])
        self.assertEqual(
            [(one["change"], one["name"], one["breaks_readers"]) for one in found],
            [("added", "y", False), ("removed", "x", True)],
        )
        self.assertEqual((found[0]["to"], found[1]["from"]), (added, removed))

    def test_changed_order_of_columns_breaks_readers(self):
        x, y, z = map(column, "xyz")
        [change] = changes([table("a", x, y)], [table("a", y, x)])
        self.assertEqual(change["to"], {"column_order": ["y", "x"]})
        self.assertTrue(change["breaks_readers"])
        [change] = changes([table("a", x, y)], [table("a", x, z, y)])
        self.assertEqual((change["change"], change["name"]), ("added", "z"))

    def test_changes_of_keys_indexes_comments_and_kinds_do_not_break_readers(self):
        key = {"name": "k", "columns": ["x"]}
        reference = {**key, "referred_schema": "s", "referred_table": "t", "referred_columns": []}
        index = {**key, "is_unique": False}
        for part, facts, other in (
            ("primary_key", {"primary_key": key}, {"primary_key": key | {"columns": ["y"]}}),
            ("foreign_key", {"foreign_keys": [reference]}, {"foreign_keys": []}),
            ("index", {"indexes": [index]}, {"indexes": [index | {"is_unique": True}]}),
            ("table", {"comment": None}, {"comment": "x"}),
            ("table", {"kind": "table"}, {"kind": "view"}),
        ):
            with self.subTest(part):
                change = self.only_change(table("a", **facts), table("a", **other))
                self.assertEqual((change["object"], change["breaks_readers"]), (part, False))

    def test_unnamed_foreign_keys_are_distinguished_by_their_columns(self):
        key = {"name": None, "columns": ["x"], "referred_schema": None, "referred_table": "t"}
        one, two = ({**key, "columns": [name], "referred_columns": ["id"]} for name in "xy")
        change = self.only_change(
            table("a", foreign_keys=[one, two]), table("a", foreign_keys=[one])
        )
        self.assertEqual((change["change"], change["from"]), ("removed", two))

    def test_equal_tables_are_not_parsed(self):
        broken = [(("s", "t"), b"no JSON")]
        self.assertEqual([*changes_between(broken, broken)], [])

    @given(TABLES, TABLES)
    def test_snapshots_have_changes_exactly_if_their_tables_differ(self, old, new):
        found = changes(old, new)
        self.assertEqual(found == [], lines(old) == lines(new))
        keys = {name: {one["name"] for one in tables} for name, tables in (("o", old), ("n", new))}
        of_tables = [one for one in found if one["object"] == "table"]
        self.assertEqual(
            {one["table"] for one in of_tables if one["change"] == "added"}, keys["n"] - keys["o"]
        )
        self.assertEqual(
            {one["table"] for one in of_tables if one["change"] == "removed"}, keys["o"] - keys["n"]
        )
        self.assertEqual([one["table"] for one in found], sorted(one["table"] for one in found))


class GetChangesTests(DataSourceTestCase):
    def get(self, query="", status=200):
        response = self.call("get", f"{self.path}/schema/changes{query}", user=self.viewer)
        self.assertEqual(response.status_code, status, response.content)
        return response.json()

    def test_changes_without_parameters_compare_the_last_two_snapshots(self):
        for names in ("ab", "bc", "bcd"):
            refresh(self.data_source, *map(table, names))
        data = self.get()["data"]
        self.assertEqual((data["from"]["snapshot"], data["to"]["snapshot"]), (2, 3))
        self.assertEqual(data["from"]["table_count"], 2)
        [change] = data["changes"]
        self.assertEqual((change["change"], change["table"]), ("added", "d"))

    def test_any_two_snapshots_can_be_compared(self):
        for names in ("ab", "bc", "bcd"):
            refresh(self.data_source, *map(table, names))
        for query, found in (
            ("?from=1", ["-a", "+c", "+d"]),
            ("?from=1&to=2", ["-a", "+c"]),
            ("?to=2", ["-a", "+c"]),
            ("?from=3&to=1", ["+a", "-c", "-d"]),
            ("?from=2&to=2", []),
        ):
            with self.subTest(query):
                signs = {"added": "+", "removed": "-"}
                changes = self.get(query)["data"]["changes"]
                self.assertEqual([signs[one["change"]] + one["table"] for one in changes], found)

    def test_first_snapshot_has_no_changes(self):
        refresh(self.data_source, table("a"))
        data = self.get()["data"]
        self.assertEqual((data["from"], data["to"]["snapshot"], data["changes"]), (None, 1, []))

    def test_pages_stay_in_their_snapshots_and_the_summary_counts_all_pages(self):
        refresh(self.data_source, table("a", column("x")), *map(table, "bcd"))
        refresh(self.data_source, table("a", column("x", nullable=False)), *map(table, "ef"))
        first = self.get("?page_size=4")
        refresh(self.data_source)
        self.assertEqual(
            first["data"]["summary"],
            {"added": 2, "removed": 3, "changed": 1, "breaks_readers": 3},
        )
        link = first["pagination"]["next"]
        second = self.get(link[link.index("?") :])
        self.assertEqual(second["data"]["summary"], first["data"]["summary"])
        self.assertEqual([one["table"] for one in first["data"]["changes"]], [*"abcd"])
        self.assertEqual([one["table"] for one in second["data"]["changes"]], [*"ef"])
        self.assertIsNone(second["pagination"]["next"])
        link = second["pagination"]["previous"]
        self.assertEqual(self.get(link[link.index("?") :])["data"], first["data"])

    def test_cursors_lead_to_pages_between_the_same_snapshots(self):
        refresh(self.data_source, *map(table, "abc"))
        refresh(self.data_source, *map(table, "def"))
        first = self.get("?page_size=4")
        refresh(self.data_source)
        cursor = first["pagination"]["next_cursor"]
        second = self.get(f"?page_size=4&cursor={cursor}")
        ends = [
            (page["data"]["from"]["snapshot"], page["data"]["to"]["snapshot"])
            for page in (first, second)
        ]
        self.assertEqual(ends, [(1, 2), (1, 2)])
        self.assertEqual([one["table"] for one in second["data"]["changes"]], [*"ef"])
        self.assertIsNone(second["pagination"]["next_cursor"])
        cursor = second["pagination"]["previous_cursor"]
        self.assertEqual(self.get(f"?page_size=4&cursor={cursor}")["data"], first["data"])
        for query in ("from=2", "to=3"):
            error = self.get(f"?page_size=4&cursor={cursor}&{query}", 400)["error"]
            self.assertEqual(error["details"], {"cursor": [pagination.NO_CURSOR]})

    def test_cursor_of_the_tables_is_none_of_the_changes(self):
        refresh(self.data_source, *map(table, "abc"))
        tables = self.call("get", f"{self.path}/schema?page_size=1", user=self.viewer).json()
        self.get(f"?cursor={tables['pagination']['next_cursor']}", 400)

    def test_page_ends_early_at_the_size_limit_and_the_summary_counts_all_pages(self):
        refresh(self.data_source)
        refresh(self.data_source, *map(table, "abc"))
        whole = self.get()["data"]
        found, query = [], "?page_size=3"
        limit = 2 * len(dump(whole["changes"][0]))
        with mock.patch.object(pagination, "PAGE_BYTES_MAX", limit):
            while query is not None:
                response = self.get(query)
                self.assertEqual(response["data"]["summary"], whole["summary"])
                found.append([one["table"] for one in response["data"]["changes"]])
                link = response["pagination"]["next"]
                query = link and link[link.index("?") :]
        self.assertEqual(found, [["a", "b"], ["c"]])

    def test_missing_and_malformed_snapshots_are_refused(self):
        refresh(self.data_source, table("a"))
        for query, status, code in (
            ("?from=2", 404, "SNAPSHOT_NOT_FOUND"),
            ("?to=2", 404, "SNAPSHOT_NOT_FOUND"),
            ("?from=x", 400, "BAD_REQUEST"),
            ("?to=-1", 400, "BAD_REQUEST"),
        ):
            with self.subTest(query):
                self.assertEqual(self.get(query, status)["error"]["code"], code)
