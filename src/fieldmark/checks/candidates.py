"""Candidates: the pairs of images of a dataset that are worth laying over each other, by two kinds of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks import planes
from fieldmark.checks.context import Context, Floats
from fieldmark.images.duplicates import MINIMUM_CONTRAST, contrasts, thumbnail

Integers = npt.NDArray[np.intp]

NEIGHBOURS = 3  # candidates an image, of each of the two kinds
LEAST_COSINE = 0.55  # of embeddings; below it hardly a copy was found
LEAST_CORRELATION = 0.9  # of small pictures
SMALL = 8  # cells of a small picture, each way
RIM = 40.0  # levels: the most that the outermost cells of a framed picture vary
BLOCK = 256  # images that are compared with all others at a time: 100 MB for 100,000 images
# Frames of two sequences are compared only where they are this alike: a figure or a place filmed twice is no copy.
LEAST_COSINE_OF_SEQUENCES, LEAST_CORRELATION_OF_SEQUENCES = 0.9, 0.97


class Compared(NamedTuple):
    """Which images are compared with which."""

    apart: Integers  # (n,): images with the same number are not
    sides: Integers | None  # (n,): 0 or 1, compared with the other side only; -1: not at all. None: all with all

    def never(self, rows: slice) -> npt.NDArray[np.bool_]:
        """Whether (rows, n) are left out."""
        never = self.apart[rows][:, None] == self.apart[None]
        if self.sides is not None:
            never |= self.sides[rows][:, None] + self.sides[None] != 1
        return np.asarray(never)


def candidates(
    units: Floats, thumbnails: npt.NDArray[np.uint8], compared: Compared, frames: npt.NDArray[np.bool_]
) -> Integers:
    """Pairs (m, 2), i < j, worth a look in detail; `frames` are the images that belong to a sequence."""
    by_embedding, cosines = _neighbours(lambda rows: units[rows] @ units.T, compared, LEAST_COSINE)
    small = planes.reduced(thumbnails @ planes.LUMINANCE, SMALL)
    turns = [_flat(planes.turned(small, turn)) for turn in range(8)]
    plain = contrasts(thumbnails) < MINIMUM_CONTRAST  # blank pages all look alike

    def correlations(rows: slice) -> Floats:
        best = turns[0][rows] @ turns[0].T
        for turn in turns[1:]:
            np.maximum(best, turns[0][rows] @ turn.T, out=best)
        best[:, plain] = -1
        return best

    by_look, looks = _neighbours(correlations, compared, LEAST_CORRELATION)
    kept_cosines = (cosines >= LEAST_COSINE_OF_SEQUENCES) | ~frames[by_embedding].all(axis=1)
    kept_looks = (looks >= LEAST_CORRELATION_OF_SEQUENCES) | ~frames[by_look].all(axis=1)
    pairs = np.concatenate([by_embedding[kept_cosines], by_look[kept_looks]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def unframed_thumbnails(context: Context) -> npt.NDArray[np.uint8]:
    """Return the thumbnails uint8 (n, 16, 16, 3), of what is inside of a frame where someone drew one."""
    # A frame would be all that a small picture shows; the pixels are read only where its rim is of one colour.
    thumbnails = context.images.thumbnails().copy()
    rim = np.concatenate([thumbnails[:, 0], thumbnails[:, -1], thumbnails[:, 1:-1, 0], thumbnails[:, 1:-1, -1]], axis=1)
    for row in np.flatnonzero(rim.std(axis=1).max(axis=1, initial=0) < RIM).tolist():
        (image,) = context.images.pixels([row])
        inner = planes.without_frame(image)
        if inner is not image:
            thumbnails[row] = thumbnail(inner)
    return thumbnails


def unit(vectors: Floats) -> Floats:
    """Return vectors (n, d), each of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _neighbours(likenesses: Callable[[slice], Floats], compared: Compared, least: float) -> tuple[Integers, Floats]:
    # The likest others of each image, pairs (m, 2) and how alike, block by block: n² work, memory for one block.
    found: list[Integers] = [np.zeros((0, 2), dtype=np.intp)]
    alike: list[Floats] = [np.zeros(0, dtype=np.float32)]
    for start in range(0, len(compared.apart), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = likenesses(rows)
        scores[compared.never(rows)] = -1
        own = np.arange(len(scores))
        for _ in range(NEIGHBOURS):
            other = scores.argmax(axis=1)
            near = scores[own, other] >= least
            found.append(np.stack([own[near] + start, other[near]], axis=1))
            alike.append(scores[own, other][near])
            scores[own, other] = -1
            if not near.any():
                break
    return np.concatenate(found), np.concatenate(alike)


def _flat(pictures: Floats) -> Floats:
    flat = pictures.reshape(len(pictures), -1)
    return unit(flat - flat.mean(axis=1, keepdims=True))
