"""Copies of one picture: identical files, and near copies that were turned, mirrored or encoded again.

Near copies are found on thumbnails of 16 × 16 cells, 77 MB for 100,000 images. The claim is strict: two
pictures are copies where they differ by no more than encoding noise, and either one had to be turned for
that, or nothing else lies just beyond that distance. The frames of a sequence stand upright and fill the
space between each other, so nothing is claimed of them.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]
Copies = Sequence[tuple[int, int, float]]  # pairs of rows and their distance

SIDE = 16  # cells of a thumbnail, each way

# Levels of 0-255, root mean square over a thumbnail. Measured: the copies of rice-leaf differ by up to 1.08;
# JPEG of quality 50-95, WebP of quality 80 and half the size change photographs by 0.1-1.0; the closest two
# different pictures of horses-or-humans differ by 1.33.
NOISE = 1.25
ROUNDING = 0.3  # what rounding alone does to a turned copy; differences below it are not told apart
RELATIVE = 0.1  # of the contrast: where there is little contrast, a small difference is a different picture
MINIMUM_CONTRAST = 3.0  # levels; plain walls and blank pages all look alike, so nothing is claimed of them

# How many times farther than its copies the next picture must be; or, of a turned copy, the picture not turned.
# Measured: at least 9.9 in rice-leaf (copies turned by 90° and 180° and saved again), at most 3.05 between
# the frames of the happy-or-sad animations. In random halves of these 80 frames 1.4 pairs are claimed on
# average; with a gap of 3.5 it was 3.4, at the profit of 2 % more upright copies in horses-or-humans.
GAP = 6.0
FEW = 2048  # pictures compared each with each: 0.1 s; importing what builds a tree for them takes 0.3
NEIGHBOURS = 24  # looked at for each picture; more near copies of one picture than this are not told apart

_KEPT = threading.local()


def thumbnail(pixels: Bytes) -> Bytes:
    """Return the mean colour of each cell of a 16 × 16 grid laid over an image: uint8 (16, 16, 3).

    `pixels` is uint8 (height, width, 1 or 3) of any size from 1 × 1. The means are exact before they are
    rounded, so the thumbnail of a turned image is the turned thumbnail.

    >>> thumbnail(np.full((300, 200, 1), 7, dtype=np.uint8)).shape
    (16, 16, 3)
    """
    height, width, channels = pixels.shape
    down, across = _coverage(height), _coverage(width).astype(np.float64)
    # Few calls on whole arrays: between many small ones, threads would wait for Python's lock.
    # Multiples of 1/16 below 2**24 are exact in float32, in whatever order the sum is taken.
    values = _own_memory(pixels.size)
    values[:] = pixels.ravel()
    rows = down @ values.reshape(-1, down.shape[1], width * channels)
    sums = across @ rows.astype(np.float64).reshape(SIDE, -1, across.shape[1], channels)
    means = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    means[...] = np.rint(sums.reshape(SIDE, SIDE, channels) * (SIDE * SIDE / (height * width)))
    return means


def exact_duplicates(hashes: Sequence[str]) -> list[list[int]]:
    """Return the places of equal content hashes: lists of two or more, each and all in the order given.

    >>> exact_duplicates(["a", "b", "a", "c", "b", "a"])
    [[0, 2, 5], [1, 4]]
    """
    places: dict[str, list[int]] = {}
    for index, content in enumerate(hashes):
        places.setdefault(content, []).append(index)
    return [same for same in places.values() if len(same) > 1]


def distance(a: Bytes, b: Bytes) -> float:
    """Return how far two thumbnails are apart, relative to contrast, at the best of the 8 turns and mirrors.

    It is the root mean square difference over the contrast of the plainer of the two: 0 for the same, up to
    about 0.1 for copies, 0.003 to 0.7 for neighbouring frames of a sequence, 0.5 to 5 for unrelated photos.

    >>> photo = (np.arange(768) % 251).astype(np.uint8).reshape(16, 16, 3)
    >>> distance(photo, np.rot90(photo)), distance(photo, 255 - photo[:, ::-1]) > 0.1
    (0.0, True)
    """
    contrast = contrasts(np.stack([a, b])).min()
    rms, _ = _rms(a.reshape(1, -1, 3), b.reshape(1, -1, 3))
    return float(rms[0] / max(contrast, 1.0))


def contrasts(thumbnails: Bytes) -> Floats:
    """Return each thumbnail's contrast (n,): the deviation of its cells from its mean colour, in levels."""
    cells = thumbnails.reshape(len(thumbnails), SIDE * SIDE, 3)
    return np.asarray(np.sqrt(cells.var(axis=1, dtype=np.float32).mean(axis=1)), dtype=np.float32)


