"""The runtime: batches on many threads come back in order, and say the same as one call for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fieldmark.classifier import load
from fieldmark.runtime import open_session, run_batches


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, 24, 24, 3), dtype=np.uint8)


def test_batches_answer_in_order_and_as_one_call_does(trained: Path, pixels: np.ndarray) -> None:
    session = open_session(trained / "model.onnx", threads=1)
    whole = session.run(["probabilities"], {"images": pixels})[0]
    for size in (1, 4, 11):
        rows = [list(range(start, min(start + size, 11))) for start in range(0, 11, size)]
        parts = [
            part
            for (part,) in run_batches(session, ["probabilities"], rows, prepare=lambda batch: pixels[batch], workers=3)
        ]
        assert [len(part) for part in parts] == [len(batch) for batch in rows]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-6)
    assert list(run_batches(session, ["probabilities"], [], prepare=lambda batch: batch)) == []


def test_an_error_of_prepare_is_raised(trained: Path) -> None:
    session = open_session(trained / "model.onnx", threads=1)

    def prepare(batch: int) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_batches(session, ["probabilities"], [1, 2], prepare=prepare))


def test_answers_are_the_same_bits_for_any_threads_and_company(trained: Path, pixels: np.ndarray) -> None:
    alone = [load(trained, threads=1).predict(image)[0] for image in pixels]
    assert load(trained, threads=4).predict(list(pixels)) == alone
    one, four = load(trained, threads=1), load(trained, threads=4)
    assert np.array_equal(one.probabilities(pixels), four.probabilities(pixels))
    assert one.probabilities(pixels[:0]).shape == (0, 2)


def test_a_stream_draws_no_more_than_it_needs(trained: Path, pixels: np.ndarray) -> None:
    drawn = 0

    def sources() -> object:
        nonlocal drawn
        for _ in range(10_000):
            drawn += 1
            yield pixels[0]

    stream = load(trained, threads=2).stream(sources())  # type: ignore[arg-type]
    assert next(stream).label
    stream.close()  # type: ignore[attr-defined]
    assert drawn < 200
