"""A fake listener of an Oracle Database."""

import socket

from datasources.connections.testing.listeners import Listener

REFUSE = 4


def refuse(number: int):
    """Return a function that makes a `Listener` refuse connections with an Oracle error number."""
    reason = f"(DESCRIPTION=(ERR={number})(VSNNUM=0)(ERROR_STACK=(ERROR=(CODE={number}))))".encode()

    def answer(listener: Listener, client: socket.socket) -> None:
        # A long descriptor follows in a separate packet.
        data = listener.receive(client)
        while not data.endswith(b")") and (more := listener.receive(client)):
            data += more
        body = bytes([0, 0]) + len(reason).to_bytes(2, "big") + reason
        header = (8 + len(body)).to_bytes(2, "big") + bytes([0, 0, REFUSE, 0, 0, 0])
        client.sendall(header + body)
        listener.receive(client)

    return answer
