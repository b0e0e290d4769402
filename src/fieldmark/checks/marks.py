"""Marks: two pictures that are the same but for something written on one of them, such as a logo, a date or a name.

What is written changes nothing around it and moves nothing. So nearly all pixels must have the very same levels, and
what stands out there must agree. No two scenes do that by chance, unless little stands out in what they share, as the
white around two dolls: then each of the two has most of what stands out where they differ, and no mark does that to
the picture below it. Or unless outlines are the same, as of two leaves drawn by one rule: then one is darker at its
own spots, the other at its own, while a mark is light or dark throughout, or lies in one place.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fieldmark.checks.details import DETAIL, Around, correlation_of_details
from fieldmark.checks.planes import Floats

SAME = 8.0  # levels: the most that encoding changes a pixel of these small pictures, or nearly so
MOST_MARKED = 0.12  # of the pixels; marks of a tenth of a picture's height across it have .09
MOST_LOST = 0.33  # of what stands out, by its square; below marks up to .27 were lost, of other scenes from .42
AGREEING = 0.9  # correlation of what stands out in the rest
# A letter E before white is an F with a mark on it, and of two skies with one name across them the name agrees.
MOST_PLAIN = 0.75  # of the pixels have one level, or nearly; printed letters have .82, leaves on white paper .71
LEAST_SHOWN = 0.05  # of the pixels stand out in both, and are the same
STANDING_OUT = 4.0  # levels
ONE_WAY = 0.95  # lighter, or darker, by so much of all that differs
ONE_PLACE = 0.15  # of the picture: the rectangle around all that differs


def likeness_beside_marks(a: Floats, b: Floats) -> Floats:
    """How alike pictures (m, side, side) are that lie where they lay, beside what is written on one of them, (m,).

    0 where more differs than a mark, or the rest does not agree. Measured: docs/decisions/0011-checks.md.
    """
    found = np.zeros(len(a), dtype=np.float32)
    near = np.flatnonzero((np.abs(a - b) > SAME).mean(axis=(1, 2)) <= MOST_MARKED)
    if len(near):
        flat = a[near].reshape(len(near), -1), b[near].reshape(len(near), -1)
        same = (np.abs(flat[0] - flat[1]) <= SAME).astype(np.float32)
        likeness = correlation_of_details(*flat, same)
        lost = np.minimum(*(_lost(picture, same) for picture in flat))
        shown = (same * _standing_out(flat[0]) * _standing_out(flat[1])).mean(axis=1) >= LEAST_SHOWN
        shown &= np.minimum(*(_plain(picture) for picture in flat)) <= MOST_PLAIN
        of_one = (likeness >= AGREEING) & (lost <= MOST_LOST) & shown & _like_a_mark(b[near] - a[near])
        found[near] = np.where(of_one, likeness, 0)
    return found


def _like_a_mark(difference: Floats) -> npt.NDArray[np.bool_]:
    other = np.abs(difference) > SAME
    difference = difference * other
    all_of_it = np.abs(difference).sum(axis=(1, 2))
    one_way = np.abs(difference.sum(axis=(1, 2))) >= ONE_WAY * all_of_it
    down, across = (_reach(other, axis) for axis in (2, 1))
    return np.asarray(one_way | (down * across <= ONE_PLACE))


def _reach(mask: npt.NDArray[np.bool_], over: int) -> Floats:
    # From the first to the last line (row over axis 2, column over 1) with any of it, as a share of all; 1 for none.
    lines = np.asarray(mask.any(axis=over))
    first, last = lines.argmax(axis=1), lines.shape[1] - lines[:, ::-1].argmax(axis=1)
    return np.asarray((last - first) / lines.shape[1], dtype=np.float32)


def _lost(flat: Floats, same: Floats) -> Floats:
    # The share of what stands out that does where the two differ, (m,).
    details = _details(flat) ** 2
    return np.asarray((details * (1 - same)).sum(axis=1) / np.maximum(details.sum(axis=1), 1e-6), dtype=np.float32)


def _standing_out(flat: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(_details(flat)) > STANDING_OUT)


def _details(flat: Floats) -> Floats:
    return flat - Around(np.ones_like(flat), math.isqrt(flat.shape[1]), DETAIL).mean(flat)


def _plain(flat: Floats) -> Floats:
    # The largest share of pixels within two levels of each other either way, (m,).
    counts = np.stack([np.bincount(row, minlength=260) for row in np.clip(np.rint(flat), 0, 255).astype(np.intp)])
    around = sum(np.roll(counts, shift, axis=1) for shift in range(5))
    return np.asarray(np.max(around, axis=1) / flat.shape[1], dtype=np.float32)
