"""`python -m tests.fuzz.sending`: send requests generated from a seed, and check each response.

The requests go through HAProxy, as in production. Cheaper than schemathesis, and reproducible: the
same seed sends the same requests in the same order to the same data.
"""

import argparse
import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

from rivergen.local.run import serve
from rivergen.testing.haproxy import haproxy
from rivergen.testing.naughty_strings import STRINGS
from rivergen.testing.services import prepare
from tests.fuzz.changes import changes
from tests.fuzz.tally import Tally
from tests.fuzz.values import RAW, WRONG, Schemas, as_json, parameters_of, put, spoil

TIMEOUT_SECONDS = 120
# Callers with more permissions are more frequent.
CALLERS = (
    *("admin", "admin", "admin", "admin", "editor", "editor", "owner", "viewer"),
    *("stranger", "loner", "nobody", "forged"),
)
# Requests that would delete the organization that all other requests use.
DESTRUCTIVE = {("DELETE", "/api/v1/organizations/{organization_id}")}
OTHER_METHODS = ("PUT", "OPTIONS", "TRACE", "PATCH", "DELETE", "POST", "BREW")
INVALID_IDS = (
    "0",
    "-1",
    "1.0",
    "99999",
    str(2**63),
    "9" * 300,
    "abc",
    "%00",
    "%F0%9F%98%80",
    "1%2F2",
)
SIGN_IN = "POST /api/v1/auth/token"
SAVED_EVERY = 1_000


@dataclass
class Request:
    """A request to send."""

    endpoint: str
    method: str
    path: str
    caller: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        headers = {name: value[:60] for name, value in self.headers.items()}
        body = (self.body or b"")[:300]
        return f"{self.method} {self.path[:200]} as {self.caller} {headers} {body!r}"


@dataclass
class Operation:
    """One method of one path of the OpenAPI document."""

    method: str
    path: str
    query: dict[str, Any]
    headers: list[str]
    body: Any

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Generator:
    """Generate requests, from `random` and the ids that were created so far."""

    def __init__(self, document: Any, random: Random) -> None:
        self.random = random
        self.schemas = Schemas(document)
        self.operations = [*read_operations(document)]
        self.ids = {
            "organization_id": ["1", "1", "1", "2"],
            "workspace_id": ["1", "2"],
            "data_source_id": [str(number) for number in range(1, 37)],
            "user_id": ["1", "2", "3", "4", "5", "6"],
            "version": ["1", "2", "3"],
            "test_id": ["00000000-0000-0000-0000-000000000000"],
        }

    def requests(self, part: int, parts: int) -> Iterator[Request]:
        """Yield requests endlessly; every second one has a naughty string, until all were sent."""
        pairs = [
            (operation, place, text)
            for operation in self.operations
            if operation.body is not None and operation.name != SIGN_IN
            for place in self.schemas.texts(operation.body)
            for text in STRINGS
        ][part::parts]
        self.random.shuffle(pairs)
        while True:
            if pairs:
                yield self.naughty(*pairs.pop())
            yield self.any(self.choose())

    def choose(self) -> Operation:
        """Return a random operation; seldom the sign-in, which is slow by its password hash."""
        operation = self.random.choice(self.operations)
        is_slow = operation.name == SIGN_IN and self.random.random() < 0.9
        return self.choose() if is_slow else operation

    def naughty(self, operation: Operation, place: tuple[Any, ...], text: str) -> Request:
        """Return a request that is valid except for one text."""
        body = put(self.schemas.make(operation.body, self.random), place, text)
        request = self.base(operation, "admin")
        request.body, request.headers["Content-Type"] = as_json(body), "application/json"
        return request

    def any(self, operation: Operation) -> Request:
        """Return a request that is valid or nearly valid."""
        random = self.random
        request = self.base(operation, random.choice(CALLERS))
        if operation.body is not None or random.random() < 0.05:
            request.headers["Content-Type"] = "application/json"
            body = self.schemas.make(operation.body, random) if operation.body else {}
            for _ in range(random.choice((0, 0, 1, 1, 2))):
                body = spoil(body, random)
            request.body = as_json(body)
        query = {
            name: self.text_for(schema)
            for name, schema in operation.query.items()
            if random.random() < 0.25
        }
        if query.get("verify") == "true":
            query["verify"] = "false"  # no worker runs the test: 503
        for name in operation.headers:
            if random.random() < 0.2:
                request.headers[name] = random.choice(('"1"', '"2"', "*", "1", 'W/"1"', '""', ","))
        if random.random() < 0.25:
            self.distort(request, query)
        if query:
            request.path += f"?{urlencode(query, doseq=True, errors='surrogatepass')}"
        return request

    def base(self, operation: Operation, caller: str) -> Request:
        """Return a request of an operation with a path only."""
        path = operation.path
        for name, ids in self.ids.items():
            wanted = f"{{{name}}}"
            if wanted in path:
                is_known = self.random.random() < 0.85
                path = path.replace(wanted, self.random.choice(ids if is_known else INVALID_IDS))
        is_destructive = (operation.method, operation.path) in DESTRUCTIVE
        if "/members/" in path and operation.method != "GET" or is_destructive:
            caller = self.random.choice(("viewer", "editor", "loner", "nobody"))
        return Request(operation.name, operation.method, path, caller)

    def text_for(self, schema: Any) -> Any:
        """Return a value for a query parameter."""
        if self.random.random() < 0.3:
            return self.random.choice(STRINGS)
        value = self.schemas.make(schema, self.random)
        return value if isinstance(value, str | list) else json.dumps(value)

    def distort(self, request: Request, query: dict[str, Any]) -> None:
        """Break the media type, method, headers, query, path or raw body of a request."""
        random = self.random
        kind = random.randrange(7)
        if kind == 0:
            request.body = random.choice(RAW)
            request.headers["Content-Type"] = "application/json"
        elif kind == 1 and request.body:
            request.body = request.body[: random.randrange(len(request.body))]
        elif kind == 2:
            types = ("text/plain", "application/merge-patch+json", "multipart/form-data", "*/*", "")
            request.headers["Content-Type"] = random.choice((*types, "application/yaml"))
        elif kind == 3:
            query[random.choice(STRINGS)] = random.choice(STRINGS)
        elif kind == 4:
            request.method = random.choice(OTHER_METHODS)
            request.endpoint = f"{request.method} {request.endpoint.partition(' ')[2]}"
            if request.method == "DELETE":
                request.caller = "viewer"
        elif kind == 5:
            name = random.choice(
                ("Accept", "If-Match", "X-Request-ID", "Content-Encoding", "Range")
            )
            text = random.choice(STRINGS).encode(errors="replace").decode("latin-1")
            request.headers[name] = "".join(filter(str.isprintable, text))[:4_000]
        elif random.random() < 0.5:
            ends = ("/", "//", "/..", "/x", "%00", "%ff", ".json", ";a=b", "?")
            request.path += random.choice(ends)
        else:
            request.body = as_json(random.choice(WRONG))
            request.headers["Content-Type"] = "application/json"

    def learn(self, request: Request, status: int, headers: Any, body: bytes) -> None:
        """Add the ids that a request created, and remove the ids that it deleted."""
        if status in (201, 202) and request.endpoint.endswith("/data-sources"):
            self.ids["data_source_id"].append(headers["Location"].rpartition("/")[2])
        elif status == 202 and request.path.partition("?")[0].endswith("/test"):
            data = json.loads(body)["data"]
            if isinstance(data, dict):  # not of many data sources
                self.ids["test_id"] = self.ids["test_id"][-5:] + [data["test_id"]]
        elif status == 201 and request.endpoint.endswith("/workspaces"):
            self.ids["workspace_id"].append(str(json.loads(body)["data"]["id"]))
        elif status == 204 and request.method == "DELETE":
            gone = request.path.partition("?")[0].rpartition("/")[2]
            for name in ("workspace_id", "data_source_id"):
                if request.endpoint.endswith(f"{{{name}}}"):
                    self.ids[name] = [one for one in self.ids[name] if one != gone] or ["1"]


