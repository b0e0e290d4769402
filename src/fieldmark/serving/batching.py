"""Batching: images of all requests share calls to ONNX Runtime, which takes several at once in little more time.

    with places.taken(len(images)):                   # raises Refusal (429) where there are not that many
        found = await batcher.answer(pixels)

When no call is running, an image is answered at once. Otherwise those that come meanwhile are taken together, up to
`runtime.BATCH` a call. No answer depends on its neighbours: the bits are those of an image alone.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
import numpy.typing as npt

from fieldmark.classifier import Classifier
from fieldmark.preprocessing import Pixels
from fieldmark.runtime import BATCH, INPUT
from fieldmark.serving.refusals import Refusal

Answer = tuple[npt.NDArray[np.float32], float | None]  # probabilities (classes,), and familiarity where it is told


class Places:
    """Places for images that were accepted and are not answered yet: what bounds memory and waiting."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.used = 0

    def check(self, images: int = 1) -> None:
        """Raise Refusal (429, over_capacity) unless so many images find a place."""
        if self.used + images > self.count:
            raise _too_many(self.used, self.count)

    @contextlib.contextmanager
    def taken(self, images: int) -> Iterator[None]:
        """Hold so many places. Raises Refusal as `check`."""
        self.check(images)
        self.used += images
        try:
            yield
        finally:
            self.used -= images


@dataclasses.dataclass(frozen=True)
class _Image:
    pixels: Pixels
    answer: asyncio.Future[Answer]


class Batcher:
    """Images that wait, and the threads that answer them; owns the threads: use it in an `async with` block."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        capacity: int,
        threads: int | None = None,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._classifier = classifier
        self._capacity = capacity
        self._on_batch = on_batch
        self._threads = threads or classifier.threads or os.cpu_count() or 1
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="answer")
        self._waiting: collections.deque[_Image] = collections.deque()
        self._some = asyncio.Event()
        self._idle = self._threads
        self._runners: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Batcher:
        self._runners = [asyncio.create_task(self._run()) for _ in range(self._threads)]
        # ONNX Runtime's first call takes longer than the others
        blank = np.zeros(self._classifier.preprocessing.shape, np.uint8)
        self._first = asyncio.create_task(self.answer(blank))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = (*self._runners, self._first)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown()

    async def answer(self, pixels: Pixels) -> Answer:
        """Probabilities float32 (classes,) of preprocessed pixels uint8 (height, width, channels), and familiarity.

        Raises Refusal (429, over_capacity) where too many images wait. Who is cancelled is taken out of the queue.
        """
        if len(self._waiting) >= self._capacity:
            raise _too_many(len(self._waiting), self._capacity)
        image = _Image(pixels, asyncio.get_running_loop().create_future())
        self._waiting.append(image)
        self._some.set()
        return await image.answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            batch = self._take()
            if not batch:
                continue
            self._on_batch(len(batch))
            self._idle -= 1
            try:
                answers = await loop.run_in_executor(self._executor, self._answers, batch)
            except Exception as error:  # handed to whoever waits for the answer
                _fail(batch, error)
            else:
                _hand_over(batch, answers)
            finally:
                self._idle += 1

    def _take(self) -> list[_Image]:
        """The images that waited longest: a batch, or less so that every idle thread has its share."""
        batch: list[_Image] = []
        share = min(BATCH, math.ceil(len(self._waiting) / self._idle))
        while self._waiting and len(batch) < share:
            image = self._waiting.popleft()
            if not image.answer.done():  # whoever asked has left
                batch.append(image)
        if not self._waiting:
            self._some.clear()
        return batch

    def _answers(self, batch: list[_Image]) -> list[Answer]:
        classifier = self._classifier
        pixels = np.stack([image.pixels for image in batch])
        found = classifier.session.run(list(classifier.answer_names), {INPUT: pixels})
        familiarity = found[1] if len(found) > 1 else [None] * len(batch)
        return [(row, None if own is None else float(own)) for row, own in zip(found[0], familiarity, strict=True)]


def _hand_over(batch: list[_Image], answers: list[Answer]) -> None:
    for image, answer in zip(batch, answers, strict=True):
        if not image.answer.done():
            image.answer.set_result(answer)


def _fail(batch: list[_Image], error: Exception) -> None:
    for image in batch:
        if not image.answer.done():
            image.answer.set_exception(error)


def _too_many(waiting: int, most: int) -> Refusal:
    return Refusal(
        429,
        "over_capacity",
        f"{waiting} images wait for their answers; at most {most} may",
        hint="send the request again after the seconds of Retry-After",
        headers={"Retry-After": "1"},
    )
