"""Result files of the benchmarks."""

import json
from typing import Any

from rivergen.local.run import BASE_DIR


def write_result(name: str, result: Any) -> None:
    """Write a result as JSON to `.bench/`, which Git ignores."""
    folder = BASE_DIR / ".bench"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
