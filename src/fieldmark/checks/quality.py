"""Quality: images that are tiny, dark, over-exposed, blurred, nearly uniform, oddly shaped, or grey among colour.

Levels are 0-255 of the luminance, of the pixels as they are looked at (after resizing); sizes are those of the file.
"""

from __future__ import annotations

import dataclasses

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
UNIFORM = 12.0  # levels between the 1st and the 99th percentile
BLURRED = 0.75  # of the blur metric below
MAGNIFIED = 0.5  # of the pixels looked at: a smaller image looks blurred because it was enlarged
ODD_SHAPE = 3.0  # longer over shorter side
UNUSUAL_SHAPE = 2.0  # times the usual ratio of width to height
GREY = 4  # levels between the colours of any cell of a thumbnail
RARE = 0.2  # grey images and unusual shapes are worth a word where they are fewer than this share
CHUNK = 64  # images in memory at a time


@dataclasses.dataclass(frozen=True)
class Look:
    """What was measured of each image, (n,) each."""

    low: Floats  # levels, 1st percentile
    high: Floats  # levels, 99th percentile
    blur: Floats  # 0 sharp to 1 blurred


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
    bright = (look.low > BRIGHT) & ~uniform
    enlarged = short < MAGNIFIED * min(height, width)
    blurred = (look.blur > BLURRED) & ~(uniform | dark | bright | enlarged)
    usual = np.median(ratio) if len(ratio) else 1.0
    odd = np.maximum(ratio, 1 / ratio) > ODD_SHAPE
    unusual = np.maximum(ratio / usual, usual / ratio) > UNUSUAL_SHAPE
    kinds = {
        "tiny": (f"the shorter side has fewer than {TINY} pixels", short < TINY),
        "dark": ("hardly anything is bright enough to be seen", dark),
        "over-exposed": ("hardly anything is dark enough to be seen", bright),
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
    found = [np.zeros((0, 3), dtype=np.float32)]
    for values in ordered_map(lambda rows: [_look(image) for image in context.images.pixels(rows)], parts, ahead=1):
        found.append(np.array(values, dtype=np.float32))
    low, high, blur = np.concatenate(found).T
    return Look(low, high, blur)


def blur_metric(grey: Floats) -> float:
    """Return how blurred an image (height, width) in levels is, from 0 (sharp) to 1.

    How little it changes when it is blurred again, in the direction that looks the more blurred (Crété et al. 2007,
    doi:10.1117/12.702790). It depends little on what the image shows, but on its size.

    >>> noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.float32)
    >>> wave = np.sin(np.arange(64) / 12)
    >>> soft = (100 * wave[:, None] * wave).astype(np.float32)
    >>> blur_metric(noise) < 0.3, blur_metric(soft) > 0.8
    (True, True)
    """
    return max(_blur(grey), _blur(grey.T))


def _blur(grey: Floats) -> float:
    # along the first axis; a mean over 9 pixels from running sums
    if grey.shape[0] < 12:
        return 0.0
    sums = np.cumsum(grey, axis=0, dtype=np.float64)
    blurred = (sums[9:] - sums[:-9]) / 9
    before = np.abs(np.diff(grey[5:-4], axis=0))
    after = np.abs(np.diff(blurred, axis=0))
    total = float(before.sum())
    return 1 - float(np.maximum(before - after, 0).sum()) / total if total else 0.0


def _look(image: npt.NDArray[np.uint8]) -> tuple[float, float, float]:
    grey = luminance(image)
    counts = np.cumsum(np.bincount(grey.astype(np.uint8).ravel(), minlength=256)) / grey.size
    return float(np.searchsorted(counts, 0.01)), float(np.searchsorted(counts, 0.99)), blur_metric(grey)


def _grey(thumbnails: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    spread = thumbnails.max(axis=3).astype(np.int16) - thumbnails.min(axis=3)
    return np.asarray(spread.max(axis=(1, 2), initial=0) < GREY)


def _rare(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    # What many images have is how this dataset is.
    return mask & (np.count_nonzero(mask) < RARE * len(mask))