def read_operations(document: Any) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = parameters_of(document, operation)
            content = operation.get("requestBody", {}).get("content", {})
            yield Operation(
                method.upper(),
                path,
                {one["name"]: one["schema"] for one in parameters if one["in"] == "query"},
                [one["name"] for one in parameters if one["in"] == "header"],
                content.get("application/json", {}).get("schema"),
            )


class Sender:
    """Send requests over one connection, reopened if it was closed."""

    def __init__(self, port: int, tokens: dict[str, str]) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self.tokens = {**tokens, "forged": tokens["admin"][:-4] + "AAAA"}

    def send(self, request: Request) -> tuple[int, Any, bytes]:
        """Send a request; return status, headers and body of the response."""
        headers = dict(request.headers)
        if token := self.tokens.get(request.caller):
            headers["Authorization"] = f"Bearer {token}"
        path = quote(request.path, safe="/%?&=+;:@,!$'()*~.-_#[]")
        try:
            # A body that is too large is refused before all of it was sent: the response says so.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.connection.request(request.method, path, request.body, headers)
            response = self.connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, HTTPException):
            self.connection.close()
            raise


def run(arguments: argparse.Namespace) -> Tally:
    """Send the requests; return the figures."""
    port = prepare(arguments.database)
    # Only after `prepare` has set up Django.
    from django.db import connection

    from rivergen.http.openapi.view import document
    from tests.fuzz.world import make_world

    tokens = make_world()
    generator = Generator(document(), Random(f"{arguments.seed}/{arguments.part}"))
    requests = generator.requests(arguments.part, arguments.parts)
    tally = Tally()
    with (
        serve(port, log=subprocess.DEVNULL),
        haproxy(port) as (proxy_port, _),
        connection.cursor() as cursor,
    ):
        sender = Sender(proxy_port, tokens)
        before = changes(cursor)
        for number in range(arguments.requests):
            request = next(requests)
            what = f"seed {arguments.seed}, part {arguments.part}, number {number}: {request}"
            try:
                status, headers, body = sender.send(request)
            except (OSError, HTTPException) as error:
                tally.failures.append(f"{error!r}: {what}")
                continue
            now = changes(cursor)
            tally.check(request.endpoint, status, headers, body, now != before, what)
            generator.learn(request, status, headers, body)
            before = now
            if arguments.figures and number % SAVED_EVERY == 0:
                tally.save(arguments.figures)
    return tally


def main() -> None:
    """Send requests as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sending", description=__doc__)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--database", default="rivergen_fuzz_replay")
    parser.add_argument("--figures", type=Path, help="write the figures here, and print nothing")
    arguments = parser.parse_args()
    tally = run(arguments)
    if arguments.figures:
        tally.save(arguments.figures)
    else:
        tally.print()


if __name__ == "__main__":
    main()
