"""Augmentation in torch does what augmentation with Pillow does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fieldmark.images.augment import AUGMENTATIONS, Augmentation, augment
from fieldmark.training.augmentation import COLUMNS, changes, vary

# What rounding to the other side makes of it, on noise, where neighbours differ most: measured 0.0016 and 4.
SHARE_DIFFERENT = 0.004
MOST_LEVELS = 6


def noise(count: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, *shape), dtype=np.uint8), random.integers(0, 2**63, count, dtype=np.uint64)


def varied(pixels: np.ndarray, keys: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    rows = changes(augmentation, keys, pixels.shape[1:], seed=3, epoch=4)
    return vary(torch.from_numpy(pixels), torch.from_numpy(rows), augmentation).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(32, 32, 3), (20, 33, 3), (24, 24, 1), (1, 1, 3)])
def test_equals_pillow(name: str, shape: tuple[int, ...]) -> None:
    pixels, keys = noise(60, *shape)
    expected = augment(pixels, keys, name=name, seed=3, epoch=4).astype(float)
    difference = np.abs(varied(pixels, keys, AUGMENTATIONS[name]) - expected)
    assert difference.max() <= MOST_LEVELS
    assert (difference > 0).mean() <= SHARE_DIFFERENT


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_have_the_same_bits(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    """Their weights are such that float32 adds them up exactly, in whatever order."""
    monkeypatch.setitem(AUGMENTATIONS, "convolved", Augmentation(convolve=1.0))
    pixels, keys = noise(200, 24, 24, channels)
    expected = augment(pixels, keys, name="convolved", seed=3, epoch=4)
    np.testing.assert_array_equal(varied(pixels, keys, AUGMENTATIONS["convolved"]), expected)


@pytest.mark.parametrize("name", ["standard", "texture"])
def test_values_are_whole_and_within_range(name: str) -> None:
    result = varied(*noise(20, 16, 16, 3), AUGMENTATIONS[name])
    assert result.dtype == np.float32
    assert (result == np.rint(result)).all()
    assert 0 <= result.min() <= result.max() <= 255


def test_every_field_of_augmentation_is_known_here() -> None:
    """A new kind of change has to be added to `changes` and `vary` too."""
    known = {"flip", "zoom", "shift", "convolve", "lighten", "erase"}
    colors = {"brightness", "contrast", "saturation", "gains", "hue", "gray"}  # all in color_matrices
    assert {field.name for field in dataclasses.fields(Augmentation)} == known | colors


def test_a_row_does_not_depend_on_the_others() -> None:
    _, keys = noise(9, 1, 1, 3)
    together = changes(AUGMENTATIONS["lighten"], keys, (8, 8, 3), seed=1, epoch=2)
    alone = changes(AUGMENTATIONS["lighten"], keys[4:5], (8, 8, 3), seed=1, epoch=2)
    assert together.shape == (9, len(COLUMNS))
    assert np.array_equal(together[4], alone[0])
