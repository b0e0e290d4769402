"""A server of the guard's rooms alone, and clients that no library would be: they send bytes as they like."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fieldmark.serving import connections, refusals
from fieldmark.serving.access import Access, loopback_hosts
from fieldmark.serving.guard import Guard
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.uploads import Budget, read_uploads

TOKEN = "a-token-for-tests"


@dataclasses.dataclass
class Server:
    """A server in a thread of the test, what it read, and what its application was asked to change."""

    port: int
    budget: Budget
    uploaded: int = 0  # files that reached the application
    received: int = 0  # bytes read from all sockets
    changes: list[str] = dataclasses.field(default_factory=list)
    alive: set[Any] = dataclasses.field(default_factory=set)  # connections of the server


@contextlib.contextmanager
def serving(limits: Limits, app: Any = None, token: str = TOKEN) -> Iterator[Server]:
    """Run an application behind the guard on a free port, in a thread; without one, `echo`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = Server(listener.getsockname()[1], Budget(limits.budget_bytes))
    guarded = Guard(app or echo(limits, server), Access(token, loopback_hosts(server.port)), limits)
    config = uvicorn.Config(
        guarded,
        http=_counting(limits, server),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve([listener])), daemon=True)
    thread.start()
    while not running.started:
        thread.join(0.01)
    server.alive = running.server_state.connections
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(10)
        listener.close()


def _counting(limits: Limits, server: Server) -> type[connections.Connection]:
    class Counting(connections.protocol(limits)):  # type: ignore[misc]
        def data_received(self, data: bytes) -> None:
            server.received += len(data)
            super().data_received(data)

    return Counting


def echo(limits: Limits, server: Server) -> Starlette:
    """Answers what was uploaded, a long text, or one after a while; a POST to /change changes something."""

    async def upload(request: Request) -> Response:
        uploads = await read_uploads(request, limits, server.budget)
        server.uploaded += len(uploads)
        return JSONResponse({"uploads": [[one.name, len(one.content)] for one in uploads]})

    async def change(request: Request) -> Response:
        server.changes.append(request.method)
        return JSONResponse({})

    async def page(request: Request) -> Response:
        return Response("hello", media_type="text/html")

    async def long(request: Request) -> Response:
        return Response(b"x" * 1_000_000)

    async def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, Refusal):
            raise error
        return refusals.response(error)

    routes = [
        Route("/", page),
        Route("/healthz", page),
        Route("/api/predict", upload, methods=["POST"]),
        Route("/change", change, methods=["GET", "POST", "PUT"]),
        Route("/long", long),
    ]
    return Starlette(routes=routes, exception_handlers={Refusal: refused})


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer as it came; status 0 where the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]


def ask(port: int, *parts: bytes, seconds: float = 20) -> Answer:
    """Send bytes as they are, then read one answer. A server that stops reading stops nobody."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer by its Content-Length, or to the end."""
    waiting = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n\r\n" not in waiting:
            chunk = connection.recv(65_536)
            if not chunk:
                return Answer(0, {}, waiting)
            waiting += chunk
        head, _, body = waiting.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(body) < length:
            body += connection.recv(65_536)
        return Answer(int(first.split()[1]), headers, body[:length])
    return Answer(0, {}, b"")


def request(
    port: int, target: str = "/api/predict", *, method: str = "POST", body: bytes = b"", **headers: str
) -> bytes:
    """A request with Host, token and Content-Length, unless `headers` say otherwise; underscores stand for hyphens."""
    lines = {"Host": f"127.0.0.1:{port}", "Authorization": f"Bearer {TOKEN}", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items() if value)]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def part(content: bytes, *, name: str = "a.png", field: str = "files", headers: tuple[str, ...] = ()) -> bytes:
    """One file of a form."""
    lines = [f'Content-Disposition: form-data; name="{field}"; filename="{name}"', *headers]
    return b"--B\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, value: bytes = b"") -> bytes:
    """One field of a form that is no file."""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + b"--B--\r\n"


FORM = "multipart/form-data; boundary=B"


def chunked(body: bytes, size: int = 4096) -> bytes:
    """A body in chunks, which tells its length to nobody beforehand."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
