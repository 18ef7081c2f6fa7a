"""What is installed: pinned, verified by a hash, and listed with its licence."""

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import TestCase

import yaml

from datasources.connections.testing.servers import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *ROOT.glob("tests/real/packages/*.lock")])
# The lock that has the packages of a requirements file, if it is not the one of the same name.
LOCK_NAMES = {"requirements-test": "requirements-dev"}
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
NOTICE_ROW = re.compile(r"^([\w-]+)  +([^;\n]+)", re.MULTILINE)
# What installs or runs something that it downloads.
DOWNLOAD = re.compile(
    r"\b(pip3? install|pip\b.* install|uv pip install|uvx|npm (?!--version)|npx|curl|wget)\b"
)
NPM = ROOT / "tests" / "clients"
BASE_IMAGE = re.compile(r"^FROM (\S+)", re.MULTILINE)


def normalized(name: str) -> str:
    """Return the name of a package as locks spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, set[str]]:
    """Return the versions of the packages that a file pins; a lock has some for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(file.read_text()):
        found.setdefault(normalized(name), set()).add(version)
    return found


def entries(lock: Path) -> list[str]:
    """Return the entries of a lock: a requirement and its hashes, joined to one line each."""
    lines = lock.read_text().replace("\\\n", "").splitlines()
    return [line for line in lines if line and not line.lstrip().startswith(("#", "--only-binary"))]


class LockTests(TestCase):
    def test_every_pinned_requirement_is_in_its_lock(self) -> None:
        files = sorted(ROOT.glob("requirements*.txt"))
        self.assertGreater(len(files), 4)
        for file in files:
            lock = ROOT / f"{LOCK_NAMES.get(file.stem, file.stem)}.lock"
            locked = pins(lock)
            for name, versions in pins(file).items():
                with self.subTest(file=file.name, name=name):
                    self.assertEqual(locked.get(name), versions, "Run `make lock`.")

    def test_requirements_files_pin_everything_they_name(self) -> None:
        for file in ROOT.glob("requirements*.txt"):
            for line in file.read_text().splitlines():
                if line and not line.startswith(("#", "-r ")):
                    with self.subTest(file=file.name, line=line):
                        self.assertRegex(line, PIN)

    def test_every_entry_of_a_lock_is_pinned_and_has_hashes(self) -> None:
        self.assertGreater(len(LOCKS), 4)
        for lock in LOCKS:
            self.assertGreater(len(entries(lock)), 0)
            for entry in entries(lock):
                with self.subTest(lock=lock.name, entry=entry[:80]):
                    self.assertRegex(entry, PIN)
                    self.assertRegex(entry, HASH)

    def test_locks_agree_on_versions(self) -> None:
        run = pins(ROOT / "requirements.lock")
        for name in ("requirements-dev.lock", "requirements-cloud.lock"):
            others = pins(ROOT / name)
            for package in run.keys() & others.keys():
                with self.subTest(lock=name, package=package):
                    self.assertEqual(others[package], run[package])

    def test_locks_allow_only_wheels(self) -> None:
        # Building a source distribution runs its code, and downloads tools that are in no lock.
        for lock in LOCKS:
            with self.subTest(lock.name):
                self.assertIn("\n--only-binary :all:\n", lock.read_text())

    def test_test_packages_are_not_in_the_lock_of_the_image(self) -> None:
        test_packages = {*pins(ROOT / "requirements-test.txt")} - {"psutil"}
        locked = {*pins(ROOT / "requirements.lock")}
        self.assertEqual(test_packages & locked, set())


class NpmLockTests(TestCase):
    def setUp(self) -> None:
        lock = json.loads((NPM / "package-lock.json").read_text())
        self.root = lock["packages"].pop("")
        self.packages: dict[str, Any] = lock["packages"]

    def test_every_package_is_pinned_and_has_a_hash(self) -> None:
        self.assertGreater(len(self.packages), 100)
        for name, package in self.packages.items():
            with self.subTest(name):
                self.assertRegex(package["version"], r"^\d+\.\d+\.\d+")
                self.assertRegex(package["integrity"], r"^sha512-[A-Za-z0-9+/]{86}==$")
                self.assertRegex(package.get("resolved", "https://"), r"^https://")

    def test_lock_agrees_with_the_pinned_requirements(self) -> None:
        required = json.loads((NPM / "package.json").read_text())["devDependencies"]
        self.assertEqual(self.root["devDependencies"], required)
        for name, version in required.items():
            self.assertEqual(self.packages[f"node_modules/{name}"]["version"], version)

    def test_installing_runs_no_code_of_packages(self) -> None:
        self.assertIn("ignore-scripts=true\n", (NPM / ".npmrc").read_text())


