"""The way of a PATCH stays short: docs/architecture.md describes it."""

import subprocess
import sys

from django.conf import settings
from django.test import SimpleTestCase


class RequestPathTests(SimpleTestCase):
    def test_patch_enters_at_most_12_files_and_returns_to_them_at_most_12_times(self) -> None:
        counted = subprocess.run(
            [sys.executable, "-m", "bench.request_path"],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = counted.stdout.splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            with self.subTest(line):
                files, returns = (int(word) for word in line.split() if word.isdecimal())
                self.assertLessEqual(files, 12)
                self.assertLessEqual(returns, 12)
