"""Service: the one value that the routes are given; and `timely`, which ends work that nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from fieldmark.classifier import UNFINISHED, Classifier, load
from fieldmark.errors import ModelFileError
from fieldmark.runs import Run
from fieldmark.serving.batching import Batcher, Places
from fieldmark.serving.copies import Copies
from fieldmark.serving.limits import Limits
from fieldmark.serving.metrics import Metrics
from fieldmark.serving.refusals import Refusal
from fieldmark.serving.uploads import Budget
from fieldmark.serving.workers import DecodePool

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Service:
    """What answers: a classifier, its run where there is one, and what the requests share."""

    classifier: Classifier
    run: Run | None  # None where a model.onnx was given alone
    pool: DecodePool
    copies: Copies
    batcher: Batcher
    places: Places
    limits: Limits
    budget: Budget
    metrics: Metrics


def build_service(
    path: Path, limits: Limits, *, on_unlimited: Callable[[tuple[str, ...]], object] = lambda names: None
) -> Service:
    """Load a run folder or a classifier file; nothing is started yet. Raises ModelFileError.

    `on_unlimited`: see `DecodePool`.
    """
    classifier = load(path)
    require_finished(path)
    folder = path if path.is_dir() else path.parent
    metrics = Metrics()
    pool = DecodePool(classifier.preprocessing, limits, on_unlimited=on_unlimited)
    return Service(
        classifier=classifier,
        run=Run(folder) if (folder / "run.json").is_file() else None,
        pool=pool,
        copies=Copies(pool),
        batcher=Batcher(classifier, capacity=limits.queue, on_batch=metrics.batch.observe),
        places=Places(limits.queue),
        limits=limits,
        budget=Budget(limits.budget_bytes),
        metrics=metrics,
    )


def require_finished(path: Path) -> None:
    """Raise ModelFileError for the folder of a training that goes on, or was cut off: what there is may be a part."""
    if (path / "run.json").is_file() or not (path / "checkpoints").is_dir():
        return
    raise ModelFileError(
        f"{path}: an unfinished run: it has no run.json yet, which a training writes last",
        hint=f"{UNFINISHED}, or serve {path / 'model.onnx'} alone, without numbers, report and review",
    )


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Start the workers and the threads; stop them at the end."""
    async with service.pool, service.batcher:
        yield


async def timely(request: Request, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """What `work` returns; it is cancelled when its time is over or its client has left. The body must be read.

    Raises Refusal (504, deadline) when the time is over, and ClientDisconnect, which nobody will read.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((task, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if leaving.done():
            raise ClientDisconnect
        raise Refusal(
            504, "deadline", f"no answer within {seconds:g} seconds", hint="send fewer images, or ask for fewer parts"
        )
    finally:
        task.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
