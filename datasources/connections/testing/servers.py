"""What tests against live servers need to be installed."""

import os
import shutil
from unittest import SkipTest


def require_program(name: str, package: str) -> str:
    """Give the path of a program, which Debian has in a package.

    Without it the tests that ask for it are skipped, or fail where `CI` is set.
    """
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin")
    if path := shutil.which(name, path=os.pathsep.join(folders)):
        return path
    message = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        raise AssertionError(message)
    raise SkipTest(message)