def invariants(thumbnails: Bytes) -> Floats:
    """Return features (n, 216) that an image shares with its turns and mirrors, in levels.

    The 8 turns and mirrors move the cells of a thumbnail around within 36 sets. Of each set and colour stand
    here twice the means of its darker and of its brighter half. Sorting and taking means bring no two vectors
    farther apart: two rows are never farther apart (Euclidean) than the thumbnails are at their best turn, so
    a search by these features misses no copy.
    """
    row, column = np.triu_indices(SIDE // 2)
    cells = thumbnails.reshape(len(thumbnails), SIDE * SIDE, 3)
    sets = np.sort(cells[:, TURNS[:, row * SIDE + column]], axis=1)
    halves = sets.reshape(len(sets), 2, 4, len(row), 3).sum(axis=2, dtype=np.float32) / 2
    # a set on a diagonal has four cells, each met twice
    halves *= np.where(row == column, np.sqrt(0.5), 1.0).astype(np.float32)[:, None]
    return np.asarray(halves, dtype=np.float32).reshape(len(sets), 2 * len(row) * 3)


def near_copies(thumbnails: Bytes) -> list[tuple[int, int, float]]:
    """Return the pairs (i, j, distance), i < j, that show one picture turned, mirrored or encoded again.

    `thumbnails` is uint8 (n, 16, 16, 3). Of several equal ones, each is paired with the first only. Of upright
    copies nothing is claimed where others lie just beyond them (see GAP), so a picture that comes to lie there
    can withdraw a claim. 100,000 different photographs take 10 s of processor time and 400 MB, 330 clips of
    300 nearly equal frames 33 s, 100,000 frames of one still scene some 5 minutes.
    """
    contrast = contrasts(thumbnails)
    first = _first_equal(thumbnails)
    claimed = np.flatnonzero(contrast >= MINIMUM_CONTRAST)
    equal = [(int(first[i]), int(i), 0.0) for i in claimed if first[i] != i]
    distinct = claimed[first[claimed] == claimed]
    pairs, rms = _copies_among(thumbnails[distinct], contrast[distinct])
    places = distinct[pairs]
    relative = rms / contrast[places].min(axis=1, initial=np.inf)
    found = [(int(i), int(j), float(d)) for (i, j), d in zip(places, relative, strict=True)]
    return sorted(equal + found)


def _own_memory(size: int) -> Floats:
    # Of this thread: a megabyte that is taken anew for each image of 300 px costs a twentieth of reading it.
    kept: Floats | None = getattr(_KEPT, "values", None)
    if kept is None or kept.size < size:
        kept = _KEPT.values = np.empty(size, np.float32)
    return kept[:size]


@functools.lru_cache(maxsize=64)
def _coverage(length: int) -> Floats:
    """How much of each pixel along one side each cell covers, float32 (cells, pixels), until that repeats itself.

    Of 300 pixels the first four cells cover the first 75, the next four the next, and so on: a quarter of the work.
    """
    edges = [i * length / SIDE for i in range(SIDE + 1)]
    pixels = np.arange(length)
    covered = [np.minimum(high, pixels + 1) - np.maximum(low, pixels) for low, high in itertools.pairwise(edges)]
    weights: Floats = np.maximum(np.stack(covered), 0).astype(np.float32)
    times = math.gcd(length, SIDE)
    return weights[: SIDE // times, : length // times].copy()


def _turns() -> Integers:
    # (8, 256): row t lists, for each cell of a thumbnail, the cell that turn or mirror t puts there.
    grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    turned = [np.rot90(side, k) for side in (grid, grid[:, ::-1]) for k in range(4)]
    return np.stack(turned).reshape(8, SIDE * SIDE)


TURNS = _turns()


def _rms(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    # Root mean square differences (m,) of cells a, b (m, 256, 3) in levels: at the best turn, and upright.
    a, b = a.astype(np.float32), b.astype(np.float32)
    squares = []
    for turn in TURNS:
        difference = a - np.take(b, turn, axis=1)
        squares.append(np.einsum("mck,mck->m", difference, difference))
    rms = np.sqrt(np.stack(squares) / (SIDE * SIDE * 3))
    return rms.min(axis=0), rms[0]


def _first_equal(thumbnails: Bytes) -> Integers:
    # The place of the first thumbnail that equals each one, however turned.
    seen: dict[bytes, int] = {}
    first = np.arange(len(thumbnails))
    for index, cells in enumerate(thumbnails.reshape(len(thumbnails), SIDE * SIDE, 3)):
        first[index] = seen.setdefault(min(turned.tobytes() for turned in cells[TURNS]), index)
    return first


def _copies_among(thumbnails: Bytes, contrast: Floats) -> tuple[Integers, Floats]:
    # Pairs (m, 2) of near copies among thumbnails of which no two are equal; how far apart (m,), in levels.
    neighbours, rms, upright = _neighbours(thumbnails)
    near = rms <= np.minimum(NOISE, RELATIVE * contrast)[:, None]
    turned = upright >= GAP * np.maximum(rms, ROUNDING)
    own, place = np.nonzero(near & (turned | _before_the_gap(rms, near)))
    ordered = np.sort(np.stack([own, neighbours[own, place]], axis=1), axis=1)
    # A pair counts where each of the two claims the other, that is, where it stands there twice.
    pairs, first, times = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    return pairs[times == 2], rms[own, place][first[times == 2]]


def _neighbours(thumbnails: Bytes) -> tuple[Integers, Floats, Floats]:
    # The nearest others of each thumbnail, (n, k), nearest first, and how far they are at the best turn and
    # upright; infinity for those too far to matter.
    if len(thumbnails) < 2:
        none = np.zeros((len(thumbnails), 0))
        return none.astype(np.intp), none.astype(np.float32), none.astype(np.float32)
    features = _principal(thumbnails)
    radius = GAP * NOISE * np.sqrt(SIDE * SIDE * 3)
    count = min(NEIGHBOURS + 1, len(features))
    found = _nearest(features, count, radius)
    cells = thumbnails.reshape(len(thumbnails), SIDE * SIDE, 3)
    own, place = np.nonzero((found < len(found)) & (found != np.arange(len(found))[:, None]))
    rms = np.full((2, *found.shape), np.inf, dtype=np.float32)
    # small parts stay in the processor's cache: three times as fast as parts of 4096
    for start in range(0, len(own), 256):
        a, b = own[start : start + 256], place[start : start + 256]
        rms[:, a, b] = _rms(cells[a], cells[found[a, b]])
    order = np.argsort(rms[0], axis=1, kind="stable")
    best, upright = np.take_along_axis(rms, order[None], axis=2)
    return np.take_along_axis(found, order, axis=1), best, upright


def _nearest(features: Floats, count: int, radius: float) -> Integers:
    # Places (n, count) of the nearest, itself first; n where fewer are nearer than the radius.
    if len(features) > FEW:
        from scipy.spatial import cKDTree

        return np.asarray(cKDTree(features).query(features, k=range(1, count + 1), distance_upper_bound=radius)[1])
    points = features.astype(np.float64)
    lengths = (points**2).sum(axis=1)
    squares = lengths[:, None] + lengths - 2 * (points @ points.T)
    np.fill_diagonal(squares, -1)
    nearest = np.argpartition(squares, count - 1, axis=1)[:, :count]
    distances = np.take_along_axis(squares, nearest, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")
    near = np.take_along_axis(distances, order, axis=1) < radius**2
    return np.where(near, np.take_along_axis(nearest, order, axis=1), len(features))


def _principal(thumbnails: Bytes, dimensions: int = 16) -> Floats:
    # The invariants along their directions of most spread (n, 16); a projection brings nothing farther apart.
    if len(thumbnails) <= 512:
        return invariants(thumbnails)  # searched faster than the directions are found
    sample = invariants(thumbnails[:: len(thumbnails) // 4096 + 1])
    _, directions = np.linalg.eigh(np.cov(sample, rowvar=False, dtype=np.float64))
    axes = directions[:, -dimensions:].astype(np.float32)
    parts = [invariants(thumbnails[start : start + 4096]) @ axes for start in range(0, len(thumbnails), 4096)]
    return np.concatenate(parts)


def _before_the_gap(rms: Floats, near: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    # Which of the sorted neighbours (n, k) of each picture lie before the last wide gap after a near one.
    # Without a gap none do: the neighbours are steps of one continuous change.
    beyond = np.concatenate([rms[:, 1:], np.full((len(rms), 1), np.inf, dtype=np.float32)], axis=1)
    gap = near & (beyond >= GAP * np.maximum(rms, ROUNDING))
    if len(rms) > NEIGHBOURS + 1:
        gap[:, NEIGHBOURS - 1 :] = False  # what lies beyond the last neighbour was not looked at
    return np.asarray(np.logical_or.accumulate(gap[:, ::-1], axis=1)[:, ::-1])
