"""Programs that tests against real servers need."""

import os
import shutil
from typing import NoReturn
from unittest import SkipTest


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or skip the test that needs it, naming its Debian package."""
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin")
    if path := shutil.which(name, path=os.pathsep.join(folders)):
        return path
    skip_or_fail(f"{name} is not installed: apt-get install {package}")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test; fail instead if `CI` is set, where everything must be installed."""
    if os.environ.get("CI"):
        raise AssertionError(reason)
    raise SkipTest(reason)
