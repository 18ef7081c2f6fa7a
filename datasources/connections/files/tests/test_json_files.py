"""JSON files in all their shapes."""

import gzip
import json

from datasources.connections.connectors.table_files import NAMES_MAX
from datasources.connections.testing.files import FilesTestCase


class JSONTests(FilesTestCase):
    def names(self, content):
        return [name for name, _ in self.read("json", content)[0]]

    def test_file_that_needs_more_memory_than_there_is_is_too_large(self):
        for type_name, content in (
            ("json", gzip.compress(b"[" * 60_000_000)),
            ("csv", b"a," * 100_000 + b"\n"),
        ):
            with self.subTest(type_name):
                self.assertEqual(self.failure(type_name, content), ("FILE_TOO_LARGE", {}))

    def test_object_that_is_larger_than_duckdb_reads_is_too_large(self):
        rows = ",".join(f'{{"a": {number}}}' for number in range(1_500_000))
        content = f'{{"rows": [{rows}]}}'.encode()
        self.assertEqual(self.failure("json", content), ("FILE_TOO_LARGE", {}))

    def test_objects_in_every_arrangement_are_rows(self):
        for content in (
            '[{"a": 1}, {"a": 2}]',
            '\n\n [{"a": 1},\r\n {"a": 2}]\n\n',
            '{"a": 1}\n{"a": 2}\n',
            '{"a": 1}\r\n\r\n{"a": 2}\r\n\r\n',
            '{"a": 1}\n\n\n{"a": 2}',
            '{\n "a": 1\n}\n{\n "a": 2\n}\n',
            '{"a": 1}{"a": 2}',
        ):
            with self.subTest(content):
                self.assertEqual(
                    self.read("json", content.encode()), ([("a", "BIGINT")], [(1,), (2,)], [])
                )

    def test_columns_are_the_keys_that_the_module_json_finds(self):
        for content in (
            '{"a": [1, 2], "b": [3, 4]}',
            '{"data": [{"a": 1}, {"a": 2}], "next": null}',
            '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}',
            '[{"a": NaN, "b": -Infinity, "c": 1e400}]',
            '[{"a": {"b": [[1], [2, {"c": null}]]}, "d": []}]',
            '[{"json": 1}]',
            '[{"it\'s": 1, "say \\"hi\\"": 2, "\\u00e9": 3}]',
            json.dumps([{f"k{number}": number for number in range(300)}] * 3),
        ):
            with self.subTest(content[:60]):
                value = json.loads(content)
                row = value[0] if isinstance(value, list) else value
                columns, _, warnings = self.read("json", content.encode())
                self.assertEqual(([name for name, _ in columns], warnings), ([*row], []))

    def test_values_that_are_no_objects_are_one_column_with_a_warning(self):
        for content, kind in (
            ("5", "BIGINT"),
            ('"x"', "VARCHAR"),
            ("[1, 2, 3]", "BIGINT"),
            ("[[1, 2], [3, 4]]", "BIGINT[]"),
            ("1\n2\n3\n", "BIGINT"),
            ('[{"a": 1}, 2]', "JSON"),
            ('[{"a": 1}]\n{"a": 2}\n', "JSON"),
            ('{"a": 1}\n5\n', "JSON"),
            ('{"a": 1}\n"x"', "JSON"),
            ("{}", "JSON"),
        ):
            with self.subTest(content):
                columns, _, warnings = self.read("json", content.encode())
                self.assertEqual((columns, warnings), ([("json", kind)], ["COLUMNS_GUESSED"]))

    def test_names_that_differ_in_case_have_a_warning_and_keep_their_values(self):
        for content, rows in (
            ('[{"a": 1, "A": "x"}]', [(1, "x")]),
            ('{"a": 1}\n{"A": "x"}\n', [(1, None), (None, "x")]),
        ):
            with self.subTest(content):
                self.assertEqual(
                    self.read("json", content.encode()),
                    ([("a", "BIGINT"), ("A_1", "VARCHAR")], rows, ["COLUMNS_RENAMED"]),
                )
        self.assertEqual(self.read("json", b'[{"a": 1, "a_1": 2}]')[2], [])

    def test_nested_names_that_differ_in_case_are_json_with_a_warning(self):
        for content, row in (
            ('[{"a": {"b": 1, "B": 2}, "c": 3}]', ('{"b":1,"B":2}', "3")),
            ('{"a": [{"b": 1}, {"B": 2}]}\n', ('[{"b":1},{"B":2}]',)),
            ('{"a": {"b": 1}}\n{"a": {"B": "x"}}\n', ('{"b":1}',)),
        ):
            with self.subTest(content):
                columns, rows, warnings = self.read("json", content.encode())
                self.assertEqual([kind for _, kind in columns], ["JSON"] * len(row))
                self.assertEqual((rows[0], warnings), (row, ["COLUMNS_GUESSED"]))

    def test_names_beyond_the_limit_are_refused_before_duckdb_compares_them_all(self):
        names = [f"n{number}" for number in range(NAMES_MAX + 1)]
        lines = "\n".join(
            json.dumps(dict.fromkeys(part))
            for part in [names[i : i + 100] for i in range(0, len(names), 100)]
        )
        for content in (
            json.dumps(dict.fromkeys(names)),
            json.dumps([dict.fromkeys(names)]),
            lines,
        ):
            with self.subTest(content[:20]):
                self.assertEqual(self.failure("json", content.encode()), ("SCHEMA_TOO_LARGE", {}))

    def test_nothing_is_empty(self):
        for content in (b"", b"\xef\xbb\xbf", b" \n\t\r\n ", b"[]", b" [ ] ", bytes(100)):
            with self.subTest(content):
                self.assertEqual(self.failure("json", content), ("FILE_EMPTY", {}))

    def test_text_that_ends_inside_a_value_is_truncated(self):
        for content in (
            '[{"a": 1}, {"a": 2',
            '[{"a": 1}, {"a": 2}',
            '[{"a": 1},',
            "[",
            '{"a": 1}\n{"a":',
            '{"a": 1}\n{"a": "x',
            '{"a": [1, {"b": ',
        ):
            with self.subTest(content):
                self.assertEqual(self.failure("json", content.encode()), ("FILE_TRUNCATED", {}))

    def test_text_is_truncated_wherever_it_ends(self):
        lines = '{"a": true, "b": -1.5e+3}\n{"a": "x\\"\\u00e9", "b": null}\n'
        array = '[{"a": false, "b": "\\ud83d\\ude00"},\n{"a": [NaN, -Infinity, {"c": 0}]}]'
        for content in (lines, array):
            complete = {len(content) - 1, content.index("\n"), content.index("\n") + 1}
            for end in set(range(1, len(content))) - (complete if content == lines else set()):
                with self.subTest(content[:end]):
                    failure = self.failure("json", content[:end].encode())
                    self.assertEqual(failure, ("FILE_TRUNCATED", {}))

    def test_large_file_that_is_cut_off_is_truncated(self):
        for start, between in (("[", ",\n"), ("", "\n")):
            rows = between.join(f'{{"a": {number}, "b": "{"x" * 90}"}}' for number in range(60_000))
            with self.subTest(between):
                content = (start + rows)[:-5].encode()
                self.assertEqual(self.failure("json", content), ("FILE_TRUNCATED", {}))

    def test_broken_json_is_malformed_with_its_line(self):
        for content, line in (
            ('[{"a": 1},\n]', 2),
            ("[{'a': 1}]", 1),
            ('[{"a": 1}\n /* x */]', 2),
            ('// x\n[{"a": 1}]', 1),
            ('[{"a": 1}]\nxyz', 2),
            ('[{"a": 1}]\n.', 2),
            ('[{"a": "\\u00zz"}]\n]', 1),
            ('[{"a": nul}, 1', 1),
            ('{"a": 1},\n{"a": 2}', 1),
            ('{"a": 1}\n{"a": }\n{"a": 3}', 2),
            ('[{"a": "x\0y"}]', 1),
            ('\x1e{"a": 1}\n', 1),
        ):
            with self.subTest(content):
                self.assertEqual(
                    self.failure("json", content.encode()), ("FILE_MALFORMED", {"line": line})
                )

    def test_json_that_cannot_be_a_table_is_malformed(self):
        for content in (
            '[{"a": 1, "a": "x"}]',
            '[{"a": ' + '{"b": ' * 2000 + "1" + "}" * 2000 + "}]",
            '[{"a": "\\ud800"}]',
        ):
            with self.subTest(content[:30]):
                self.assertEqual(self.failure("json", content.encode())[0], "FILE_MALFORMED")

    def test_later_rows_of_another_type_are_seen(self):
        rows = ",".join(f'{{"a": {number}}}' for number in range(60_000))
        columns, found, _ = self.read("json", f'[{rows}, {{"a": "x", "b": 1}}]'.encode())
        self.assertEqual(columns, [("a", "JSON"), ("b", "BIGINT")])
        self.assertEqual(found[-1], ('"x"', 1))
