"""Ground: what lies at the border of images, and whether it is one plain colour in all: then there is no scenery.

Handwritten digits before black have no surroundings. A stroke that reaches the border, or so coarse a look as a
thumbnail, tells such classes honestly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Floats, Rows

Pixels = npt.NDArray[np.uint8]  # (images, height, width, 3)

BORDER, CORNER = 0.02, 0.05  # of a side
EVEN = 8.0  # levels: the most that a plain ground varies, within an image and between them
MOSTLY = 0.6  # of the border is ground, where a subject reaches it
NEARLY_ALL = 0.95  # of the images
COVERED = 0.1  # of a corner: so much of it is something else than ground
MARKED = 0.9  # of a class: a frame or a date covers a corner in so many images, a subject does not
PART = 64  # images in memory at a time


class Ground(NamedTuple):
    """What lies around the subject of each image."""

    colours: Floats  # (n, 3), levels: the median of the border
    shares: Floats  # (n,), 0-1: how much of the border has that colour
    covered: npt.NDArray[np.bool_]  # (n, 4): corners that show something else


def sides(context: Context, rows: Rows) -> Floats:
    """The mean colour of the strip along each side, and how much it varies, (rows, 16) in levels."""
    found = [np.zeros((0, 16), dtype=np.float32)]
    for pixels in _pixels(context, rows):
        strips = _strips(pixels)
        means = [strip.mean(axis=(1, 2), dtype=np.float32) for strip in strips]
        spreads = [strip.std(axis=(1, 2), dtype=np.float32).mean(axis=1, keepdims=True) for strip in strips]
        found.append(np.concatenate(means + spreads, axis=1))
    return np.concatenate(found)


def ground_of(context: Context, rows: Rows) -> Ground:
    """The ground of images, from their borders and corners."""
    parts = [_ground(pixels) for pixels in _pixels(context, rows)]
    return Ground(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def is_plain(ground: Ground) -> bool:
    """Whether nearly all images have one and the same plain colour around them.

    >>> black, none = np.zeros((20, 3), np.float32), np.zeros((20, 4), bool)
    >>> is_plain(Ground(black, np.full(20, 0.7), none)), is_plain(Ground(black, np.full(20, 0.3), none))
    (True, False)
    """
    same = np.abs(ground.colours - np.median(ground.colours, axis=0)).max(axis=1) <= EVEN
    return bool(np.mean(same & (ground.shares >= MOSTLY)) >= NEARLY_ALL)


def is_marked(ground: Ground, labels: npt.NDArray[np.integer]) -> bool:
    """Whether nearly all images of a class have something in one and the same corner."""
    return any(ground.covered[labels == label].mean(axis=0).max() >= MARKED for label in np.unique(labels))


def _pixels(context: Context, rows: Rows) -> Iterator[Pixels]:
    for start in range(0, len(rows), PART):
        pixels = context.images.pixels(rows[start : start + PART])
        yield pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)


def _strips(pixels: Pixels) -> tuple[Pixels, ...]:
    wide = _length(pixels, BORDER)
    return pixels[:, :wide], pixels[:, -wide:], pixels[:, :, :wide], pixels[:, :, -wide:]


def _ground(pixels: Pixels) -> Ground:
    border = np.concatenate([strip.reshape(len(pixels), -1, 3) for strip in _strips(pixels)], axis=1)
    colours = np.median(border, axis=1).astype(np.float32)
    wide = _length(pixels, CORNER)
    corners = [strip[:, :, part] for strip in (pixels[:, :wide], pixels[:, -wide:]) for part in np.s_[:wide, -wide:]]
    covered = [_other(corner.reshape(len(pixels), -1, 3), colours).mean(axis=1) >= COVERED for corner in corners]
    return Ground(colours, 1 - _other(border, colours).mean(axis=1, dtype=np.float32), np.stack(covered, axis=1))


def _other(places: Pixels, colours: Floats) -> npt.NDArray[np.bool_]:
    # (images, places): which of (images, places, 3) have another colour than the ground's
    return np.asarray(np.abs(places - colours[:, None]).max(axis=2) > EVEN)


def _length(pixels: Pixels, share: float) -> int:
    return max(1, round(share * int(min(pixels.shape[1], pixels.shape[2]))))
