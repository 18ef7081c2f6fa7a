"""The one table of codes in docs/connection-tests.md says what the service says."""

import re
from pathlib import Path
from unittest import TestCase

from datasources.connections.failures import Code

PAGE = Path(__file__).resolve().parent.parent / "docs" / "connection-tests.md"
HEAD = "| Code | What it means | What to do |\n|---|---|---|\n"
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
ROW = re.compile(r"\| `(\w+)` \| (.+) \| (.+) \|")


def codes_in_docs() -> list[tuple[str, str]]:
    """Return the rows of the table: each code, and its message without markup."""
    _, _, below = PAGE.read_text().partition(HEAD)
    rows = [ROW.fullmatch(row) for row in below.partition("\n\n")[0].splitlines()]
    assert all(rows)
    found = []
    for code, meaning, remedy in (row.groups() for row in rows if row):
        text = f"{meaning}." if remedy == "Nothing" else f"{meaning}. {remedy}."
        found.append((code, LINK.sub(r"\1", text).replace("`", "")))
    return found


class CodesInDocsTests(TestCase):
    def test_table_of_codes_has_each_code_with_its_message(self) -> None:
        messages = [(code.value, str(code.label)) for code in Code]
        self.assertEqual(codes_in_docs(), messages)

    def test_only_success_needs_nothing_to_be_done(self) -> None:
        for code in set(Code) - {Code.OK}:
            with self.subTest(code):
                self.assertRegex(str(code.label), r"\A[A-Z][^.]*\. [A-Z].*\.\Z")
