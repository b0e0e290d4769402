"""A service in this process, with the routes of explanations and of the review, and someone who asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette

from fieldmark.serving import refusals, routes_explain, routes_review
from fieldmark.serving.limits import Limits
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import build_service, running


class Client:
    """Asks from a thread what the service answers in its event loop."""

    def __init__(self, portal: BlockingPortal, client: httpx.AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(lambda: self._client.request(method, path, **options))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)


@contextlib.contextmanager
def asking(path: Path) -> Iterator[Client]:
    """Ask a run folder or a classifier file; its decoders run as processes."""
    service = build_service(path, Limits())

    async def refused(request, error):
        return refusals.response(error)

    routes = [*routes_explain.routes(service), *routes_review.routes(service)]
    app = Starlette(routes=routes, exception_handlers={Refusal: refused})
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running(service)):
        transport = httpx.ASGITransport(app)
        yield Client(portal, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000"))


def error(answer: httpx.Response) -> tuple[int, str, str]:
    """(status, code, detail) of a refusal."""
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["detail"]
