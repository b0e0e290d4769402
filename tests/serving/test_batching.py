"""Batching: the bits of an image alone, whoever its neighbours are; who leaves; who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from fieldmark.classifier import Classifier, load
from fieldmark.runtime import BATCH
from fieldmark.serving.batching import Batcher, Places
from fieldmark.serving.refusals import Refusal

PIXELS = np.random.default_rng(5).integers(0, 256, (40, 24, 24, 3), dtype=np.uint8)


def with_batcher(classifier: Classifier, test: Callable[[Batcher], Awaitable[None]], **options: int) -> list[int]:
    """Run a test; return the sizes of the batches."""
    sizes: list[int] = []

    async def run() -> None:
        async with Batcher(classifier, **{"capacity": 100, **options}, on_batch=sizes.append) as batcher:
            await test(batcher)

    asyncio.run(run())
    return sizes


def test_answers_are_those_of_each_image_alone(trained: Path) -> None:
    classifier = load(trained)

    async def test(batcher: Batcher) -> None:
        found = await asyncio.gather(*(batcher.answer(pixels) for pixels in PIXELS))
        for pixels, (probabilities, familiarity) in zip(PIXELS, found, strict=True):
            (expected,), (own,) = classifier.answers(pixels[None])  # type: ignore[misc]
            np.testing.assert_array_equal(probabilities, expected)
            assert familiarity == float(own)

    sizes = with_batcher(classifier, test, threads=2)
    assert max(sizes) == BATCH
    assert sum(sizes) == len(PIXELS) + 1  # and the first, blank one


def test_who_leaves_is_taken_out_of_the_queue(trained: Path) -> None:
    async def test(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.answer(pixels)) for pixels in PIXELS]
        await asyncio.sleep(0)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks)
        assert tasks[0].result()[0].shape == (2,)
        await batcher.answer(PIXELS[0])

    assert sum(with_batcher(load(trained), test, threads=1)) <= BATCH + 2


def test_too_many_are_refused(trained: Path) -> None:
    async def test(batcher: Batcher) -> None:
        found = await asyncio.gather(*(batcher.answer(pixels) for pixels in PIXELS), return_exceptions=True)
        refused = [each for each in found if isinstance(each, Refusal)]
        assert [(each.status, each.code) for each in refused] == [(429, "over_capacity")] * (len(PIXELS) - 9)
        assert not any(isinstance(each, BaseException) for each in found[:9])

    with_batcher(load(trained), test, threads=1, capacity=10)  # one of them is the blank one


def test_a_call_that_fails_is_told_to_whoever_waits(trained: Path) -> None:
    async def test(batcher: Batcher) -> None:
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await batcher.answer(np.zeros((5, 5, 3), np.uint8))
        await batcher.answer(PIXELS[0])

    with_batcher(load(trained), test, threads=1)


def test_places() -> None:
    places = Places(3)
    with places.taken(2):
        places.check(1)
        with pytest.raises(Refusal) as caught:
            places.check(2)
        assert caught.value.headers == {"Retry-After": "1"}
    assert places.used == 0
