"""docs/openapi.json is what the code builds, on every machine."""

import json
import os
import subprocess
import sys

import pytest

from datasources.connections.testing.servers import skip_or_fail
from rivergen.http.openapi.view import document
from rivergen.settings import BASE_DIR
from tests.openapi.committed import COMMITTED, text
from tests.openapi.comparing import compare, report

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
