"""Writes the locks of `make real` again: one line for each package.

The locks of `make lock` have the hashes of the wheels for all platforms. These have only those for
Python 3.11 on Linux, where `make real` runs: a tenth of the lines.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.real.downloads import APPS, PACKAGES

COMPILE = (
    *(Path(sys.executable).parent / "uv", "pip", "compile", "--quiet", "--only-binary", ":all:"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
)


def lock(name: str, *options: str) -> None:
    """Write a lock again; versions that still fit remain."""
    path = PACKAGES / f"{name}.lock"
    compile_ = (*COMPILE, *options, PACKAGES / f"{name}.txt", "--output-file", path)
    subprocess.run(compile_, check=True, stdout=subprocess.DEVNULL)
    pylock = subprocess.run(
        (*COMPILE, "--no-deps", "--format", "pylock.toml", path),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = ["# Written by `make real-lock`.", "--only-binary :all:"]
    for package in tomllib.loads(pylock)["packages"]:
        hashes = [f"--hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"]]
        lines.append(" ".join([f"{package['name']}=={package['version']}", *hashes]))
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for app in APPS:
        lock(app)
    lock("pypi", "--no-deps")
