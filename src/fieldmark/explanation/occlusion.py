"""Occlusion: what the answer becomes while a grey patch covers one part of the image after another.

Zeiler and Fergus 2013, arXiv:1311.2901. It asks the network itself, whatever its layers, and costs some 80 answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.predictions import Probabilities
from fieldmark.preprocessing import Pixels

GREY = 128
PATCH = 0.25  # of each side: smaller ones seldom change an answer, larger ones cover everything that matters
POSITIONS = 9  # of the patch along each side
BATCH = 16  # images held at a time


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """The probability of every class with the patch at every position."""

    tops: tuple[int, ...]  # pixels
    lefts: tuple[int, ...]  # pixels
    patch: tuple[int, int]  # (height, width) in pixels
    covered: npt.NDArray[np.float64]  # (tops, lefts, classes), probabilities
    uncovered: npt.NDArray[np.float64]  # (classes,), probabilities

    def drops(self, label: int) -> npt.NDArray[np.float64]:
        """(tops, lefts): by how much covering lowers the probability of a class; negative where it raises it."""
        return np.asarray(self.uncovered[label] - self.covered[:, :, label])

    def drop_of_pixels(self, label: int, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """(height, width): for each pixel the mean drop over all patches that cover it."""
        total, count = np.zeros(size), np.zeros(size)
        drops = self.drops(label)
        for row, top in enumerate(self.tops):
            for column, left in enumerate(self.lefts):
                window = slice(top, top + self.patch[0]), slice(left, left + self.patch[1])
                total[window] += drops[row, column]
                count[window] += 1
        return total / np.maximum(count, 1)


def occlude(pixels: Pixels, probabilities: Callable[[Pixels], Probabilities]) -> Occlusion:
    """Cover parts of one image uint8 (height, width, channels) and ask for the probabilities each time.

    >>> white = np.full((8, 8, 3), 255, np.uint8)
    >>> def bright(images):
    ...     share = images[:, :4, :4].mean(axis=(1, 2, 3), dtype=np.float64) / 255
    ...     return np.stack([1 - share, share], axis=1).astype(np.float32)
    >>> found = occlude(white, bright)
    >>> found.covered.shape, float(found.drops(1)[0, 0]) > 0.1, float(found.drops(1)[-1, -1])
    ((7, 7, 2), True, 0.0)
    """
    height, width = pixels.shape[:2]
    patch = max(1, round(PATCH * height)), max(1, round(PATCH * width))
    tops, lefts = _positions(height, patch[0]), _positions(width, patch[1])
    corners = [(top, left) for top in tops for left in lefts]
    answers = []
    for start in range(0, len(corners), BATCH):
        batch = np.repeat(pixels[None], len(corners[start : start + BATCH]), axis=0)
        for image, (top, left) in zip(batch, corners[start : start + BATCH], strict=True):
            image[top : top + patch[0], left : left + patch[1]] = GREY
        answers.append(probabilities(batch))
    covered = np.concatenate(answers).astype(np.float64).reshape(len(tops), len(lefts), -1)
    return Occlusion(tops, lefts, patch, covered, probabilities(pixels[None])[0].astype(np.float64))


def _positions(side: int, patch: int) -> tuple[int, ...]:
    """Where the patch begins: evenly from one edge to the other, each place once."""
    count = min(POSITIONS, side - patch + 1)
    return tuple(int(place) for place in np.unique(np.linspace(0, side - patch, count).round()))
