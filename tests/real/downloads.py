"""Getting the packages of the registries into a folder that git ignores.

PyPI's and npm's are pinned with hashes (`packages/`), Debian's are the newest of the release and
signed by Debian. Nothing of them is run but servers and what creates the tables of an application.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from rivergen.local.run import BASE_DIR

CACHE = BASE_DIR / ".real"
PACKAGES = Path(__file__).parent / "packages"
APPS = ("django", "openstack", "servers", "sqlalchemy")
DOWNLOAD_SECONDS = 600


class UnavailableError(Exception):
    """A registry did not deliver a package; the message names the package."""


def get_all(debian: Iterable[str]) -> None:
    """Get all packages that are not in the cache yet. Raises UnavailableError."""
    for name in sorted(debian):
        get_debian(name)
    for line in lines_of(PACKAGES / "npm.txt"):
        get_npm(*line.split())
    for name, requirement in requirements(PACKAGES / "pypi.lock").items():
        get_wheel(name, requirement)
    for name in APPS:
        install(name)


def get_debian(name: str) -> None:
    """Unpack a package of Debian to `debian/NAME`; apt checks its signature."""
    with Unpacking("debian", name) as folders:
        for download, target in folders:
            if os.geteuid() == 0:
                shutil.chown(download, "_apt")  # apt downloads as that user
            run("apt-get", "download", "--quiet=2", name, cwd=download)
            [package] = download.glob("*.deb")
            run("dpkg-deb", "--extract", str(package), str(target))


def get_npm(specification: str, integrity: str) -> None:
    """Unpack a package of npm to `npm/NAME`, such as `vega-datasets@3.2.1`."""
    name, _, _ = specification.rpartition("@")
    with Unpacking("npm", name.replace("/", "+")) as folders:
        for download, target in folders:
            run("npm", "pack", "--silent", specification, cwd=download)
            [package] = download.glob("*.tgz")
            digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
            if integrity != f"sha512-{digest}":
                raise UnavailableError(f"{specification} has another hash than {integrity}.")
            with tarfile.open(package) as archive:
                archive.extractall(target, filter="data")


def get_wheel(name: str, requirement: str) -> None:
    """Unpack a wheel of PyPI to `pypi/NAME`."""
    with Unpacking("pypi", name) as folders:
        for download, target in folders:
            (download / "lock.txt").write_text(requirement)
            options = ("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:")
            run(sys.executable, "-m", "pip", "download", *options, "-r", "lock.txt", cwd=download)
            [package] = download.glob("*.whl")
            with zipfile.ZipFile(package) as archive:
                archive.extractall(target)


def install(name: str) -> None:
    """Install applications with all that they need in an environment, `apps/NAME`."""
    folder = CACHE / "apps" / name
    lock = PACKAGES / f"{name}.lock"
    installed = folder / "installed.lock"
    if installed.exists() and installed.read_bytes() == lock.read_bytes():
        return
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    uv = str(Path(sys.executable).parent / "uv")
    options = ("--quiet", "--python", str(folder / "bin/python"), "--require-hashes")
    run(uv, "pip", "install", *options, "-r", str(lock))
    shutil.copy(lock, installed)


class Unpacking:
    """Yields a temporary folder and the folder to unpack to; nothing if that exists already."""

    def __init__(self, registry: str, name: str) -> None:
        self._final = CACHE / registry / name

    def __enter__(self) -> list[tuple[Path, Path]]:
        if self._final.exists():
            return []
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(dir=self._final.parent, prefix=".")
        download = Path(self._folder.name) / "download"
        for folder in (download, Path(self._folder.name) / "unpacked"):
            folder.mkdir()
        return [(download, Path(self._folder.name) / "unpacked")]

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if hasattr(self, "_folder"):
            if kind is None:
                (Path(self._folder.name) / "unpacked").rename(self._final)
            self._folder.cleanup()


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command. Raises UnavailableError with what it printed."""
    try:
        subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{' '.join(command)}: {error.stderr or error.stdout}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{' '.join(command)}: {error}") from None


def lines_of(path: Path) -> list[str]:
    """Return the lines of a list, without comments."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def requirements(lock: Path) -> dict[str, str]:
    """Return the requirement of each package of a lock, with its hashes."""
    return {line.partition("==")[0]: line for line in lines_of(lock) if "==" in line}
