"""Details: whether what stands out in two pictures agrees, and what varies along their lines, once one is laid over."""

from __future__ import annotations

import math

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
FAR = 1e-12  # of a bell's height: less changes no digit of a sum
INNER = 0.95  # of a place's surroundings must count, so that no slope is that of an edge of what counts


def detail_correlation(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the details of a and of b laid over it; 0 where the map is none that a copy could have."""
    flat, shown, inside, overlap = laid_over(a, b, maps)
    correlation = correlation_of_details(flat, shown, inside)
    return np.where(_plausible(maps, overlap), correlation, 0.0).astype(np.float32)


def correlation_of_details(one: Floats, other: Floats, inside: Floats) -> Floats:
    """The correlation of the details of square pictures (m, cells) over the places `inside`, 0 and 1, (m,)."""
    side = math.isqrt(one.shape[1])
    around = [Around(inside, side, reach) for reach in (DETAIL, AROUND)]
    details = [_details(picture, *around) for picture in (one, other)]
    count = np.maximum(inside.sum(axis=1), 1)
    return np.asarray((details[0] * details[1] * inside).sum(axis=1) / count, dtype=np.float32)


def _plausible(maps: Floats, inside: Floats) -> npt.NDArray[np.bool_]:
    maps = np.nan_to_num(maps)
    stretches = np.linalg.svd(maps[:, :, :2], compute_uv=False)
    skew = np.abs((maps[:, :, 0] * maps[:, :, 1]).sum(axis=1)) / np.maximum(stretches.prod(axis=1), 1e-6)
    usual = (stretches <= MOST_STRETCH).all(axis=1) & (stretches >= 1 / MOST_STRETCH).all(axis=1)
    return np.asarray(usual & (skew <= MOST_SKEW) & (inside.mean(axis=1) >= LEAST_OVERLAP))


def _details(flat: Floats, near: Around, around: Around) -> Floats:
    """What stands out from its surroundings, on the scale of how much does there; only places inside count."""
    details = (flat - near.mean(flat)) * near.inside
    energy = around.mean(details**2)
    # `standardised` takes less than one level for no contrast: back to levels.
    return standardised(10 * details / np.sqrt(energy + FAINT**2), near.inside)[0]


def crosswise(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the slopes of a and of b laid over it, everywhere along the lines that run there, (m,).

    A straight outline or vein agrees with any other one laid over it, wherever along it the picture lies. So what
    counts are slopes in the direction in which the pictures vary least around a place (the weak direction of the
    structure tensor, Förstner & Gülch 1987): spots, ends and corners.
    """
    side = a.shape[1]
    flat, shown, inside, _ = laid_over(a, b, maps)
    smooth = Around(inside, side, SMOOTH)
    slopes = [_slopes(smooth.mean(picture), side) for picture in (flat, shown)]
    inside = inside * (Around(np.ones_like(inside), side, SMOOTH).mean(inside) > INNER)
    around = Around(inside, side, COURSE)
    xx, xy, yy = np.sum([_course(x, y, around) for x, y in slopes], axis=0)
    angle = np.arctan2(2 * xy, xx - yy) / 2  # of the way in which the pictures vary most
    along = [(np.cos(angle) * y - np.sin(angle) * x) * inside for x, y in slopes]
    one, other = (slope / np.sqrt(around.mean(slope**2) + (FAINT_SLOPE / 2) ** 2) for slope in along)
    norm = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.asarray((one * other).sum(axis=1) / np.maximum(norm, 1e-6), dtype=np.float32)


def _slopes(flat: Floats, side: int) -> tuple[Floats, Floats]:
    # Along x and along y, levels a pixel.
    pictures = flat.reshape(-1, side, side)
    y, x = (np.asarray(slope, dtype=np.float32).reshape(flat.shape) for slope in np.gradient(pictures, axis=(1, 2)))
    return x, y


def _course(x: Floats, y: Floats, around: Around) -> Floats:
    # The structure tensor (3, m, cells), relative to how steep the picture is there.
    xx, xy, yy = (around.mean(product) for product in (x * x, x * y, y * y))
    return np.stack([xx, xy, yy]) / (xx + yy + FAINT_SLOPE**2)


class Around:
    """Means over the neighbouring places that count, weighted by a bell of so many pixels."""

    def __init__(self, inside: Floats, side: int, reach: float) -> None:
        self.inside = inside  # (m, cells), 0 and 1
        self._side = side
        self._bell = _gaussian(side, reach)
        self._weight = np.maximum(self._blurred(inside), 1e-3)  # once, for all that is asked of these places

    def mean(self, flat: Floats) -> Floats:
        """The mean around each place (m, cells)."""
        return np.asarray(self._blurred(flat * self.inside) / self._weight, dtype=np.float32)

    def _blurred(self, flat: Floats) -> Floats:
        pictures = flat.reshape(-1, self._side, self._side)
        return np.asarray((self._bell @ pictures @ self._bell.T).reshape(len(flat), -1), dtype=np.float32)


def _gaussian(side: int, reach: float) -> Floats:
    apart = np.arange(side)[:, None] - np.arange(side)[None]
    bell = np.exp(-(apart**2) / (2 * reach**2))
    # Far out it falls below what float32 holds in full (1e-38): processors take such numbers a hundred times slower.
    return np.where(bell < FAR, 0, bell).astype(np.float32)
