"""Planes: area means of any size, and frames are taken off."""

from __future__ import annotations

import numpy as np
import pytest

from fieldmark.checks.planes import planes, without_frame


def test_planes_are_area_means_of_any_size() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 112, 168, 1), dtype=np.uint8)
    want = image[0, :, :, 0].reshape(56, 2, 56, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(planes(image)[0], want, rtol=1e-5)
    assert planes(np.full((2, 20, 30, 3), 9, np.uint8)).max() == pytest.approx(9, rel=1e-3)


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_frame_is_taken_off_whatever_its_colour() -> None:
    for level in (0, 128, 255):
        framed = np.full((120, 150, 3), level, np.uint8)
        framed[8:-8, 12:-12] = photo(104, 126)
        assert without_frame(framed).shape == (102, 124, 3)


def test_what_is_no_frame_stays() -> None:
    white = np.full((120, 120, 3), 255, np.uint8)
    figure = white.copy()
    figure[10:110, 45:75] = photo(100, 30)  # a figure on white, far from two sides
    lopsided = white.copy()
    lopsided[4:-12, 8:-8] = photo(104, 104)
    for image in (white, figure, lopsided, photo(120, 120), white[:, :, :1]):
        assert without_frame(image) is image
