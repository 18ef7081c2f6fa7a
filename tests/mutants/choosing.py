"""Which tests run a line: those are run against its mutants, the quickest first."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from coverage import CoverageData

from rivergen.testing.services import server_url
from tests.mutants.making import ROOT, Mutant

TESTS = [
    "datasources/admin/tests",
    "datasources/bulk/tests",
    "datasources/connection_tests/tests",
    "datasources/credentials/tests",
    "datasources/declarations/tests",
    "datasources/schemas/tests",
    "datasources/tests",
    "organizations/tests",
]
# They start servers, browsers or processes, or measure; other tests run the same lines.
SPARED_TESTS = [
    *("*/test_in_browser.py", "*/test_live.py", "*/test_end_to_end.py", "*/test_killed_web.py"),
    *("*/test_large_pages.py", "*/test_plans.py", "*/test_connect.py", "*/test_metrics.py"),
    *("*/test_mysql*.py", "*/test_postgresql*.py", "*/test_mongodb.py", "*/test_catalogues.py"),
    *("*/test_files.py", "*/test_backup.py", "*/test_worker.py", "*/test_doctor.py"),
    *("*/test_disjoint_writers.py", "*/test_prepared.py"),
]
# Of what is outside of functions: whether the migration creates it, and whether clients see it.
MIGRATION = "datasources/tests/test_models.py::MigrationTests"
COMMITTED = "tests/openapi/test_committed.py"
SLOWEST = 60.0  # seconds


class Chooser:
    """The tests of each line, and how long each takes: recorded once, in `folder`.

    They are run in a `copy` of the code, as later with each mutant. Those that fail are not used.
    """

    def __init__(self, folder: Path, copy: Path) -> None:
        self.coverage = folder / "coverage"
        self.report = folder / "tests.xml"
        self.copy = copy
        if not self.report.exists():
            self._record()
        exist = self._collected()
        self.seconds = {
            test: seconds for test, seconds in self._passed() if seconds < SLOWEST and test in exist
        }
        self.data = CoverageData(str(self.coverage))
        self.data.read()

    def _record(self) -> None:
        print("Recording which tests run which lines.", flush=True)
        command = [sys.executable, "-m", "pytest", "--quiet", "--tb=no", "--no-header"]
        command += ["--numprocesses", "2", "--dist", "loadscope"]
        command += ["--cov=datasources", "--cov-context=test", "--cov-report="]
        command += [f"--junit-xml={self.report}", "--override-ini=junit_family=xunit1"]
        command += [f"--ignore-glob={pattern}" for pattern in SPARED_TESTS]
        environment = {
            **os.environ,
            "DATABASE_URL": server_url(),
            "COVERAGE_FILE": str(self.coverage),
        }
        subprocess.run([*command, *TESTS], cwd=self.copy, env=environment, check=False)

    def _collected(self) -> set[str]:
        """Return the tests that are still there: pytest fails if a named one is not."""
        command = [sys.executable, "-m", "pytest", "--quiet", "--collect-only", *TESTS]
        environment = {**os.environ, "DATABASE_URL": server_url()}
        process = subprocess.run(
            command, cwd=self.copy, env=environment, capture_output=True, text=True
        )
        return {*process.stdout.splitlines()}

    def _passed(self) -> Iterator[tuple[str, float]]:
        for case in ElementTree.parse(self.report).iter("testcase"):
            if case.find("failure") is None and case.find("error") is None:
                file = case.attrib["file"]
                scope = case.attrib["classname"].removeprefix(file[:-3].replace("/", "."))
                parts = [file, *scope.split(".")[1:], case.attrib["name"]]
                yield "::".join(parts), float(case.attrib["time"])

    def tests_of(
        self, mutant: Mutant, killers: Counter[str], *, of_file: bool = False
    ) -> list[str]:
        """Return the tests that run a mutated line, by their classes.

        First come the classes in `killers`, which noticed other mutants, then the quickest class.
        What is run only when the file is imported may matter to all tests that run any line of the
        file. `of_file` returns these as well, such as for a function whose result is cached.
        """
        contexts = self.data.contexts_by_lineno(str(self.copy / mutant.path))
        tree = ast.parse((ROOT / mutant.path).read_text())
        importers = {*contexts.get(tree.body[1].lineno, ())}  # the first line is a docstring
        inside = statement_lines(tree, mutant.line)
        names = {name for line in inside for name in contexts.get(line, ())} - importers
        if of_file or not names:
            names = {name for line in contexts.values() for name in line}
        if not inside:
            names |= self._tests_of_names(names_given(tree, mutant.line))
        classes: dict[str, list[str]] = {}
        tests = {name.partition("|")[0] for name in names} & self.seconds.keys()
        for test in sorted(tests, key=self.seconds.__getitem__):
            classes.setdefault(test.rpartition("::")[0], []).append(test)
        ordered = sorted(classes, key=lambda name: (-killers[name], self.time_of(classes[name])))
        chosen = [test for name in ordered for test in classes[name]]
        return chosen if inside else [MIGRATION, *chosen, COMMITTED]

    def _tests_of_names(self, names: set[str]) -> set[str]:
        """Return the tests that run a line with one of these names, in whichever file.

        With a name come the constants that are made of it.
        """
        pending, seen = [*names], {*names}
        found: set[str] = set()
        while pending:
            word = re.compile(rf"\b{pending.pop()}\b")
            for path in (ROOT / "datasources").rglob("*.py"):
                text = path.read_text()
                if "tests" in path.parts or not word.search(text):
                    continue
                tree = ast.parse(text)
                contexts = self.data.contexts_by_lineno(str(self.copy / path.relative_to(ROOT)))
                lines = [n for n, line in enumerate(text.splitlines(), 1) if word.search(line)]
                for line in lines:
                    if statement_lines(tree, line):
                        found.update(contexts.get(line, ()))
                    made = names_given(tree, line) - seen
                    pending += made
                    seen |= made
        return found

    def time_of(self, tests: list[str]) -> float:
        """Return how many seconds tests took without a mutation."""
        return sum(self.seconds.get(test, 0) for test in tests)


def names_given(tree: ast.Module, line: int) -> set[str]:
    """Return the names that a line of a module gives: of constants, or of a dataclass."""
    names: set[str] = set()
    for statement in tree.body:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            if isinstance(statement, ast.ClassDef) and statement.decorator_list:
                names.add(statement.name)
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                inside = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
                names |= {node.id for node in inside if isinstance(node.ctx, ast.Store)}
    return names


def statement_lines(tree: ast.Module, line: int) -> set[int]:
    """Return the lines of the statement around a line, or none if that is not in a function."""
    found: set[int] = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for statement in (node for part in function.body for node in ast.walk(part)):
            if isinstance(statement, ast.stmt):
                last = statement.end_lineno or statement.lineno
                if body := getattr(statement, "body", None):
                    last = max(statement.lineno, body[0].lineno - 1)
                if statement.lineno <= line <= last:
                    found = {*range(statement.lineno, last + 1)}  # the innermost comes last
    return found
