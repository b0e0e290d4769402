"""Rough: how two pictures lie to each other, at any turn and mirror, one whole or a window of the other."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from fieldmark.checks.overlay import grid
from fieldmark.checks.planes import Floats, turned

CROPS = (0.9, 0.8)  # shares of a side that the search knows


def _windows() -> list[tuple[float, float, float]]:
    # (scale, x, y) of the parts of a picture that the search compares with the whole other one; the middle
    # of each in coordinates from -1 to 1.
    places = [
        (scale, (1 - scale) * x, (1 - scale) * y)
        for scale in CROPS
        for x, y in itertools.product((-1.0, 0.0, 1.0), repeat=2)
    ]
    return [(1.0, 0.0, 0.0), *places]


WINDOWS = _windows()


def _window_maps(*, inverse: bool) -> Floats:
    # (windows, 2, 3): from places in a whole picture to places in the one it is a window of, or back.
    maps = []
    for scale, x, y in WINDOWS:
        if inverse:
            scale, x, y = 1 / scale, -x / scale, -y / scale
        maps.append([[scale, 0.0, x], [0.0, scale, y]])
    return np.array(maps, dtype=np.float32)


INTO_WINDOWS, OUT_OF_WINDOWS = _window_maps(inverse=False), _window_maps(inverse=True)


def rough_maps(a: Floats, b: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """The turn of b and the map (m, 2, 3) from places in a to places in the turned b that agree best, roughly."""
    rows = np.arange(len(a))
    best = np.full(len(a), -np.inf, dtype=np.float32)
    turns = np.zeros(len(a), dtype=np.intp)
    maps = np.zeros((len(a), 2, 3), dtype=np.float32)
    parts_of_a = _normalised(_cut(a))  # (m, windows, cells)
    for turn in range(8):
        b_turned = turned(b, turn)
        # Turned by a quarter or a half, pictures are searched whole: few copies are both turned and cropped.
        parts_of_b = _normalised(_cut(b_turned) if turn in (0, 4) else b_turned[:, None])
        a_in_b = (parts_of_a[:, :1] * parts_of_b).sum(axis=2)
        b_in_a = (parts_of_a * parts_of_b[:, :1]).sum(axis=2)
        for scores, table in ((a_in_b, INTO_WINDOWS), (b_in_a, OUT_OF_WINDOWS)):
            place = scores.argmax(axis=1)
            better = scores[rows, place] > best
            best[better] = scores[rows, place][better]
            turns[better] = turn
            maps[better] = table[place[better]]
    return turns, maps


def _cut(pictures: Floats) -> Floats:
    """The windows of pictures, each resampled to the full side: (m, windows, side, side)."""
    side = pictures.shape[1]
    middles = grid(side)
    parts = []
    for scale, x, y in WINDOWS:
        rows, columns = _linear(scale * middles + y, side), _linear(scale * middles + x, side)
        parts.append(rows @ pictures @ columns.T)
    return np.stack(parts, axis=1)


def _linear(places: Floats, side: int) -> Floats:
    # (len(places), side): linear interpolation at places from -1 to 1.
    index = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    return np.asarray(np.clip(1 - np.abs(index[:, None] - np.arange(side)[None]), 0, 1), dtype=np.float32)


def _normalised(pictures: Floats) -> Floats:
    flat = pictures.reshape(*pictures.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-3), dtype=np.float32)
