"""Generate clients, check their types, and run a scenario with each against a running service.

Exits with 1 if a program fails, and prints what that program has printed.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from tests.clients.service import Service, service

FOLDER = Path(__file__).parent
GENERATED = FOLDER / ".generated"
DOCUMENT = GENERATED / "openapi.json"
LOG = GENERATED / "service.log"
PACKAGE = GENERATED / "python" / "rivergen_client"
JAVASCRIPT = GENERATED / "javascript"
PYTHON = Path(sys.executable)
NODE_PROGRAMS = FOLDER / "node_modules" / ".bin"
# The scenarios: the name of the client, and the program that uses it.
PYTHON_SCENARIOS = {
    "openapi-python-client": "with_openapi_python_client.py",
    "requests, httpx, aiohttp, curl": "without_generator.py",
}
NODE_SCENARIOS = {
    "openapi-typescript, openapi-fetch": "with_openapi_fetch.js",
    "@hey-api/openapi-ts": "with_hey_api.js",
    "fetch of Node": "with_fetch.js",
}


@dataclass(frozen=True)
class Command:
    """A program to run: the name that the output has, arguments and environment variables."""

    name: str
    arguments: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    command: Command
    status: int
    output: str
    seconds: float


GENERATE = [
    Command(
        "openapi-python-client",
        [
            *(PYTHON.with_name("openapi-python-client"), "generate", "--fail-on-warning"),
            *("--path", DOCUMENT, "--output-path", PACKAGE, "--meta", "none"),
            *("--config", "openapi-python-client.yaml"),
        ],
    ),
    Command(
        "openapi-typescript",
        [
            *(NODE_PROGRAMS / "openapi-typescript", DOCUMENT),
            *("--output", GENERATED / "openapi-typescript" / "schema.ts"),
        ],
    ),
    Command(
        "@hey-api/openapi-ts",
        [
            *(NODE_PROGRAMS / "openapi-ts", "--input", DOCUMENT),
            *("--output", GENERATED / "hey-api", "--no-log-file"),
        ],
    ),
]
CHECK = [
    Command(
        "mypy --strict",
        [
            *(PYTHON.with_name("mypy"), "--config-file", "mypy.ini"),
            *("--cache-dir", GENERATED / "mypy", PACKAGE),
            *PYTHON_SCENARIOS.values(),
        ],
        {"MYPYPATH": str(PACKAGE.parent)},
    ),
    Command("tsc --strict", [NODE_PROGRAMS / "tsc", "--project", FOLDER]),
]


def main() -> int:
    """Run everything; return the exit status."""
    started = time.monotonic()
    shutil.rmtree(GENERATED, ignore_errors=True)
    PACKAGE.parent.mkdir(parents=True)
    with service([*PYTHON_SCENARIOS, *NODE_SCENARIOS], LOG) as running:
        with urlopen(f"{running.url}/api/v1/openapi.json") as response:
            DOCUMENT.write_bytes(response.read())
        steps = {"generate": GENERATE, "check types": CHECK, "drive": scenarios(running)}
        for name, commands in steps.items():
            outcomes = run_all(commands)
            for outcome in outcomes:
                report(name, outcome)
            if any(outcome.status for outcome in outcomes):
                print(f"Failed. The log of the service is {LOG}")
                return 1
    print(
        f"{len(scenarios(running))} clients, {time.monotonic() - started:.0f} seconds: all passed"
    )
    return 0


def scenarios(running: Service) -> list[Command]:
    """Return the commands that run the scenarios."""
    python = {"PYTHONPATH": str(PACKAGE.parent)}
    return [
        Command(name, [PYTHON, program], python | running.environment(name))
        for name, program in PYTHON_SCENARIOS.items()
    ] + [
        Command(name, ["node", JAVASCRIPT / program], running.environment(name))
        for name, program in NODE_SCENARIOS.items()
    ]


def run_all(commands: list[Command]) -> list[Outcome]:
    """Run commands, two at a time; return how they ended, in the same order."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return [*pool.map(run, commands)]


def run(command: Command) -> Outcome:
    """Run a command to its end."""
    started = time.monotonic()
    process = subprocess.run(
        command.arguments,
        cwd=FOLDER,
        env=os.environ | command.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Outcome(command, process.returncode, process.stdout, time.monotonic() - started)


def report(step: str, outcome: Outcome) -> None:
    """Print one line about a command, and if it failed all that it has printed."""
    result = "failed" if outcome.status else "passed"
    if step == "drive" and not outcome.status:
        result = f"{len(outcome.output.splitlines())} steps passed"
    print(f"{step}: {outcome.command.name}: {result}, {outcome.seconds:.1f} s", flush=True)
    if outcome.status:
        print(outcome.output)


if __name__ == "__main__":
    sys.exit(main())
