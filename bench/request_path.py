"""`python -m bench.request_path`: the files of rivergen that one PATCH goes through.

Counts, over a warm request, the files that are entered from the view's method on, and how often
the request comes back to a file that it has left. `--calls` prints each call.
"""

import argparse
import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from rivergen.local.run import BASE_DIR
from rivergen.testing.services import prepare

APPS = ("rivergen", "organizations", "datasources")
VIEW = ("datasources/views.py", "partial_update")
WARM_UP_REQUESTS = 5
# The document's example, and its whole request body.
BODIES = {
    "name and pool size": lambda number: {
        "name": f"Updated {number}",
        "connection_pool_size": 10 + number,
    },
    "seven fields": lambda number: {
        "name": f"Updated {number}",
        "description": f"Description {number}",
        "host": f"host{number}.example.com",
        "port": 5433 + number,
        "connection_pool_size": 10 + number,
        "connection_timeout": 60 + number,
        "tags": ["updated", f"number {number}"],
    },
}


def main() -> None:
    """Print both counts for each request body."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", action="store_true", help="print each call")
    options = parser.parse_args()
    prepare("rivergen_request_path")
    send = make_sender()
    for name, body in BODIES.items():
        for number in range(WARM_UP_REQUESTS):
            send(body(number))
        calls = calls_of(lambda body=body: send(body(WARM_UP_REQUESTS)))  # type: ignore[misc]
        files = [file for file, _ in calls]
        visits = [file for file, before in zip(files, ["", *files], strict=False) if file != before]
        entered = len({*visits})
        print(f"PATCH of {name}: {entered} files, {len(visits) - entered} returns")
        if options.calls:
            print(*(f"    {file} {function}" for file, function in calls), sep="\n")


def make_sender() -> Callable[[Any], None]:
    """Create a data source, and return a function that sends a PATCH of it."""
    from django.test import Client

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User
    from organizations.sign_in.tokens import issue_tokens

    editor = User.objects.create_user("editor")
    organization = Organization.objects.create(name="Acme", slug="acme")
    organization.add_member(editor, Role.EDITOR)
    data_source = DataSource.objects.create(
        organization=organization, name="Orders", type="postgresql", host="db.example.com"
    )
    token = issue_tokens(editor)["access_token"]
    client = Client(headers={"Authorization": f"Bearer {token}", "Host": "127.0.0.1"})

    def send(body: Any) -> None:
        path = f"/api/v1/data-sources/{data_source.pk}"
        response = client.patch(path, json.dumps(body), content_type="application/json")
        assert response.status_code == 200, response.content

    return send


def calls_of(work: Callable[[], None]) -> list[tuple[str, str]]:
    """Return each call of a function of rivergen within the view: its file, and its name."""
    calls: list[tuple[str, str]] = []
    view: FrameType | None = None

    def trace(frame: FrameType, event: str, argument: object) -> None:
        nonlocal view
        if event == "return" and frame is view:
            view = None
        if event != "call" or not frame.f_code.co_filename.startswith(f"{BASE_DIR}/"):
            return
        file = frame.f_code.co_filename.removeprefix(f"{BASE_DIR}/")
        call = (file, frame.f_code.co_name)
        if call == VIEW and view is None:
            view = frame
        if view is not None and file.startswith(APPS):
            calls.append(call)

    sys.setprofile(trace)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


if __name__ == "__main__":
    main()
