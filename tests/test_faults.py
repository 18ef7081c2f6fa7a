"""Run the quick faults of `make faults`, once each."""

import os
import subprocess
import sys

from django.conf import settings
from django.test import SimpleTestCase

from rivergen.testing.haproxy import IS_MISSING

FAULTS = ["row locked", "deadlock", "serialization", "told to stop", "connections ended"]
if not IS_MISSING:
    FAULTS.append("hang up")


class FaultTests(SimpleTestCase):
    def test_quick_faults_lose_no_acknowledged_change(self):
        environment = {
            name: text
            for name, text in os.environ.items()
            if name not in ("DATABASE_URL", "PYTEST_VERSION", "SECRET_KEY")
        }
        run = subprocess.run(
            [sys.executable, "-m", "tests.faults", "--cycles", "1", *FAULTS],
            cwd=settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
        )
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("losses: 0", run.stdout)
