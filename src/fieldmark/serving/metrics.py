"""Metrics: what /metrics tells, counted in a registry of our own with the Prometheus client library."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldmark.runtime import BATCH

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 30.0)
METHODS = ("GET", "HEAD", "POST", "PUT")


class Metrics:
    """One registry, and everything that is counted in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counted, told, measured = self._counter, self._gauge, self._histogram
        self.requests = counted("requests", "Answers.", "route", "method", "status")
        self.seconds = measured(
            "request_seconds", "From the headers of a request to the end of its answer.", SECONDS, "route"
        )
        self.images = counted("images", "Images of /api/predict, by their problem (ok: none).", "problem")
        self.batch = measured("batch_images", "Images that one call of ONNX Runtime took.", range(1, BATCH + 1))
        self.accepted = told("images_accepted", "Images that were accepted and are not answered yet.")
        self.uploads = told("upload_bytes", "Bytes of uploads in memory.")
        self.workers = told("decode_workers", "Processes that decode, alive.")
        self.started = told("decode_workers_started", "Processes that decode, started so far.")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fieldmark_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"fieldmark_{name}", meaning, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"fieldmark_{name}", meaning, labels, buckets=tuple(buckets), registry=self.registry)


class Measured:
    """Wraps an application and counts what it answers, refusals of the guard among it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; remember the status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "left"  # the client did not wait for its answer

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        begun = time.perf_counter()
        try:
            await self._app(scope, receive, remember)
        finally:
            route = getattr(scope.get("route"), "path", "none")  # never the path that was sent: it could be any
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
