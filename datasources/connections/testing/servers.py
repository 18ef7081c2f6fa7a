"""Programs that tests against real servers need."""

import os
import shutil
from unittest import SkipTest


def require_program(name: str, package: str) -> str:
    """Return the path of a program from a package of Debian.

    Raises SkipTest if it is not installed; AssertionError if the variable `CI` is set.
    """
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin")
    if path := shutil.which(name, path=os.pathsep.join(folders)):
        return path
    message = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        raise AssertionError(message)
    raise SkipTest(message)
