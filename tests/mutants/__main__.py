"""Change the code in small ways, one at a time, and print the changes that no test notices.

A run that was interrupted goes on where it was. What it knows is in `.mutants`: remove that to run
all again, such as after a change of tests.
"""

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from rivergen.testing.services import server_url, url_of
from tests.mutants.choosing import Chooser
from tests.mutants.making import ROOT, Mutant, sample
from tests.mutants.surviving import reason

FOLDER = ROOT / ".mutants"
RESULTS = FOLDER / "results.jsonl"
COUNT = 300
SEED = "rivergen"
WORKERS = 2
PRISTINE = "test_rivergen_mutants"
TEST_CLASS = re.compile(r"[\w/]+\.py::\w+")
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
# Load slows tests down; a mutant that never ends is stopped then.
PATIENCE, EXTRA_SECONDS = 3, 60
# To import all tests takes longer than to run those that notice most mutants.
FIRST = 30
KILLED, SURVIVED, TIMED_OUT, SKIPPED = "killed", "survived", "timed out", "skipped"


def main() -> int:
    """Run the mutants without a result; return 1 if any mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="how many mutants")
    parser.add_argument("--seed", default=SEED, help="of the sample")
    parser.add_argument("--workers", type=int, default=WORKERS, help="how many at a time")
    parser.add_argument(
        "--again", action="store_true", help="run survivors again, with all tests of their files"
    )
    parser.add_argument("only", nargs="*", help="words in the paths of the files; default: all")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    copies = [copy_code(number) for number in range(options.workers)]
    chooser = Chooser(FOLDER, copies[0])
    mutants, total = sample(options.count, options.seed)
    if options.only:
        mutants = [m for m in mutants if any(word in m.path for word in options.only)]
    results = read_results()
    repeated = {SURVIVED, SKIPPED} if options.again else set()
    pending: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        if results.get(mutant.key) in {None, *repeated}:
            pending.put(mutant)
    print(f"{total:,} mutants, a sample of {len(mutants)} by the seed {options.seed!r}", flush=True)
    if not pending.empty():
        create_pristine()
        threads = [
            threading.Thread(target=work, args=(copy, chooser, pending, results, options.again))
            for copy in copies
        ]
        for thread in threads:
            thread.daemon = True  # Ctrl-C ends all
            thread.start()
        for thread in threads:
            thread.join()
    return report(mutants, results)


def read_results() -> dict[str, str]:
    """Return the results of earlier runs, by the key of the mutant."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return dict(json.loads(line) for line in lines)


def killers(path: str, results: dict[str, str]) -> Counter[str]:
    """Return how many mutants of a file each class of tests noticed."""
    found = [result for key, result in [*results.items()] if key.startswith(f"{path}: ")]
    return Counter(name for result in found for name in TEST_CLASS.findall(result))


def create_pristine() -> None:
    """Create the migrated database that each mutant gets a copy of."""
    name = PRISTINE.removeprefix("test_")
    command = [sys.executable, "-m", "pytest", "--quiet", "--reuse-db", "--create-db"]
    command.append("datasources/tests/test_models.py")
    environment = {**os.environ, "DATABASE_URL": url_of(name)}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)


def copy_code(number: int) -> Path:
    """Return a folder with a copy of the code, in which one mutant at a time is run."""
    copy = FOLDER / f"copy-{number}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    # Compiled files that are valid by a hash: two changes of a file may have the same time.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*command, *("datasources", "organizations", "rivergen")], cwd=copy, check=True)
    return copy


def work(
    copy: Path,
    chooser: Chooser,
    pending: "queue.SimpleQueue[Mutant]",
    results: dict[str, str],
    again: bool,
) -> None:
    """Run mutants, until none is left, in a copy of the code and with a database of its own."""
    while not pending.empty():
        try:
            mutant = pending.get_nowait()
        except queue.Empty:
            return
        started = time.monotonic()
        tests = chooser.tests_of(mutant, killers(mutant.path, results), of_file=again)
        result = SKIPPED
        for part in filter(None, (tests[:FIRST], tests[FIRST:])):
            result = run(mutant, part, EXTRA_SECONDS + PATIENCE * chooser.time_of(part), copy)
            if result != SURVIVED:
                break
        results[mutant.key] = result
        with RESULTS.open("a") as file:
            file.write(json.dumps([mutant.key, result]) + "\n")
        seconds = time.monotonic() - started
        print(f"{seconds:4.0f} s  {mutant.path}:{mutant.line}  {result}", flush=True)


def run(mutant: Mutant, tests: list[str], seconds: float, copy: Path) -> str:
    """Return whether the tests notice a mutant, in a copy of the code and of the database.

    The tests are stopped after so many seconds.
    """
    database = f"mutants_{copy.name}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        name = Identifier(f"test_{database}")
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        template = Identifier(PRISTINE)
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(name, template))
    environment = {
        **os.environ,
        "DATABASE_URL": url_of(database),
        "PYTHONDONTWRITEBYTECODE": "1",
        # The other plugins take half of the time to start.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-m", "pytest", "--quiet", "--no-header", "-x", "--reuse-db"]
    command += ["-p", "no:cacheprovider", "-p", "pytest_django.plugin", *tests]
    file = copy / mutant.path
    original = file.read_text()
    file.write_text(mutant.code)
    try:
        with (copy / "last.txt").open("w") as output:
            process = subprocess.run(
                command, cwd=copy, env=environment, stdout=output, stderr=output, timeout=seconds
            )
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        file.write_text(original)
    if process.returncode == 0:
        return SURVIVED
    killer = re.search(
        r"^(?:SUBFAILED|FAILED|ERROR)\b.*(?:::| - ).*", (copy / "last.txt").read_text(), re.M
    )
    return f"{KILLED} {killer[0] if killer else ''}"


def report(mutants: list[Mutant], results: dict[str, str]) -> int:
    """Print each mutant that no test notices, and the figures; return 1 if one may not live."""
    unexplained = 0
    for mutant in sorted(mutants, key=lambda mutant: (mutant.path, mutant.line)):
        if results.get(mutant.key) in (SURVIVED, SKIPPED):
            why = reason(mutant)
            unexplained += not why
            print(f"\n{mutant.path}:{mutant.line} {results[mutant.key]}{why and f': {why}'}")
            print(*(f"- {line}" for line in mutant.before.splitlines()), sep="\n")
            print(*(f"+ {line}" for line in mutant.after.splitlines()), sep="\n")
    found = [results.get(mutant.key, "not run") for mutant in mutants]
    figures = Counter(KILLED if result.startswith(KILLED) else result for result in found)
    parts = [f"{figures[result]} {result}" for result in sorted(figures)]
    print(f"\n{len(mutants)} mutants: {', '.join(parts)}; {unexplained} survivors without a reason")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
