"""App: the routes of all rooms as one Starlette application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from fieldmark.serving import (
    refusals,
    routes_explain,
    routes_operations,
    routes_pages,
    routes_predict,
    routes_review,
)
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import Service, running

ROOMS = (routes_predict, routes_explain, routes_review, routes_operations, routes_pages)


def build_app(service: Service) -> Starlette:
    """The application; the service starts and stops with it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(service):
            yield

    routes: list[BaseRoute] = [route for room in ROOMS for route in room.routes(service)]
    handlers = {Refusal: _refused, HTTPException: _not_routed, Exception: _failed}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return refusals.response(error, request.scope)


async def _not_routed(request: Request, error: Exception) -> Response:
    """What Starlette raises where no route fits."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        refusal = Refusal(405, "method_not_allowed", f"{request.method} is not answered here", headers=error.headers)
    else:
        refusal = Refusal(404, "not_found", "no such page, image or file")
    return refusals.response(refusal, request.scope)


async def _failed(request: Request, error: Exception) -> Response:
    """A mistake of ours; Starlette raises it again, for the log."""
    return refusals.response(Refusal(500, "internal_error", "the server made a mistake"), request.scope)
