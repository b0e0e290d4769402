"""/api/review: the queue of images to look at, each image in small, and one correction at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fieldmark.errors import ConflictError, DatasetError, FieldmarkError, ImageError, OutputError
from fieldmark.images.corrections import REMOVE
from fieldmark.images.names import printable
from fieldmark.serving.refusals import REFUSALS, Refusal
from fieldmark.serving.review import Review
from fieldmark.serving.service import Service, timely
from fieldmark.serving.suspicions import Item

SHOWN_SIDE = 640  # pixels
BODY_BYTES = 65_536  # of a correction
NAME_LENGTH = 4_096  # characters of a class name, which is a folder's

Result = TypeVar("Result")


class Wanted(NamedTuple):
    """The body of PUT /api/review/ID."""

    correction: str | None
    expected: str | None


def routes(service: Service) -> list[Route]:
    """The routes of the review; without a run each of them answers 404."""
    review = Review(service.classifier, service.run) if service.run is not None else None

    async def queue(request: Request) -> Response:
        return JSONResponse(await _done(asyncio.to_thread(_required(review).page)))

    async def image(request: Request) -> Response:
        async def copied() -> bytes:
            item = await asyncio.to_thread(_item, _required(review), request)
            file, size = await asyncio.to_thread(_required(review).file, item)
            return await service.copies.small(file, size, side=SHOWN_SIDE)

        content = await timely(request, _done(copied()), service.limits.request_seconds)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})

    async def correction(request: Request) -> Response:
        wanted = read_wanted(await _body(request))
        work = asyncio.to_thread(_write, _required(review), request, wanted)
        item = await timely(request, _done(work, dataset="not_writable"), service.limits.request_seconds)
        return JSONResponse({"item": item})

    return [
        Route("/api/review", queue, methods=["GET"]),
        Route("/api/review/{id}/image", image, methods=["GET"]),
        Route("/api/review/{id}", correction, methods=["PUT"]),
    ]


def _required(review: Review | None) -> Review:
    if review is None:
        raise Refusal(
            404,
            "not_found",
            "a classifier file is served without its run, so there is nothing to review",
            hint="serve the run folder",
        )
    return review


def _item(review: Review, request: Request) -> Item:
    item = review.find(request.path_params["id"])
    if item is None:
        raise Refusal(404, "not_found", "no image of the review has this id", hint="GET /api/review lists them")
    return item


def _write(review: Review, request: Request, wanted: Wanted) -> dict[str, Any]:
    item = _item(review, request)
    if wanted.correction not in (None, REMOVE, *review.source.classes):
        raise Refusal(
            400,
            "bad_value",
            f"correction {printable(str(wanted.correction)[:200])!r}: no class of the dataset",
            hint=f"a class, {REMOVE!r}, or null for none",
        )
    if wanted.correction == REMOVE and REMOVE in review.source.classes:
        # The table has one word for both; whichever was meant, the next training would leave the image out
        raise Refusal(
            400,
            "bad_value",
            f"correction {REMOVE!r}: a class bears the name that leaves an image out of training",
            hint="rename the folder of that class and train again",
        )
    return review.correct(item, wanted.correction, expected=wanted.expected)


def read_wanted(body: bytes) -> Wanted:
    """Read {"correction": CLASS | "remove" | null, "expected": the same}. Raises Refusal for anything else.

    >>> read_wanted(b'{"correction": "cat", "expected": null}')
    Wanted(correction='cat', expected=None)
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or set(value) != set(Wanted._fields) or not all(map(_is_label, value.values())):
        raise Refusal(
            400,
            "bad_value",
            "the body is not a correction",
            hint='{"correction": "cat", "expected": null}: a class, "remove" or null, and what it was before',
        )
    return Wanted(**value)


def _is_label(value: Any) -> bool:
    if not isinstance(value, str):
        return value is None
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # JSON may hold half of a character, which no name has
    return len(value) <= NAME_LENGTH


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES:
            raise Refusal(413, "request_too_large", f"more than {BODY_BYTES:,} bytes; a correction has less")
    return bytes(content)


async def _done(work: Awaitable[Result], *, dataset: str = "not_found") -> Result:
    """What `work` returns; an error on purpose becomes a refusal, what is wrong with the dataset one of that code."""
    try:
        return await work
    except ConflictError as error:
        raise Refusal(409, "changed_meanwhile", printable(str(error)), hint=error.hint) from error
    except (DatasetError, OutputError) as error:
        raise Refusal(REFUSALS[dataset].status, dataset, printable(str(error)), hint=printable(error.hint)) from error
    except ImageError as error:
        raise Refusal(404, "not_found", f"the image cannot be shown: {error.detail}") from error
    except FieldmarkError as error:
        raise Refusal(404, "not_found", f"the run cannot be reviewed: {error}", hint=error.hint) from error
