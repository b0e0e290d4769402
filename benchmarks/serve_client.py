"""The clients of `serve.py`, a process of their own: raw sockets on one event loop take little of the cores.

    python benchmarks/serve_client.py < PLAN     # JSON, see `Plan`; prints one JSON object

Closed loop (`rate` 0): each connection sends its next request when it has its answer. Open loop: request number i is
due i / rate seconds after the start, whether or not others were answered; its time counts from then (no coordinated
omission). A connection that the server closed after an answer is opened again.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

BOUNDARY = b"fieldmark-benchmark"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked of whom."""

    port: int
    token: str
    paths: list[str]  # of images
    requests: int
    images: int  # in each request
    connections: int
    rate: float  # requests a second; 0: closed loop
    expected: dict[str, Any]  # by path: the row of `fieldmark predict`, its "path" null


@dataclasses.dataclass
class Outcome:
    """What came of one request."""

    status: int  # 0: none
    seconds: float  # from when it was due
    problem: str = ""  # what is wrong with the answer


class Answers(asyncio.Protocol):
    """The answers that arrive on one connection."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiter: asyncio.Future[tuple[int, bytes, bool]] | None = None
        self.closed = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        fields = dict(line.lower().split(b": ", 1) for line in bytes(head).split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        if len(rest) < length:
            return
        waiter, self.waiter = self.waiter, None
        if waiter is None or len(rest) > length:
            raise SystemExit("an answer that nobody asked for")
        self.buffer.clear()
        if not waiter.done():
            waiter.set_result((int(head[9:12]), bytes(rest), fields.get(b"connection") == b"close"))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error or ConnectionError("closed without an answer"))


def build_request(plan: Plan, number: int) -> tuple[list[str], bytes]:
    """The names under which images are sent, each used once, and the bytes of the request."""
    chosen = [plan.paths[(number * plan.images + each) % len(plan.paths)] for each in range(plan.images)]
    names = [f"{number}/{each}/{path}" for each, path in enumerate(chosen)]
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
        % (BOUNDARY, name.encode(), content_of(path))
        for name, path in zip(names, chosen, strict=True)
    )
    body += b"--%s--\r\n" % BOUNDARY
    head = (
        f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return names, head.encode() + body


CONTENTS: dict[str, bytes] = {}


def content_of(path: str) -> bytes:
    """A file's bytes, read once."""
    if path not in CONTENTS:
        CONTENTS[path] = Path(path).read_bytes()
    return CONTENTS[path]


def check(plan: Plan, names: list[str], status: int, body: bytes) -> str:
    """What is wrong with an answer; "" if nothing is."""
    try:
        answer = json.loads(body)
    except ValueError:
        return "not JSON"
    if status != 200:
        return "" if set(answer.get("error", {})) == {"code", "detail", "hint"} else "an error of another form"
    rows = answer["predictions"]
    if [row["path"] for row in rows] != names:
        return "rows of other files"
    rows = [{**row, "path": None} for row in rows]
    wanted = [plan.expected[name.split("/", 2)[2]] for name in names]
    return "" if rows == wanted else "a wrong answer"


async def exchange(plan: Plan, connection: Any, number: int) -> tuple[Any, int, str]:
    """Send one request; return the connection (None if it was closed), the status and what is wrong."""
    names, request = build_request(plan, number)
    loop = asyncio.get_running_loop()
    try:
        if connection is None or connection[1].closed:
            connection = await loop.create_connection(Answers, "127.0.0.1", plan.port)
        transport, answers = connection
        answers.waiter = loop.create_future()
        transport.write(request)
        status, body, last = await asyncio.wait_for(answers.waiter, 120)
    except (OSError, TimeoutError) as error:
        return None, 0, f"{type(error).__name__}: {error}"
    if last:
        transport.close()
    return (None if last else connection), status, check(plan, names, status, body)


async def run(plan: Plan) -> list[Outcome]:
    """All requests; their outcomes."""
    numbers = iter(range(plan.requests))
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def client() -> None:
        connection = None
        for number in numbers:
            due = start + number / plan.rate if plan.rate else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()) if plan.rate else 0)
            connection, status, problem = await exchange(plan, connection, number)
            outcomes.append(Outcome(status, time.perf_counter() - due, problem))
        if connection is not None:
            connection[0].close()

    await asyncio.gather(*(client() for _ in range(plan.connections)))
    return outcomes


def percentile(seconds: list[float], share: float) -> float | None:
    """In milliseconds."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    for path in plan.paths:
        content_of(path)
    begun, busy = time.perf_counter(), time.process_time()
    outcomes = asyncio.run(run(plan))
    seconds = time.perf_counter() - begun
    of = {
        "answered": [outcome.seconds for outcome in outcomes if outcome.status == 200],
        "refused": [outcome.seconds for outcome in outcomes if outcome.status not in (0, 200)],
    }
    found = {
        "requests": len(outcomes),
        "seconds": round(seconds, 3),
        "images_per_second": len(of["answered"]) * plan.images / seconds,
        "statuses": dict(sorted(collections.Counter(outcome.status for outcome in outcomes).items())),
        "problems": dict(collections.Counter(outcome.problem for outcome in outcomes if outcome.problem)),
        "client_cores": round((time.process_time() - busy) / seconds, 3),
        **{
            f"{name}_ms": {str(share): percentile(values, share) for share in (0.5, 0.95, 0.99)}
            for name, values in of.items()
        },
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
