"""Redocly and Spectral report nothing about docs/openapi.json. `make openapi-lint` runs this.

Not collected by `make test`, which installs no npm packages.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from rivergen.settings import BASE_DIR
from tests.openapi.committed import COMMITTED

NODE_PROGRAMS = BASE_DIR / "tests" / "clients" / "node_modules" / ".bin"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def lint(program: str, *options: str | Path) -> Any:
    """Return what a linter reports about the document, as JSON."""
    command = [NODE_PROGRAMS / program, "lint", "--format", "json", *options, COMMITTED]
    return json.loads(subprocess.run(command, env=os.environ | QUIET, capture_output=True).stdout)


def test_redocly_reports_nothing() -> None:
    found = lint("redocly", "--extends", "recommended")
    assert found["problems"] == []
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_spectral_reports_nothing(tmp_path: Path) -> None:
    ruleset = tmp_path / "ruleset.yaml"
    ruleset.write_text('extends: ["spectral:oas"]\n')
    assert lint("spectral", "--quiet", "--ruleset", ruleset) == []
