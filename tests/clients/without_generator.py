"""What people do by hand: requests, httpx, aiohttp and curl each send the same requests."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import environ

import aiohttp
import httpx
import requests

API = f"{environ['RIVERGEN_URL']}/api/v1"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """A response, as all clients have it: decompressed, header names in lower case."""

    status: int
    headers: dict[str, str]
    text: str


# Send a request: method, path, headers, body.
Send = Callable[[str, str, Mapping[str, str], str], Answer]


def answer(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """Return a response of one of the libraries."""
    return Answer(status, {name.lower(): value for name, value in headers.items()}, text)


def with_requests(session: requests.Session) -> Send:
    """Return a function that sends with requests."""

    def send(method: str, path: str, headers: Mapping[str, str], body: str) -> Answer:
        found = session.request(method, API + path, headers=headers, data=body.encode())
        return answer(found.status_code, found.headers, found.text)

    return send


def with_httpx(client: httpx.Client) -> Send:
    """Return a function that sends with httpx."""

    def send(method: str, path: str, headers: Mapping[str, str], body: str) -> Answer:
        found = client.request(method, API + path, headers=headers, content=body)
        return answer(found.status_code, found.headers, found.text)

    return send


def with_aiohttp(runner: asyncio.Runner, session: aiohttp.ClientSession) -> Send:
    """Return a function that sends with aiohttp."""

    async def request(method: str, path: str, headers: Mapping[str, str], body: str) -> Answer:
        async with session.request(method, API + path, headers=headers, data=body) as found:
            return answer(found.status, found.headers, await found.text())

    return lambda *arguments: runner.run(request(*arguments))


def with_curl(method: str, path: str, headers: Mapping[str, str], body: str) -> Answer:
    """Send with curl."""
    command = ["curl", "--silent", "--include", "--compressed", "--request", method, API + path]
    command += [item for name, value in headers.items() for item in ("-H", f"{name}: {value}")]
    command += ["--data", body] if body else []
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    head, _, text = output.partition("\n\n")  # text mode turns CRLF into LF
    status, *lines = head.splitlines()
    return answer(int(status.split()[1]), dict(line.split(": ", 1) for line in lines), text)


def drive(name: str, send: Send) -> None:
    """Send the requests with one of the clients, and check the responses."""
    credentials = {
        "username": environ["RIVERGEN_USERNAME"],
        "password": environ["RIVERGEN_PASSWORD"],
    }
    signed_in = send("POST", "/auth/token", JSON, json.dumps(credentials))
    token = json.loads(signed_in.text)["data"]["access_token"]
    # The name of the scheme ignores case (RFC 9110, section 11.1).
    caller = JSON | {"Authorization": f"bearer {token}"}
    body = json.dumps({"name": name, "type": "postgresql"})

    print(f"{name}: create once, though it is sent twice")
    keyed = caller | {"Idempotency-Key": name}
    first, second = (send("POST", "/data-sources", keyed, body) for _ in range(2))
    assert (first.status, second.status) == (201, 201), (first, second)
    assert first.text == second.text and second.headers["idempotency-replayed"] == "true"
    assert second.headers.get("connection", "keep-alive") == "keep-alive", second.headers
    path = f"/data-sources/{json.loads(first.text)['data']['id']}"

    print(f"{name}: tags of versions")
    read = send("GET", path, caller, "")
    etag = read.headers["etag"]
    not_modified = send("GET", path, caller | {"If-None-Match": etag}, "")
    assert (not_modified.status, not_modified.text) == (304, ""), not_modified
    for sent, status in ((etag.strip('"'), 400), (f"W/{etag}", 412), (etag, 200), (etag, 412)):
        changed = json.dumps({"description": f"If-Match: {sent}"})
        found = send("PATCH", path, caller | {"If-Match": sent}, changed)
        assert found.status == status, (sent, found)
        if status == 400:
            assert "If-Match" in found.text, found

    print(f"{name}: the body of GET is sent back")
    found = send("PATCH", path, caller, json.dumps(json.loads(read.text)["data"]))
    assert found.status == 412, found  # it was read before the change above
    current = json.loads(send("GET", path, caller, "").text)["data"]
    found = send("PATCH", path, caller, json.dumps(current | {"description": "edited"}))
    assert found.status == 200, found
    assert set(json.loads(found.text)["changes"]) == {"description"}, found

    print(f"{name}: compression")
    long = json.dumps({"description": "x" * 10_000})
    assert send("PATCH", path, caller, long).status == 200
    found = send("GET", path, caller | {"Accept-Encoding": "gzip"}, "")
    assert found.headers["content-encoding"] == "gzip", found.headers
    assert json.loads(found.text)["data"]["description"] == "x" * 10_000
    plain = send("GET", path, caller | {"Accept-Encoding": "identity"}, "")
    assert "content-encoding" not in plain.headers, plain.headers
    assert (plain.text, plain.headers["etag"]) == (found.text, found.headers["etag"])
    named = caller | {"If-Match": found.headers["etag"]}
    assert send("PATCH", path, named, json.dumps({"description": "short"})).status == 200

    print(f"{name}: the description of the API")
    document = send("GET", "/openapi.json", {}, "")
    assert json.loads(document.text)["openapi"].startswith("3.1"), document.text[:100]
    known = {"If-None-Match": document.headers["etag"]}
    assert send("GET", "/openapi.json", known, "").status == 304


async def open_session() -> aiohttp.ClientSession:
    """Return a session of aiohttp, which needs a running event loop."""
    return aiohttp.ClientSession()


def main() -> None:
    """Run the requests with each client."""
    with requests.Session() as session:
        drive("requests", with_requests(session))
    with httpx.Client() as client:
        drive("httpx", with_httpx(client))
    with asyncio.Runner() as runner:
        aiohttp_session = runner.run(open_session())
        drive("aiohttp", with_aiohttp(runner, aiohttp_session))
        runner.run(aiohttp_session.close())
    drive("curl", with_curl)


if __name__ == "__main__":
    main()
