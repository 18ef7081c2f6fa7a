"""Change the code in small ways, one at a time, and print the changes that no test notices.

A run that was interrupted goes on where it was. What it knows is in `.mutants`: remove that to run
all again, such as after a change of tests.
"""

import argparse
import json
import os
import queue
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
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "docs")
# Load slows tests down; a mutant that never ends is stopped then.
PATIENCE, EXTRA_SECONDS = 3, 60
KILLED, SURVIVED, TIMED_OUT, SKIPPED = "killed", "survived", "timed out", "skipped"


def main() -> int:
    """Run the mutants without a result; return 1 if any mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="how many mutants")
    parser.add_argument("--seed", default=SEED, help="of the sample")
    parser.add_argument("--workers", type=int, default=WORKERS, help="how many at a time")
    parser.add_argument("--again", action="store_true", help="run the survivors again")
    parser.add_argument("only", nargs="*", help="words in the paths of the files; default: all")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    url = server_url()
    chooser = Chooser(FOLDER, url)
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
        create_pristine(url)
        threads = [
            threading.Thread(target=work, args=(number, url, chooser, pending, results))
            for number in range(options.workers)
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


def create_pristine(url: str) -> None:
    """Create the migrated database that each mutant gets a copy of."""
    name = PRISTINE.removeprefix("test_")
    command = [sys.executable, "-m", "pytest", "--quiet", "--reuse-db", "--create-db", "datasources/tests/test_models.py"]
    environment = {**os.environ, "DATABASE_URL": url_of(name)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def work(
    number: int,
    url: str,
    chooser: Chooser,
    pending: "queue.SimpleQueue[Mutant]",
    results: dict[str, str],
) -> None:
    """Run mutants, until none is left, in a copy of the code and with a database of its own."""
    copy = FOLDER / f"copy-{number}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    # Compiled files that are valid by a hash: two changes of a file may have the same time.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*command, *("datasources", "organizations", "rivergen")], cwd=copy, check=True)
    while not pending.empty():
        try:
            mutant = pending.get_nowait()
        except queue.Empty:
            return
        started = time.monotonic()
        result = run(mutant, copy, url, f"mutants_{number}", chooser)
        results[mutant.key] = result
        with RESULTS.open("a") as file:
            file.write(json.dumps([mutant.key, result]) + "\n")
        seconds = time.monotonic() - started
        print(f"{result:9} {seconds:4.0f} s  {mutant.path}:{mutant.line}", flush=True)


def run(mutant: Mutant, copy: Path, url: str, database: str, chooser: Chooser) -> str:
    """Return whether the tests of a mutant notice it."""
    tests = chooser.tests_of(mutant)
    if not tests:
        return SKIPPED
    with psycopg.connect(url, autocommit=True) as connection:
        name = Identifier(f"test_{database}")
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        template = Identifier(PRISTINE)
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(name, template))
    file = copy / mutant.path
    original = file.read_text()
    file.write_text(mutant.code)
    try:
        command = [sys.executable, "-m", "pytest", "--quiet", "-x", "--reuse-db", "--no-header"]
        process = subprocess.run(
            [*command, "-p", "no:cacheprovider", "-p", "no:cov", *tests],
            cwd=copy,
            env={
                **os.environ,
                "DATABASE_URL": url_of(database),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=EXTRA_SECONDS + PATIENCE * chooser.time_of(tests),
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        file.write_text(original)
    (FOLDER / f"last-{database}.txt").write_text(f"{mutant.key}\n{process.stdout}")
    return SURVIVED if process.returncode == 0 else KILLED


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
    figures = Counter(results.get(mutant.key, "not run") for mutant in mutants)
    parts = [f"{figures[result]} {result}" for result in sorted(figures)]
    print(f"\n{len(mutants)} mutants: {', '.join(parts)}; {unexplained} survivors without a reason")
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
