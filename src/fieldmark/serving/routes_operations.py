"""What engineers ask a service: its model, its health, its numbers, and the document of its interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import prometheus_client
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import fieldmark
from fieldmark.images.formats import FORMATS
from fieldmark.serving.openapi import document
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.service import Service


def routes(service: Service) -> list[Route]:
    """The routes of operations."""
    model = describe_model(service)
    described = document(fieldmark.__version__)

    async def get_model(request: Request) -> Response:
        return JSONResponse(model)

    async def openapi(request: Request) -> Response:
        return JSONResponse(described)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if not service.pool.processes:
            raise Refusal(503, "starting", "no process that decodes is ready", headers={"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    async def metrics(request: Request) -> Response:
        service.metrics.accepted.set(service.places.used)
        service.metrics.uploads.set(service.budget.taken)
        service.metrics.workers.set(len(service.pool.processes))
        service.metrics.started.set(service.pool.started)
        text = prometheus_client.generate_latest(service.metrics.registry)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return [
        Route("/api/model", get_model),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
    ]


def measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"accuracy", "interval", "n", "split"}: how good a run is on what it did not learn from.

    >>> measured({"validation": {"n": 8, "accuracy": 0.75, "accuracy_interval": [0.4, 0.93]}})
    {'accuracy': 0.75, 'interval': [0.4, 0.93], 'n': 8, 'split': 'validation'}
    """
    for split in ("test", "validation"):
        numbers = metrics.get(split, {})
        if numbers.get("n"):
            found = {"accuracy": numbers["accuracy"], "interval": numbers.get("accuracy_interval")}
            return {**found, "n": numbers["n"], "split": split}
    return {"accuracy": None, "interval": None, "n": 0, "split": None}


def describe_model(service: Service) -> dict[str, Any]:
    """The content of /api/model."""
    classifier, run = service.classifier, service.run
    preprocessing = classifier.preprocessing
    return {
        "name": run.folder.resolve().name if run else classifier.path.stem,
        "classes": list(classifier.classes),
        "positive": classifier.classes[1] if len(classifier.classes) == 2 else None,
        "image_size": [preprocessing.width, preprocessing.height],
        "formats": list(FORMATS),
        **measured(run.metrics if run else {}),
        "run": run is not None,
        "report": run is not None and (run.folder / "report.html").is_file(),
        "review": run is not None,
        "limits": dataclasses.asdict(service.limits),
        "version": fieldmark.__version__,
    }
