"""CutMix: a rectangle of another image in each image, both labels by their areas (Yun et al. 2019, arXiv:1905.04899).

No place in an image decides alone, so that a network has to look at all of it. Where the rectangle lies is a pure
function of (seed, epoch, content key), as in `augment`; from which image it comes is a matter of the batch's order.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from fieldmark.images.augment import Augmentation, Keys, Pixels, draw

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Cuts:
    """The rectangle that the next image of a batch fills in each; every column float32 (batch,)."""

    left: Floats  # pixels; where left == right nothing is filled
    top: Floats
    right: Floats
    bottom: Floats
    kept: Floats  # share of the own image's area that is left, 0 to 1: how much its label counts


def cuts(augmentation: Augmentation, keys: Keys, shape: tuple[int, int, int], *, seed: int, epoch: int) -> Cuts | None:
    """The rectangles for images of `shape` (height, width, channels), of all areas alike; None where nothing is cut."""
    if not augmentation.cutmix:
        return None
    height, width, _ = shape
    draws = draw(keys, seed=seed, epoch=epoch)
    side = np.sqrt(draws["cut_area"]) * (draws["cut"] < augmentation.cutmix)  # as a share of the image's
    wide, high = np.floor(width * side), np.floor(height * side)
    left, top = np.floor(draws["cut_x"] * (width - wide + 1)), np.floor(draws["cut_y"] * (height - high + 1))
    kept = 1 - wide * high / (width * height)
    return Cuts(*(column.astype(np.float32) for column in (left, top, left + wide, top + high, kept)))


def fill(images: Pixels, found: Cuts) -> Pixels:
    """Fill the rectangles in images (batch, height, width, channels) from the next image each, the last from the first.

    >>> images = np.stack([np.zeros((4, 4, 1), np.uint8), np.full((4, 4, 1), 9, np.uint8)])
    >>> one, two, four = (np.full(2, side, np.float32) for side in (1, 2, 4))
    >>> fill(images, Cuts(left=two, top=one, right=four, bottom=two, kept=one))[:, 1, :, 0].tolist()
    [[0, 0, 9, 9], [9, 9, 0, 0]]
    """
    result = images.copy()
    for index, following in enumerate(np.roll(images, -1, axis=0)):
        left, top, right, bottom = (int(edge[index]) for edge in (found.left, found.top, found.right, found.bottom))
        result[index, top:bottom, left:right] = following[top:bottom, left:right]
    return result


def shared_labels(labels: npt.NDArray[np.int32], found: Cuts, classes: int) -> Floats:
    """How much each class counts for each image: float32 (batch, classes), rows add up to 1.

    >>> zero, kept = np.zeros(2, np.float32), np.array([0.75, 1], np.float32)
    >>> shared_labels(np.array([0, 1], np.int32), Cuts(zero, zero, zero, zero, kept), 2).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    identity, kept = np.eye(classes, dtype=np.float32), found.kept[:, None]
    return np.asarray(identity[labels] * kept + identity[np.roll(labels, -1)] * (1 - kept))
