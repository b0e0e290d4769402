"""Details: whether what stands out in two pictures agrees, and what varies along their lines, once one is laid over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fieldmark.checks.overlay import laid_over, standardised
from fieldmark.checks.planes import Floats

# An alignment that maps one picture on less than this share of the other, or shears it, explains nothing.
LEAST_OVERLAP = 0.5
MOST_STRETCH = 1.6
MOST_SKEW = 0.25
DETAIL = 2.0  # pixels: what varies more slowly than over so many is lighting, sky and ground
AROUND = 2.0  # pixels: over so many it is seen how much stands out at a place
FAINT = 8.0  # levels: what stands out less counts less, down to the noise that encoding adds
# Slopes across the course of lines, see `crosswise`: of a picture smoothed by so many pixels, over so many around.
SMOOTH, COURSE = 1.0, 3.0  # pixels
FAINT_SLOPE = 2.0  # levels a pixel
INNER = 0.95  # of a place's surroundings must count, so that no slope is that of an edge of what counts


def detail_correlation(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the details of a and of b laid over it; 0 where the map is none that a copy could have."""
    side = a.shape[1]
    flat, shown, inside, overlap = laid_over(a, b, maps)
    details = [_details(picture, inside, side) for picture in (flat, shown)]
    count = np.maximum(inside.sum(axis=1), 1)
    correlation = (details[0] * details[1] * inside).sum(axis=1) / count
    return np.where(_plausible(maps, overlap), correlation, 0.0).astype(np.float32)


def _plausible(maps: Floats, inside: Floats) -> npt.NDArray[np.bool_]:
    maps = np.nan_to_num(maps)
    stretches = np.linalg.svd(maps[:, :, :2], compute_uv=False)
    skew = np.abs((maps[:, :, 0] * maps[:, :, 1]).sum(axis=1)) / np.maximum(stretches.prod(axis=1), 1e-6)
    usual = (stretches <= MOST_STRETCH).all(axis=1) & (stretches >= 1 / MOST_STRETCH).all(axis=1)
    return np.asarray(usual & (skew <= MOST_SKEW) & (inside.mean(axis=1) >= LEAST_OVERLAP))


def _details(flat: Floats, inside: Floats, side: int) -> Floats:
    """What stands out from its surroundings, on the scale of how much does there; only places inside count."""
    details = (flat - _mean_around(flat, inside, side, DETAIL)) * inside
    energy = _mean_around(details**2, inside, side, AROUND)
    # `standardised` takes less than one level for no contrast: back to levels.
    return standardised(10 * details / np.sqrt(energy + FAINT**2), inside)[0]


def crosswise(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the slopes of a and of b laid over it, everywhere along the lines that run there, (m,).

    A straight outline or vein agrees with any other one laid over it, wherever along it the picture lies. So what
    counts are slopes in the direction in which the pictures vary least around a place (the weak direction of the
    structure tensor, Förstner & Gülch 1987): spots, ends and corners.
    """
    side = a.shape[1]
    flat, shown, inside, _ = laid_over(a, b, maps)
    whole = np.ones_like(inside)
    slopes = [_slopes(picture, inside, side) for picture in (flat, shown)]
    inside = inside * (_mean_around(inside, whole, side, SMOOTH) > INNER)
    xx, xy, yy = np.sum([_course(x, y, inside, side) for x, y in slopes], axis=0)
    angle = np.arctan2(2 * xy, xx - yy) / 2  # of the way in which the pictures vary most
    along = [(np.cos(angle) * y - np.sin(angle) * x) * inside for x, y in slopes]
    one, other = (
        slope / np.sqrt(_mean_around(slope**2, inside, side, COURSE) + (FAINT_SLOPE / 2) ** 2) for slope in along
    )
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.asarray((one * other).sum(axis=1) / np.maximum(norm, 1e-6), dtype=np.float32)


def _slopes(flat: Floats, inside: Floats, side: int) -> tuple[Floats, Floats]:
    # Along x and along y, levels a pixel.
    smooth = _mean_around(flat, inside, side, SMOOTH).reshape(-1, side, side)
    y, x = (np.asarray(slope, dtype=np.float32).reshape(flat.shape) for slope in np.gradient(smooth, axis=(1, 2)))
    return x, y


def _course(x: Floats, y: Floats, inside: Floats, side: int) -> Floats:
    # The structure tensor (3, m, cells), relative to how steep the picture is there.
    xx, xy, yy = (_mean_around(product, inside, side, COURSE) for product in (x * x, x * y, y * y))
    return np.stack([xx, xy, yy]) / (xx + yy + FAINT_SLOPE**2)


def _mean_around(flat: Floats, inside: Floats, side: int, reach: float) -> Floats:
    # A mean over neighbouring places inside, weighted by a bell of so many pixels.
    blur = _gaussian(side, reach)
    total = blur @ (flat * inside).reshape(-1, side, side) @ blur.T
    weight = blur @ inside.reshape(-1, side, side) @ blur.T
    return np.asarray((total / np.maximum(weight, 1e-3)).reshape(len(flat), -1), dtype=np.float32)


def _gaussian(side: int, reach: float) -> Floats:
    apart = np.arange(side)[:, None] - np.arange(side)[None]
    return np.exp(-(apart**2) / (2 * reach**2)).astype(np.float32)
