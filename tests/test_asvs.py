"""`docs/asvs.md`: the tests it names exist, and it counts its rows right."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from unittest import TestCase

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "asvs.md").read_text(encoding="utf-8")
STATES = ("met", "partly", "not", "not applicable")

CHAPTER = re.compile(r"^## V(\d+) .+$", re.MULTILINE)
ROW = re.compile(r"^\| ([\d.]+) \| (.+?) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
COUNTS = re.compile(r"^\| (?:\[V(\d+) .*?|(All)) \|((?: \d+ \|){5})$", re.MULTILINE)
NAMED_TEST = re.compile(r"`([\w./]+\.py)::(\w+)`")
EVIDENCE = re.compile(r"`[^`]+`|\]\(")


def chapters() -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of each chapter: number, requirement, level, state, evidence."""
    _, *parts = CHAPTER.split(PAGE)
    return {number: ROW.findall(text) for number, text in zip(parts[::2], parts[1::2], strict=True)}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_bytes()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


class StandardTests(TestCase):
    def test_every_test_that_the_page_names_exists(self) -> None:
        named = NAMED_TEST.findall(PAGE)
        self.assertEqual(len(named), PAGE.count("::"))
        self.assertGreater(len(named), 100)
        for path, name in named:
            with self.subTest(path=path, name=name):
                self.assertTrue(name.startswith("test_"))
                self.assertIn(name, names_in(ROOT / path))

    def test_counts_at_the_top_are_those_of_the_rows(self) -> None:
        counted = {
            chapter or every: [int(number) for number in re.findall(r"\d+", numbers)]
            for chapter, every, numbers in COUNTS.findall(PAGE)
        }
        expected = {}
        for chapter, rows in chapters().items():
            states = Counter(state for _, _, _, state, _ in rows)
            expected[chapter] = [*(states[state] for state in STATES), len(rows)]
        expected["All"] = [sum(numbers) for numbers in zip(*expected.values(), strict=True)]
        self.assertEqual(counted, expected)

    def test_every_row_has_a_number_of_its_chapter_a_level_a_state_and_evidence(self) -> None:
        seen: set[str] = set()
        for chapter, rows in chapters().items():
            for number, requirement, level, state, evidence in rows:
                with self.subTest(number=number):
                    self.assertRegex(number, rf"^{chapter}\.\d+\.\d+\Z")
                    self.assertNotIn(number, seen)
                    self.assertIn(level, ("1", "2"))
                    self.assertIn(state, STATES)
                    self.assertTrue(requirement and evidence)
                    if state == "met":
                        self.assertRegex(evidence, EVIDENCE)
                seen.add(number)
        # A row that the pattern does not match would not be counted.
        self.assertEqual(len(seen), len(re.findall(r"^\| \d+\.\d", PAGE, re.MULTILINE)))
