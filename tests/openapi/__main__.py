"""`make openapi`: write docs/openapi.json again, and print what changed in it."""

import json

import django

django.setup()

from tests.openapi.committed import COMMITTED, text  # noqa: E402
from tests.openapi.comparing import compare, report  # noqa: E402


def main() -> None:
    """Write the document that the code builds."""
    after = text()
    before = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else '{"paths": {}}'
    COMMITTED.write_text(after, encoding="utf-8")
    if after == before:
        print("docs/openapi.json has not changed.")
    else:
        print(report(compare(json.loads(before), json.loads(after))))


if __name__ == "__main__":
    main()
