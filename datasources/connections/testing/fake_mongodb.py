"""A fake MongoDB server: OP_MSG and OP_QUERY, no authentication."""

import socket
import struct
from typing import Any

import bson

from datasources.connections.testing.listeners import Listener

REPLY, QUERY, MESSAGE = 1, 2004, 2013


HELLO = {
    "ok": 1,
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 25,
    "maxBsonObjectSize": 16777216,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
}


EMPTY = {"ok": 1, "cursor": {"id": 0, "ns": "sales.$cmd.listCollections", "firstBatch": []}}


def serve_mongo(answers: dict[str, Any] | None = None):
    """Return a function that makes a `Listener` act as a MongoDB server that accepts every client.

    `answers` replaces the answers to commands, by name; each is a document or a function of the
    command.
    """

    def answer(listener: Listener, client: socket.socket) -> None:
        while header := listener.receive(client, 16):
            length, request, _, kind = struct.unpack("<iiii", header)
            body = listener.receive(client, length - 16)
            start = 4 + body[4:].index(b"\0") + 1 + 8 if kind == QUERY else 5
            command = bson.decode(body[start:])
            name = next(iter(command))
            known: dict[str, Any] = {
                "ismaster": HELLO,
                "hello": HELLO,
                "listCollections": EMPTY,
                "buildinfo": {"ok": 1, "version": "7.0.1", "versionArray": [7, 0, 1, 0]},
                **(answers or {}),
            }
            found = known.get(name, {"ok": 1})
            reply = bson.encode(found(command) if callable(found) else found)
            if kind == QUERY:
                kind, payload = REPLY, struct.pack("<iqii", 8, 0, 0, 1) + reply
            else:
                payload = struct.pack("<iB", 0, 0) + reply
            client.sendall(struct.pack("<iiii", 16 + len(payload), 1, request, kind) + payload)

    return answer
