"""Metrics: what /metrics tells, counted in a registry of our own with the Prometheus client library."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 30.0)


class Metrics:
    """One registry, and everything that is counted in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "fieldmark_requests",
            "Answers by route, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "fieldmark_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter(
            "fieldmark_images", 'Images answered, by their problem (none: "").', ("problem",), registry=self.registry
        )
        self.batch = Histogram(
            "fieldmark_batch_images", "Images a call of ONNX Runtime.", buckets=(1, 2, 3, 4), registry=self.registry
        )
        self.waiting = Gauge(
            "fieldmark_images_accepted", "Images accepted and not answered yet.", registry=self.registry
        )
        self.workers = Gauge("fieldmark_decode_workers", "Decode workers that are alive.", registry=self.registry)
        self.workers_started = Gauge(
            "fieldmark_decode_workers_started", "Decode workers started since the service was.", registry=self.registry
        )
