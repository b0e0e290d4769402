"""Planes: the pictures that are compared, as luminance on a small square, without a frame around them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FINE = 56  # pixels a side of the pictures that are compared
LEAST_FRAME, MOST_FRAME = 0.02, 0.15  # of a side: the width of a frame drawn around a picture
EVEN = 16.0  # levels: the most that a frame's colour varies, for what encoding does to it
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def luminance(image: npt.NDArray[np.uint8]) -> Floats:
    """Return the luminance of an image (height, width, 1 or 3), 0 to 255, (height, width)."""
    return image @ LUMINANCE if image.shape[2] == 3 else image[:, :, 0].astype(np.float32)


def planes(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> Floats:
    """Return the luminance of n images, each uint8 (height, width, 1 or 3), as area means, float32 (n, 56, 56)."""
    result = np.empty((len(images), FINE, FINE), dtype=np.float32)
    for number, image in enumerate(images):
        height, width, _ = image.shape
        result[number] = _area(height, FINE) @ luminance(image) @ _area(width, FINE).T
    return result


@functools.cache
def _area(length: int, side: int) -> Floats:
    # (side, length): area means along one side.
    edges = np.arange(side + 1) * (length / side)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None]
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return np.asarray(covered * (side / length), dtype=np.float32)


def reduced(pictures: Floats, side: int) -> Floats:
    """Return square pictures (n, s, s) as means over blocks, (n, side, side); `side` divides s."""
    factor = pictures.shape[1] // side
    blocks = pictures.reshape(len(pictures), side, factor, side, factor)
    return np.asarray(blocks.mean(axis=(2, 4)), dtype=np.float32)


def turned(pictures: Floats, turn: int) -> Floats:
    """Return square pictures (n, side, side) at one of the 8 turns and mirrors; 0 leaves them as they are."""
    rotated = np.rot90(pictures, turn % 4, axes=(1, 2))
    return rotated[:, :, ::-1] if turn >= 4 else rotated


def without_frame(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image (height, width, 1 or 3) without the frame that someone drew around it, if there is one.

    A frame has one colour, and the same width on opposite sides; a figure on plain white has neither.

    >>> framed = np.full((100, 80, 3), 255, np.uint8)
    >>> framed[6:-6, 5:-5] = 90
    >>> without_frame(framed).shape, without_frame(framed[:-6]).shape
    ((86, 68, 3), (94, 80, 3))
    """
    grey = luminance(image)
    level = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    other = np.abs(grey - level) > EVEN
    cut = []
    for lines in (other, other.T):
        ends = [_plain_lines(lines), _plain_lines(lines[::-1])]
        low, high = LEAST_FRAME * len(lines), MOST_FRAME * len(lines)
        if not low <= min(ends) <= max(ends) <= high or max(ends) - min(ends) > max(2.0, low):
            return image
        # One more, for the edge of a frame is blurred where the image was resized.
        cut.append(slice(ends[0] + 1, len(lines) - ends[1] - 1))
    return image[cut[0], cut[1]]


def _plain_lines(other: npt.NDArray[np.bool_]) -> int:
    # How many of the first lines hold hardly anything else.
    return int((other.mean(axis=1) <= 0.01).argmin())
