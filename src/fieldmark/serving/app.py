"""App: the routes of all rooms as one Starlette application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from fieldmark.serving import refusals, routes_operations, routes_pages, routes_predict
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import Service, running

ROOMS = (routes_pages, routes_predict, routes_operations)


def build_app(service: Service) -> Starlette:
    """The application; the service starts and stops with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(service):
            yield

    routes: list[BaseRoute] = [route for room in ROOMS for route in room.routes(service)]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={Refusal: _refused})


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return refusals.response(error)
