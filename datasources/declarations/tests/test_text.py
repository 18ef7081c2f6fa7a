"""Tests of reading and writing the accepted subset of YAML."""

import math
import tracemalloc
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from datasources.declarations.problems import DeclarationError
from datasources.declarations.text import Document, write_yaml

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.from_regex(r"\A[-+]?[0-9._eExo:]{1,8}\Z"),
    st.sampled_from(
        ["no", "yes", "on", "null", "~", "true", "2024-12-01", "<<", "=", "", " a ", "a: b"]
    ),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        # + 0.0 turns -0.0 into 0.0, as the database does.
        st.floats(-1e15, 1e15).map(lambda number: number + 0.0),
        TEXTS,
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


class TextTests(SimpleTestCase):
    @settings(max_examples=1_000, deadline=None)
    @given(VALUES)
    def test_written_yaml_is_read_as_the_same_value(self, value: Any) -> None:
        read = Document(write_yaml({"value": value})).value
        self.assertEqual(repr(read), repr({"value": value}))

    def test_scalars_follow_the_core_schema(self) -> None:
        for text, value in (
            ("no", "no"),
            ("2024-12-01", "2024-12-01"),
            ("12:30:00", "12:30:00"),
            ("0x1F", "0x1F"),
            ("1_000", "1_000"),
            (".inf", ".inf"),
            ("1e3", 1000.0),
            ("-0.0", 0.0),
            ("1e300", 10**300),
            ("TRUE", True),
            ("~", None),
            ("", None),
            ("'1'", "1"),
        ):
            with self.subTest(text):
                self.assertEqual(repr(Document(f"a: {text}").value), repr({"a": value}))

    def test_spellings_of_yaml_1_1_are_text_or_refused(self) -> None:
        """By other rules each would be another value: true, 1000, 8, 90, a date, infinity."""
        texts = "yes Yes NO on off y n 1_000 0o10 0x1F 0b11 1:30 2024-12-01 2024-12-01T10:00:00Z"
        for text in f"{texts} .inf -.INF .nan << = 1e .".split():
            with self.subTest(text):
                self.assertEqual(Document(f"a: {text}").value, {"a": text})
                self.assertEqual(Document(f"[{text}]").value, [text])
        for number in ("010", "-010", "+00", "00", "08", "0123.5", "00e1"):
            with self.subTest(number), self.assertRaises(DeclarationError) as caught:
                Document(f"b: 1\na: {number}")
            problem = "line 2: a: A number must not begin with a zero."
            self.assertTrue(str(caught.exception).startswith(problem), str(caught.exception))
            self.assertEqual(Document(f"a: '{number}'").value, {"a": number})
        for number, value in (
            ("0", 0),
            ("-0", 0),
            ("0.5", 0.5),
            ("0e1", 0.0),
            ("+5", 5),
            (".5", 0.5),
        ):
            with self.subTest(number):
                self.assertEqual(repr(Document(f"a: {number}").value), repr({"a": value}))

    def test_explicit_tags_are_refused_wherever_they_are(self) -> None:
        names = "bool str int float null binary set map seq omap timestamp merge"
        own = ("!", "!mine", "!<tag:yaml.org,2002:str>", "!<x>")
        for tag in (*(f"!!{name}" for name in names.split()), *own):
            for text, path in (
                ("b: 1\na: {} yes", "a: "),
                ("b: 1\na: {} 'yes'", "a: "),
                ("b: 1\na: {} 5", "a: "),
                ("b: 1\na: {}", "a: "),
                ("b: 1\na: {} |\n  text", "a: "),
                ("b: 1\na: {} {{c: 1}}", "a: "),
                ("b: 1\na: {} [1]", "a: "),
                ("b:\n- {} 1", "b[0]: "),
                ("b: 1\n{} a: 1", ""),
                ("b:\n  {} a: 1", "b: "),
                ("b: 1\n? {} [a]\n: 1", ""),
                ("\n{} {{a: 1}}", ""),
                ("\n{} text", ""),
                ("\n{} [1]", ""),
            ):
                with self.subTest(text.format(tag)), self.assertRaises(DeclarationError) as caught:
                    Document(text.format(tag))
                problem = f"line 2: {path}Tags are not supported."
                self.assertTrue(str(caught.exception).startswith(problem), str(caught.exception))

    def test_document_knows_the_line_of_each_value(self) -> None:
        document = Document("a:\n- b: 1\n  c:\n    d: 2\n- {e: 3}\n")
        for path, line in (
            (("a",), 1),
            (("a", 0, "b"), 2),
            (("a", 0, "c", "d"), 4),
            (("a", 1, "e"), 5),
            (("a", 1, "missing"), 5),
            (("missing",), 1),
        ):
            with self.subTest(path):
                self.assertEqual(document.line_of(path), line)
        self.assertEqual(str(document.problem(("a", 1, "e"), "Wrong.")), "line 5: a[1].e: Wrong.")

    def test_work_of_a_document_is_bounded(self) -> None:
        for text, problem in (
            ("[" + "a," * 98 + "\na,a]", "line 2: Has more than 100 keys and values."),
            ("-\n" * 500_000, "line 100: Has more than 100 keys and values."),
            ("a: [" + "1e300," * 4_000 + "]", "line 1: a[3506]: The numbers, written out,"),
        ):
            with self.subTest(text[:40]), self.assertRaises(DeclarationError) as caught:
                Document(text, most=100 if "1e300" not in text else math.inf)
            self.assertTrue(str(caught.exception).startswith(problem), str(caught.exception))
        self.assertEqual(Document("[" + "a," * 98 + "a]", most=100).value, ["a"] * 99)

    def test_memory_of_a_document_does_not_grow_with_its_depth(self) -> None:
        leaves = "a," * 10_000
        flat, deep = (self.peak_memory("[" * depth + leaves + "]" * depth) for depth in (1, 200))
        self.assertLess(deep, 1.5 * flat)

    def peak_memory(self, text: str) -> int:
        tracemalloc.start()
        try:
            Document(text)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_long_keys_are_cut_in_problems(self) -> None:
        key = "a" * 500
        with self.assertRaises(DeclarationError) as caught:
            Document(f"{key}: 1\n{key}: 1")
        problem = f"line 2: {'a' * 64}: This key appears twice."
        self.assertEqual(str(caught.exception), problem)

    def test_unsupported_or_invalid_yaml_is_refused_with_its_line(self) -> None:
        for text, problem in (
            ("a: 1\na: 2", "line 2: a: This key appears twice."),
            ("a: &x 1\nb: *x", "line 1: Anchors and aliases"),
            ("a: 1\nb: *x", "line 2: Anchors and aliases"),
            ("a: !!python/name:os.system", "line 1: a: Tags are not supported."),
            ("a: !mine {b: 1}", "line 1: a: Tags are not supported."),
            ("a: !!timestamp 2024-12-01", "line 1: a: Tags are not supported."),
            ("%TAG !a! b\n--- a", "line 1: Directives for tags are not supported."),
            ("\ufeff%TAG !a! b\n--- a", "line 1: Directives for tags"),
            ("# a\r\n%TAG !a! b\n--- a", "line 2: Directives for tags"),
            ("# a\u2028%TAG !a! b\n--- a", "line 2: Directives for tags"),
            ("a: 1\n...\n%TAG !a! b\n--- a", "line 3: Directives for tags"),
            ("a:\n  1: b", "line 2: a: A key must be a string."),
            ("a:\n  ? [b]\n  : c", "line 2: a: A key must be a string."),
            ("a: 1\nb: [", "line 2: Not valid YAML"),
            ("a: 1\n---\nb: 2", "line 2: Not valid YAML"),
            ("a: \x01", "Not valid YAML"),
            ("[" * 500_000, "line 1: Not valid YAML: exceeded maximum nesting depth."),
            ("a: " + "9" * 5_000, "line 1: a: This number is too large."),
            ("a: 1e999", "line 1: a: This number is too large."),
            ('a: "\\ud800"', "line 1: Not valid YAML"),
            ('"\\ud800": 1', "line 1: Not valid YAML"),
        ):
            with self.subTest(text[:40]), self.assertRaises(DeclarationError) as caught:
                Document(text)
            self.assertTrue(str(caught.exception).startswith(problem), str(caught.exception))