class DownloadTests(TestCase):
    def test_everything_is_installed_by_hash(self) -> None:
        files = ["Makefile", "Dockerfile", "deploy/pgbouncer.Dockerfile", ".ci/run"]
        files += [str(path.relative_to(ROOT)) for path in (ROOT / "deploy").glob("*.sh")]
        found = 0
        for file in files:
            for line in (ROOT / file).read_text().replace("\\\n", "").splitlines():
                for command in re.split(r"&&|\|\|", line):
                    if DOWNLOAD.search(command) and not line.startswith("#"):
                        found += 1
                        with self.subTest(file=file, command=command.strip()):
                            # `npm ci` installs what is in package-lock.json, or fails.
                            self.assertRegex(command, r"--require-hashes|\bnpm ci\b")
        self.assertGreater(found, 3)

    def test_every_base_image_can_be_pinned_by_digest(self) -> None:
        services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
        for dockerfile in ("Dockerfile", "deploy/pgbouncer.Dockerfile"):
            text = (ROOT / dockerfile).read_text()
            [image] = {*BASE_IMAGE.findall(text)}
            [variable] = re.findall(r"^\$\{(\w+)\}$", image)
            [default] = re.findall(rf"^ARG {variable}=(.*)$", text, re.MULTILINE)
            arguments = [
                service["build"]["args"]
                for service in services.values()
                if "build" in service
                and service["build"].get("dockerfile", "Dockerfile") == Path(dockerfile).name
            ]
            self.assertGreater(len(arguments), 0)
            for argument in arguments:
                self.assertEqual(argument, {variable: f"${{{variable}:-{default}}}"})
        for name, service in services.items():
            if "build" not in service:
                with self.subTest(name):
                    self.assertRegex(service["image"], r"^\$\{[A-Z]+_IMAGE:-[\w.-]+:[\w.-]+\}$")


class LicenceTests(TestCase):
    def setUp(self) -> None:
        self.licences = dict(NOTICE_ROW.findall((ROOT / "NOTICE").read_text()))

    def test_notice_lists_the_locked_packages(self) -> None:
        self.assertEqual({*self.licences}, {*pins(ROOT / "requirements.lock")})

    def test_notice_has_the_licences_that_packages_declare(self) -> None:
        declared = {}
        for name, versions in pins(ROOT / "requirements.lock").items():
            try:
                package = metadata(name)
            except PackageNotFoundError:
                continue  # only on Windows
            if package["Version"] in versions and package["License-Expression"]:
                declared[name] = package["License-Expression"]
        self.assertGreater(len(declared), 20)
        for name, expression in declared.items():
            with self.subTest(name):
                self.assertEqual(self.licences[name], expression)

    def test_sbom_has_each_locked_package_with_version_and_licence(self) -> None:
        if find_spec("cyclonedx_py") is None:
            skip_or_fail("cyclonedx-bom is not installed: pip install -r requirements-dev.txt")
        # `make sbom` also validates the list, which takes 10 seconds.
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--gather-license-texts"]
        command += ["--no-validate", sys.executable]
        process = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(process.returncode, 0, process.stderr)
        components = {
            normalized(component["name"]): component
            for component in json.loads(process.stdout)["components"]
        }
        replaced = pins(ROOT / "requirements-next.lock")  # by `make test-next`
        for name, versions in pins(ROOT / "requirements.lock").items():
            if name not in {"colorama", "tzdata"}:  # only on Windows
                with self.subTest(name):
                    version = components[name]["version"]
                    self.assertIn(version, versions | replaced.get(name, set()))
                    self.assertTrue(components[name]["licenses"])
