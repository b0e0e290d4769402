"""POST /api/predict: many images in, one row each out; a file that cannot be used is a row with a problem."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fieldmark.classifier import Prediction, failed_prediction
from fieldmark.errors import ImageError
from fieldmark.serving.service import Service, timely
from fieldmark.serving.uploads import Upload, read_uploads


def routes(service: Service) -> list[Route]:
    """The route of predictions."""

    async def predict(request: Request) -> Response:
        service.places.check()  # before the body is read, when there is no place at all
        uploads = await read_uploads(request, service.limits, service.budget)
        with service.places.taken(len(uploads)):
            rows = await timely(request, predict_all(service, uploads), service.limits.request_seconds)
        return JSONResponse({"predictions": rows})

    return [Route("/api/predict", predict, methods=["POST"])]


async def predict_all(service: Service, uploads: list[Upload]) -> list[dict[str, Any]]:
    """The rows of `fieldmark predict --json`, in the order of the uploads. Raises Refusal."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(predict_one(service, upload)) for upload in uploads]
    except ExceptionGroup as errors:  # the first refusal, such as worker_lost, ends them all
        raise errors.exceptions[0] from errors
    answers = [task.result() for task in tasks]
    for answer in answers:
        service.metrics.images.labels(answer.problem or "ok").inc()
    return [answer.to_json() for answer in answers]


async def predict_one(service: Service, upload: Upload) -> Prediction:
    """The answer for one upload, or its problem."""
    try:
        pixels = await service.pool.decode(upload.content)
    except ImageError as error:
        return failed_prediction(upload.name, error)
    return service.classifier.prediction(upload.name, *await service.batcher.answer(pixels))
