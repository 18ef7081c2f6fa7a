"""Start servers on their own databases, send them generated requests, and print the figures."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rivergen.local.run import BASE_DIR, serve
from rivergen.testing.haproxy import haproxy
from rivergen.testing.services import prepare, server_url
from tests.fuzz.tally import Tally

PARTS = 2
ENDPOINTS = 40
REQUESTS = 100_000
SENDING = [sys.executable, "-m", "tests.fuzz.sending", "--parts", str(PARTS)]


def main() -> int:
    """Run `tests.fuzz.sending`, then schemathesis; return 1 if anything failed.

    Unknown arguments are passed on to schemathesis.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("-n", type=int, help="requests per endpoint, for each generator")
    parser.add_argument("--seed", type=int, default=1)
    arguments, for_schemathesis = parser.parse_known_args()
    requests = arguments.n * ENDPOINTS if arguments.n else REQUESTS
    os.environ["DATABASE_URL"] = server_url()  # the server on which `prepare` creates databases
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        status = fuzz_by_seed(requests // PARTS, arguments.seed, folder)
        status |= fuzz_by_schema(
            [*(["-n", str(arguments.n)] if arguments.n else []), *for_schemathesis],
            arguments.seed,
            folder / "schemathesis",
        )
        for figures in folder.iterdir():
            tally.add(figures)
    tally.print()
    count = f" -n {arguments.n}" if arguments.n else ""
    part = f"{' '.join(SENDING[1:])} --part 0 --seed {arguments.seed} --requests N"
    print(f"seed: {arguments.seed}")
    print(f"repeat this run: python -m tests.fuzz --seed {arguments.seed}{count}")
    print(f"repeat one part up to request number N: python {part}")
    return int(bool(status or tally.failures))


def fuzz_by_seed(requests: int, seed: int, folder: Path) -> int:
    """Run our own generator in several processes; return the worst exit status."""
    senders = [
        subprocess.Popen(
            [*SENDING, "--part", str(part), "--seed", str(seed), "--requests", str(requests)]
            + ["--database", f"rivergen_fuzz_{part}", "--figures", str(folder / str(part))],
            cwd=BASE_DIR,
        )
        for part in range(PARTS)
    ]
    return max(abs(sender.wait()) for sender in senders)


def fuzz_by_schema(options: list[str], seed: int, figures: Path) -> int:
    """Run schemathesis; return its exit status."""
    port = prepare("rivergen_fuzz")
    from tests.fuzz.world import make_world  # only after `prepare` has set up Django

    os.environ["FUZZ_TOKEN"] = make_world()["admin"]
    os.environ["FUZZ_FIGURES"] = str(figures)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        "schemathesis.toml",
        "run",
    ]
    with serve(port, log=subprocess.DEVNULL), haproxy(port) as (proxy_port, _):
        address = f"http://127.0.0.1:{proxy_port}/api/v1/openapi.json"
        return subprocess.run(
            [*command, address, "--seed", str(seed), *options],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(BASE_DIR)},
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
