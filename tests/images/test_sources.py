"""What a classifier is given: paths, pictures, arrays; each hint for all else helps when it is followed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fieldmark
from fieldmark.classifier import Classifier
from fieldmark.errors import RecipeError
from fieldmark.images.sources import as_sources, checked

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def classifier(trained: Path) -> Classifier:
    return fieldmark.load(trained)


def refusal(given: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        list(checked(as_sources(given)))
    return caught.value


def test_one_or_many_of_each_kind(classifier: Classifier, faces: Path) -> None:
    path = next((faces / "train" / "sad").glob("*.png"))

    class Named:
        def __fspath__(self) -> str:
            return str(path)

    (by_path,) = classifier.predict(path)
    assert classifier.predict(Named()) == [by_path]  # type: ignore[arg-type]
    assert classifier.predict([str(path), Named()]) == [by_path, by_path]  # type: ignore[list-item]
    (picture,) = classifier.predict(PIXELS)
    assert classifier.predict(Image.fromarray(PIXELS)) == [picture]
    assert classifier.predict(np.stack([PIXELS, PIXELS])) == [picture, picture]
    assert classifier.predict(image for image in (PIXELS,)) == [picture]
    grey = classifier.predict(PIXELS[:, :, 0])
    assert classifier.predict(PIXELS[:, :, :1]) == grey


@pytest.mark.parametrize(
    ("given", "kind", "hint"),
    [
        (torch.zeros(3, 8, 8), "a torch.Tensor (3, 8, 8)", "tensor.numpy()"),
        ([torch.zeros(3, 8, 8)], "image 1 is a torch.Tensor (3, 8, 8)", "tensor.numpy()"),
        (torch.tensor(0), "a torch.Tensor ()", "tensor.numpy()"),
        (b"bytes", "a bytes of 5", "PIL.Image.open(io.BytesIO(data))"),
        (io.BytesIO(), "a _io.BytesIO", "its path"),
        (["a.jpg", None], "image 2 is None", "its path"),
        (None, "is None", "its path"),
        ([["a.jpg", "b.jpg"]], "image 1 is a list of 2", "one flat list"),
        ({"a.jpg": 1}, "a dict of 1", "list(images.values())"),
        (7, "an int", "predict"),
        ([memoryview(b"x")], "a memoryview (1,)", "predict"),
    ],
)
def test_what_is_no_image_is_named(given: Any, kind: str, hint: str) -> None:
    error = refusal(given)
    assert kind in str(error)
    assert "expected a path, a PIL image, or a NumPy array uint8 (height, width, 3)" in str(error)
    assert hint in error.hint


FOLLOWED = [
    (np.dstack([PIXELS, PIXELS[:, :, :1]]), "array[:, :, :3]", lambda array: array[:, :, :3]),
    (PIXELS.transpose(2, 0, 1), "array.transpose(1, 2, 0)", lambda array: array.transpose(1, 2, 0)),
    (PIXELS / 255, "(array * 255).round().astype(numpy.uint8)", lambda a: (a * 255).round().astype(np.uint8)),
    (PIXELS.astype(np.uint16) * 257, "(array // 257).astype(numpy.uint8)", lambda a: (a // 257).astype(np.uint8)),
    (PIXELS.astype(np.float32), "array.astype(numpy.uint8)", lambda array: array.astype(np.uint8)),
    (PIXELS.astype(np.int64), "array.astype(numpy.uint8)", lambda array: array.astype(np.uint8)),
]


@pytest.mark.parametrize(("array", "hint", "follow"), FOLLOWED, ids=[hint for _, hint, _ in FOLLOWED])
def test_the_hint_for_an_array_mends_it(classifier: Classifier, array: Any, hint: str, follow: Any) -> None:
    with pytest.raises(RecipeError, match="expected uint8") as caught:
        classifier.predict(array)
    assert hint in caught.value.hint
    assert classifier.predict(follow(array)) == classifier.predict(PIXELS)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((0, 8, 3), np.uint8), "the array is empty"),
        (np.zeros((8, 8, 7), np.uint8), "of its 7 channels"),
        (np.zeros(12, np.uint8), "reshape(height, width, 3)"),
        (np.array(["a.jpg", "b.jpg"]), "array.tolist()"),
        (np.zeros((8, 8), bool), "* 255"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.full((8, 8, 3), -1.0), "undo the scaling"),
        ([np.zeros((2, 8, 8, 3), np.uint8)], "not a list of batches"),
        (np.zeros((3, 8, 9)), "transpose(1, 2, 0), of a batch array.transpose(0, 2, 3, 1); its values are within 0-1"),
    ],
)
def test_other_arrays(array: Any, hint: str) -> None:
    assert hint in refusal(array).hint
