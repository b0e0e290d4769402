"""Quality: images that are tiny, dark, over-exposed, blurred, nearly uniform, oddly shaped, or grey among colour.

Levels are 0-255 of the luminance, of the pixels as they are looked at (after resizing); sizes are those of the file.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Floats
from fieldmark.checks.planes import luminance
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted
from fieldmark.images.threads import ordered_map

TINY = 32  # pixels of the shorter side
DARK = 60.0  # levels; the brightest parts of a dark image (99th percentile) stay below
BRIGHT = 200.0  # levels; the darkest parts of an over-exposed one (1st percentile) stay above
# Of an over-exposed picture much is burnt out, and its light runs into that gradually and in colours that lose one
# channel after the other; or nothing dark is left. White paper begins at an edge, or in a shadow, which is grey.
BURNT, NEARLY_BURNT = 250.0, 225.0  # levels, as for copies
MUCH_BURNT = 0.25  # of the pixels
GRADUAL = 0.015  # of the pixels: nearly burnt out, and two to four pixels from one that is
HALF_BURNT = 0.05  # of the pixels: some channel is burnt out and some is not
DARKEST_LEFT = 150.0  # levels, 10th percentile of what is not burnt out
UNIFORM = 12.0  # levels between the 1st and the 99th percentile
BLURRED = 4.5  # pixels; see `edge_width`
MAGNIFIED = 0.5  # of the pixels looked at: a smaller image looks blurred because it was enlarged
ODD_SHAPE = 3.0  # longer over shorter side
UNUSUAL_SHAPE = 2.0  # times the usual ratio of width to height
REACH = 16  # pixels around an edge that are looked at
LEAST_CONTRAST, MOST_CONTRAST = 6.0, 20.0  # levels across an edge: a third of the picture's contrast, within these
SHARPEST = 0.97  # quantile: a small sharp subject before a blurred background is a sharp picture
FEW = 20  # edges; fewer tell nothing
GREY = 4  # levels between the colours of any cell of a thumbnail
RARE = 0.2  # grey images and unusual shapes are worth a word where they are fewer than this share
CHUNK = 64  # images in memory at a time


@dataclasses.dataclass(frozen=True)
class Look:
    """What was measured of each image, (n,) each."""

    low: Floats  # levels, 1st percentile
    high: Floats  # levels, 99th percentile
    width: Floats  # pixels, of the sharpest edges
    burnt: Floats  # share of the pixels, 0-1
    gradual: Floats  # share of the pixels, 0-1; see `_burnt_out`
    half_burnt: Floats  # share of the pixels, 0-1
    left: Floats  # levels, 10th percentile of the pixels that are not burnt out


def check_quality(context: Context) -> tuple[list[Finding], str]:
    """The findings of the check for image quality."""
    found = defects(context)
    findings = []
    for name, (sentence, rows) in found.items():
        if len(rows):
            paths = tuple(context.dataset.paths[row] for row in rows)
            findings.append(Finding(f"{name}: {sentence}", paths, "note", {"kind": name, "images": len(rows)}))
    if not findings:
        return [], "None stands out."
    images = len({row for _, rows in found.values() for row in rows.tolist()})
    return findings, f"{counted(images, 'image')} may be worth a look."


def defects(context: Context) -> dict[str, tuple[str, npt.NDArray[np.int64]]]:
    """{kind: (what it means, rows of the images)} of every kind that is looked for."""
    look = measure(context)
    sizes = np.array(context.dataset.sizes, dtype=np.float64).reshape(-1, 2)
    short, ratio = sizes.min(axis=1), sizes[:, 0] / sizes[:, 1]
    height, width = context.images.store.dtype["pixels"].shape[:2]
    uniform = look.high - look.low < UNIFORM
    dark = (look.high < DARK) & ~uniform
    bright = _over_exposed(look) & ~uniform
    enlarged = short < MAGNIFIED * min(height, width)
    blurred = (look.width > BLURRED) & ~(uniform | dark | bright | enlarged)
    usual = np.median(ratio) if len(ratio) else 1.0
    odd = np.maximum(ratio, 1 / ratio) > ODD_SHAPE
    unusual = np.maximum(ratio / usual, usual / ratio) > UNUSUAL_SHAPE
    kinds = {
        "tiny": (f"the shorter side has fewer than {TINY} pixels", short < TINY),
        "dark": ("hardly anything is bright enough to be seen", dark),
        "over-exposed": ("much is burnt out, or hardly anything dark enough to be seen", bright),
        "nearly uniform": ("one colour and hardly anything else", uniform),
        "blurred": ("no edge is sharp", blurred),
        "odd shape": ("long and narrow, or shaped unlike the others", odd | _rare(unusual)),
        "greyscale": ("without colour, among coloured images", _rare(_grey(context.images.thumbnails()))),
    }
    return {name: (sentence, np.flatnonzero(mask)) for name, (sentence, mask) in kinds.items()}


def measure(context: Context) -> Look:
    """Measure every image from its cached pixels, in threads: 1-2 ms an image."""
    count = len(context.dataset)
    parts = [np.arange(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    found = [np.zeros((0, len(dataclasses.fields(Look))), dtype=np.float32)]
    for values in ordered_map(lambda rows: [_look(image) for image in context.images.pixels(rows)], parts, ahead=1):
        found.append(np.array(values, dtype=np.float32))
    return Look(*np.concatenate(found).T)


def edge_width(grey: Floats) -> float:
    """Return how many pixels the sharpest edges of an image (height, width) in levels take, 1 to 17.

    At the steepest place of an edge: its contrast over its slope, as in Marziliano et al. 2002
    (doi:10.1109/ICIP.2002.1038902). Only places with contrast count, so that neither a plain ground, nor the steps of
    one level that make a slow gradient of whole numbers, are taken for edges. Across and down count the
    same; 17 where nothing is an edge. Measured: docs/decisions/0011-checks.md.

    >>> step = np.repeat([50, 200], 32).astype(np.float32) * np.ones((64, 1), np.float32)
    >>> ramp = np.clip(np.arange(-32, 32) * 15 + 125, 50, 200).astype(np.float32) * np.ones((64, 1), np.float32)
    >>> round(edge_width(step)), round(edge_width(ramp)), edge_width(np.full((64, 64), 9, np.float32))
    (2, 10, 17.0)
    """
    low, high = np.percentile(grey, (1, 99))
    contrast = float(np.clip((high - low) / 3, LEAST_CONTRAST, MOST_CONTRAST))
    smooth = _smoothed(_smoothed(grey).T)  # transposed
    slopes = [_sharpest(picture, contrast) for picture in (smooth, np.ascontiguousarray(smooth.T))]
    known = [slope for slope in slopes if slope is not None]
    return len(known) / sum(known) if known else REACH + 1.0


def _smoothed(grey: Floats) -> Floats:
    # Down the first axis, by (1, 2, 1) / 4: against grain and the steps of whole levels.
    return np.asarray((grey[:-2] + 2 * grey[1:-1] + grey[2:]) / 4)


def _sharpest(grey: Floats, contrast: float) -> float | None:
    """The slope of the sharpest edges down the first axis, as a share of their contrast a pixel; None without edges."""
    if len(grey) < REACH + 2:
        return None
    slopes = np.abs(np.diff(grey, axis=0))
    spread = _around(grey, np.maximum) - _around(grey, np.minimum)
    spread = np.maximum(spread[:-1], spread[1:])  # on both sides of a step from one pixel to the next
    middle = slopes[REACH // 2 : len(slopes) - REACH // 2]
    edges = (middle >= _around(slopes, np.maximum)) & (spread >= contrast)
    if np.count_nonzero(edges) < FEW:
        return None
    return float(np.quantile(middle[edges] / spread[edges], SHARPEST))


def _around(values: npt.NDArray[Any], choose: np.ufunc, reach: int = REACH) -> npt.NDArray[Any]:
    # The greatest or least of reach + 1 neighbours down the first axis: of 2, of 4, up to `reach`, and of one more.
    found, step = values, 1
    while step < reach:
        found, step = choose(found[:-step], found[step:]), 2 * step
    return np.asarray(choose(found[:-1], values[reach:]))


def _look(image: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    # In the order of `Look`.
    grey = luminance(image)
    counts = np.cumsum(np.bincount(grey.astype(np.uint8).ravel(), minlength=256)) / grey.size
    low, high = (float(np.searchsorted(counts, share)) for share in (0.01, 0.99))
    return low, high, edge_width(grey), *_burnt_out(image, grey)


def _burnt_out(image: npt.NDArray[np.uint8], grey: Floats) -> tuple[float, float, float, float]:
    """The last fields of `Look`: all but the first are looked for where much is burnt out.

    Gradual are pixels that nearly are, close by. Right beside a burnt-out pixel any edge is nearly white, where the
    picture was resized; two pixels off none is.
    """
    burnt = grey >= BURNT
    share = float(burnt.mean())
    if share < MUCH_BURNT:
        return share, 0.0, 0.0, 0.0
    gradual = _widened(burnt, 4) & ~_widened(burnt, 1) & (grey >= NEARLY_BURNT)
    channels = (image >= BURNT).sum(axis=2)
    half = (channels > 0) & (channels < image.shape[2])
    left = float(np.quantile(grey[~burnt], 0.1)) if share < 1 else 255.0
    return share, float(gradual.mean()), float(half.mean()), left


def _widened(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    # Whatever is at most so many pixels (1, 2, 4, ...) from the mask, across, down and diagonally.
    padded = np.pad(mask, by)
    return np.asarray(_around(_around(padded, np.logical_or, 2 * by).T, np.logical_or, 2 * by).T)


def _over_exposed(look: Look) -> npt.NDArray[np.bool_]:
    burnt = ((look.gradual > GRADUAL) & (look.half_burnt > HALF_BURNT)) | (look.left > DARKEST_LEFT)
    return np.where(look.burnt > MUCH_BURNT, burnt, look.low > BRIGHT)


def _grey(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    spread = thumbnails.max(axis=3).astype(np.int16) - thumbnails.min(axis=3)
    return np.asarray(spread.max(axis=(1, 2), initial=0) < GREY)


def _rare(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    # What many images have is how this dataset is.
    return mask & (np.count_nonzero(mask) < RARE * len(mask))
