"""Alignment: whether two pictures show the same scene, told by laying one over the other and looking at details.

Small pictures of any two scenes resemble each other by chance (sky above, grass below); details do not. So a pair is
first laid over: turned, mirrored, cropped and shifted roughly, then by Gauss-Newton steps on an affine map that
make the brightness agree (Lucas & Kanade 1981; independent of contrast as in Evangelidis & Psarakis 2008,
doi:10.1109/TPAMI.2008.113). What counts afterwards is the correlation of what stands out from its surroundings,
over the part that both pictures show; everywhere on the scale of how much stands out there, so that the texture of a
leaf counts as much as its outline, which the next leaf has, too. And what varies along the lines must agree as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fieldmark.checks.details import crosswise, detail_correlation
from fieldmark.checks.marks import likeness_beside_marks
from fieldmark.checks.overlay import places_of, said, sample, standardised
from fieldmark.checks.planes import Floats, reduced, turned
from fieldmark.checks.rough import rough_maps

Pairs = npt.NDArray[np.intp]

COARSE = 28  # pixels a side of the pictures that are laid over first
ROUGH = 14  # pixels a side where the start is searched
COARSE_STEPS, FINE_STEPS = 10, 4  # Gauss-Newton steps
PROMISING = 0.4  # of the coarse pictures; below it the fine ones are not looked at
ALIKE = 0.7  # of the fine pictures; below it nobody asks what else agrees: that takes as long as all before, 4 ms
LEAST_CROSSWISE = 0.3  # correlation; below it lines agree and nothing else (docs/decisions/0011-checks.md)
# Where a picture has to be moved over the other, six numbers are chosen so that the two agree, and outlines will
# (docs/decisions/0011-checks.md). A watermark moves nothing.
SURE_CROSSWISE = 0.87  # correlation: from here on nothing is missing along the lines
DOUBT = 0.3  # of what is missing: so much is taken off the likeness of a picture that was moved
STILL = 0.015  # what a number of the map may be off: found are .005 where nothing was moved, from .07 where it was
BLOCK = 32  # pairs at a time: their pictures stay in the processor's cache


def similarity(pictures: Floats, pairs: Pairs) -> Floats:
    """Return for each of the pairs (m, 2) of rows of `pictures` (from `planes`) how alike their details are, (m,).

    1 for the same picture, 0 where lines agree and nothing along them does. Measured: docs/decisions/0011-checks.md.
    """
    scores = np.zeros(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), BLOCK):
        part = pairs[start : start + BLOCK]
        scores[start : start + BLOCK] = _similarity(pictures[part[:, 0]], pictures[part[:, 1]])
    return scores


def _similarity(a: Floats, b: Floats) -> Floats:
    beside_marks = likeness_beside_marks(a, b)
    turns, maps = rough_maps(reduced(a, ROUGH), reduced(b, ROUGH))
    b = np.stack([turned(picture[None], int(turn))[0] for picture, turn in zip(b, turns, strict=True)])
    small_a, small_b = reduced(a, COARSE), reduced(b, COARSE)
    maps = _refine(small_a, small_b, maps, COARSE_STEPS)
    scores = detail_correlation(small_a, small_b, maps)
    near = np.flatnonzero(scores >= PROMISING)
    if len(near):
        maps[near] = _refine(a[near], b[near], maps[near], FINE_STEPS)
        scores[near] = detail_correlation(a[near], b[near], maps[near])
    alike = np.flatnonzero(scores >= ALIKE)
    if len(alike):
        along_lines = crosswise(a[alike], b[alike], maps[alike])
        missing = np.clip(SURE_CROSSWISE - along_lines, 0, None)
        scores[alike] -= np.where(_moved(maps[alike]), DOUBT * missing, 0)
        scores[alike[along_lines < LEAST_CROSSWISE]] = 0
    return np.maximum(scores, beside_marks)


def _moved(maps: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(maps - np.eye(2, 3, dtype=np.float32)).max(axis=(1, 2)) > STILL)


def _refine(a: Floats, b: Floats, maps: Floats, steps: int) -> Floats:
    """Maps (m, 2, 3) that lay b over a better, by Gauss-Newton steps."""
    side = a.shape[1]
    x, y, places = places_of(side)
    along_y, along_x = (np.asarray(slope, dtype=np.float32) for slope in np.gradient(b, 2 / side, axis=(1, 2)))
    flat = a.reshape(len(a), -1)
    for _ in range(steps):
        moved = maps @ places  # (m, 2, cells)
        (shown, slope_x, slope_y), inside = sample((b, along_x, along_y), moved)
        inside = said(inside, flat, shown)
        wanted, _ = standardised(flat, inside)
        got, contrast = standardised(shown, inside)
        residual = (wanted - got) * inside
        slope_x, slope_y = (slope * inside / contrast for slope in (slope_x, slope_y))
        jacobian = np.stack([slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y], axis=1)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        damping = 1e-2 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6
        step = np.linalg.solve(normal + damping * np.eye(6, dtype=np.float32), jacobian @ residual[:, :, None])
        maps = maps + np.clip(step, -0.2, 0.2).reshape(-1, 2, 3).astype(np.float32)
    return maps
