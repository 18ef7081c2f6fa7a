"""The cost of many updates in one request, compared with a request for each."""

import json
import statistics
from typing import Any

from bench.load import http_request, measure

UPDATES = 200
# Requests of a round: as many updates one way as the other.
CALLS = 10
# Few, so that no two requests in flight change the same rows.
CONNECTIONS = 2


def compare(port: int, pid: int, token: str, ids: list[int], rounds: int) -> dict[str, Any]:
    """Send the same updates in one request and in a request each, round by round; print the CPU."""

    def together(number: int) -> bytes:
        first = number * UPDATES % len(ids)
        updates = [
            {"id": pk, "description": f"Description {number}"}
            for pk in ids[first : first + UPDATES]
        ]
        return http_request("PATCH", "", token, json.dumps({"updates": updates}))

    def alone(number: int) -> bytes:
        body = json.dumps({"description": f"Alone {number}"})
        return http_request("PATCH", f"/{ids[number % len(ids)]}", token, body)

    in_one, in_many = [], []
    for round_number in range(rounds + 1):
        of_many = measure(port, pid, together, CALLS, CONNECTIONS).cpu_ms
        of_one = measure(port, pid, alone, CALLS * UPDATES).cpu_ms * UPDATES
        if round_number:  # round 0 warms up
            in_one.append(of_many)
            in_many.append(of_one)
    ratios = [one / many for one, many in zip(in_one, in_many, strict=True)]
    result = {
        "updates": UPDATES,
        "one_call_cpu_ms": statistics.median(in_one),
        "calls_cpu_ms": statistics.median(in_many),
        "ratio": statistics.median(ratios),
    }
    print(
        f"\n{UPDATES} updates in one call: {result['one_call_cpu_ms']:.0f} ms of the server's CPU; "
        f"in {UPDATES} calls: {result['calls_cpu_ms']:.0f} ms. Ratio {result['ratio']:.3f}, "
        f"{min(ratios):.3f} to {max(ratios):.3f} in {rounds} rounds."
    )
    return result
