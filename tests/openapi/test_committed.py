"""docs/openapi.json is what the code builds, on every machine and by every generator's rules."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datasources.connections.testing.servers import skip_or_fail
from rivergen.http.openapi.view import document
from rivergen.settings import BASE_DIR
from tests.openapi.committed import COMMITTED, text
from tests.openapi.comparing import compare, report

NODE_MIN = 20
FOLDER = BASE_DIR / "tests" / "clients"
# Node in PATH, or else that of `make clients`.
PATH = f"{BASE_DIR / '.venv-node' / 'bin'}:{os.environ['PATH']}"
NODE_PROGRAMS = FOLDER / "node_modules" / ".bin"
ADVICE = """{report}
docs/openapi.json is not what the code builds. If this is meant, run `make openapi` and commit the \
file; CHANGELOG.md names what breaks clients."""


def test_committed_document_is_what_the_code_builds() -> None:
    if COMMITTED.read_text(encoding="utf-8") != text():
        changes = compare(json.loads(COMMITTED.read_text(encoding="utf-8")), document())
        pytest.fail(ADVICE.format(report=report(changes)), pytrace=False)


def test_document_does_not_depend_on_the_process_or_on_installed_drivers() -> None:
    program = (
        "import datasources.connections.connectors.base as base\n"
        "base.Connector.is_driver_installed = classmethod(lambda cls: False)\n"
        "import django; django.setup()\n"
        "from tests.openapi.committed import text\n"
        "print(text(), end='')\n"
    )
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "rivergen.settings",
        "PYTHONHASHSEED": "1",
        "LANG": "de_DE.UTF-8",
        "TZ": "Asia/Tokyo",
        "PYTHONPATH": str(BASE_DIR),
        "PYTHONIOENCODING": "utf-8",
    }
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert found.stdout.decode() == text()


def test_openapi_spec_validator_accepts_the_document() -> None:
    try:
        from openapi_spec_validator import OpenAPIV31SpecValidator
    except ImportError:
        skip_or_fail("openapi-spec-validator is not installed: requirements-dev.txt")
    OpenAPIV31SpecValidator(json.loads(text())).validate()


def program(name: str) -> Path:
    """Return a program of tests/clients/package.json; skip the test, or fail in CI, without it."""
    node = shutil.which("node", path=PATH)
    version = node and subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if version and int(version[1:].partition(".")[0]) >= NODE_MIN:
        if (NODE_PROGRAMS / name).exists():
            return NODE_PROGRAMS / name
        reason = f"{name} is not installed: make openapi-lint"
    else:
        reason = f"Node {NODE_MIN} or newer is not installed."
    skip_or_fail(reason)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the document in it."""
    (tmp_path / "openapi.json").write_text(text(), encoding="utf-8")
    return tmp_path


def lint(folder: Path, *command: str | Path) -> Any:
    """Return what a linter reports of the document, as JSON."""
    quiet = {"PATH": PATH, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    found = subprocess.run(
        [*command, "openapi.json"], cwd=folder, env=os.environ | quiet, capture_output=True
    )
    return json.loads(found.stdout)


def test_redocly_reports_nothing(folder: Path) -> None:
    found = lint(folder, program("redocly"), "lint", "--extends", "recommended", "--format", "json")
    assert found["problems"] == []
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_spectral_reports_nothing(folder: Path) -> None:
    (folder / "ruleset.yaml").write_text('extends: ["spectral:oas"]\n')
    found = lint(
        folder, program("spectral"), "lint", "--ruleset", "ruleset.yaml", "--format", "json",
        "--quiet",
    )  # fmt: skip
    assert found == []
