"""The documentation: its links and paths exist, and it describes every variable."""

import ast
import re
from functools import cache
from pathlib import Path
from unittest import TestCase
from urllib.parse import unquote

from rivergen.hidden_environment import SECRETS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
    *sorted((ROOT / "docs").glob("*.md")),
]

FENCED_CODE = re.compile(r"^ *(```+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
INDENTED_CODE = re.compile(r"^    .*$", re.MULTILINE)
INLINE_CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6} +(.+?) *#* *$", re.MULTILINE)
LINK_TEXT = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
LINK_TARGET = re.compile(r"\]\(([^)\s]+)[^)]*\)")
NAMED_PATH = re.compile(r"`((?:bench|datasources|deploy|organizations|rivergen|tests)/[\w./]*)`")
ELSEWHERE = re.compile(r"[a-z]+:", re.IGNORECASE)
READER = re.compile(r"read_\w+|os\.environ\.get")
VARIABLE = re.compile(r"[A-Z][A-Z_]+")


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    text = FENCED_CODE.sub("", page.read_text(encoding="utf-8"))
    return INDENTED_CODE.sub("", text)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    text = LINK_TEXT.sub(r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page; headings with the same words are numbered from the second."""
    found: dict[str, int] = {}
    result = set()
    for heading in HEADING.findall(prose(page)):
        name = slug(heading)
        number = found.get(name, 0)
        found[name] = number + 1
        result.add(f"{name}-{number}" if number else name)
    return frozenset(result)


def links(page: Path) -> list[str]:
    """Return the targets of the links of a page that stay within the repository."""
    targets = LINK_TARGET.findall(INLINE_CODE.sub("", prose(page)))
    return [target for target in targets if not ELSEWHERE.match(target)]


def linked_file(page: Path, target: str) -> Path:
    """Return the file that a link on a page leads to; an anchor alone leads to the page itself."""
    path = unquote(target.partition("#")[0])
    return (page.parent / path).resolve() if path else page


class LinkTests(TestCase):
    def test_links_and_headings_are_found_in_pages(self) -> None:
        # If the patterns above found nothing, the other tests would pass without checking anything.
        self.assertGreater(sum(len(links(page)) for page in PAGES), 100)
        self.assertIn("retry-safely-idempotency-key", anchors(ROOT / "docs" / "api.md"))

    def test_every_linked_file_is_in_the_repository(self) -> None:
        for page in PAGES:
            for target in links(page):
                with self.subTest(page=page.name, target=target):
                    file = linked_file(page, target)
                    self.assertTrue(file.is_relative_to(ROOT) and file.exists())

    def test_every_anchor_is_a_heading_of_the_linked_page(self) -> None:
        for page in PAGES:
            for target in links(page):
                _, has_anchor, anchor = target.partition("#")
                if has_anchor:
                    with self.subTest(page=page.name, target=target):
                        self.assertIn(anchor, anchors(linked_file(page, target)))

    def test_every_page_is_reachable_from_README(self) -> None:
        reached: set[Path] = set()
        pending = [ROOT / "README.md"]
        while pending:
            page = pending.pop()
            if page in PAGES and page not in reached:
                reached.add(page)
                pending += [linked_file(page, target) for target in links(page)]
        self.assertEqual({page.name for page in PAGES} - {page.name for page in reached}, set())


class PathTests(TestCase):
    def test_every_path_that_a_page_names_exists(self) -> None:
        named = [(page, path) for page in PAGES for path in NAMED_PATH.findall(prose(page))]
        self.assertGreater(len(named), 40)
        for page, path in named:
            with self.subTest(page=page.name, path=path):
                self.assertTrue((ROOT / path).exists())


def variables(module: Path) -> set[str]:
    """Return the names of the environment variables that a module reads."""
    nodes = ast.walk(ast.parse(module.read_bytes()))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return {
        str(argument.value)
        for call in calls
        if READER.fullmatch(ast.unparse(call.func))
        for argument in call.args
        if isinstance(argument, ast.Constant) and VARIABLE.fullmatch(str(argument.value))
    }


class VariableTests(TestCase):
    def test_every_variable_of_the_settings_is_in_the_configuration_page(self) -> None:
        names = variables(ROOT / "rivergen" / "settings.py")
        self.assertGreater(len(names), 20)
        page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
        rows = {*re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)}
        self.assertEqual(names - rows, set(), "not in docs/configuration.md")
        self.assertEqual(rows - names, set(), "in docs/configuration.md, but not in the settings")

    def test_every_secret_that_can_be_in_a_file_is_in_the_configuration_page(self) -> None:
        text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
        _, _, section = text.partition("## Secrets in files")
        for name in SECRETS:
            self.assertIn(f"`{name}`", section.partition("##")[0])
