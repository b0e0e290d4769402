"""Alignment: whether two pictures show the same scene, told by laying one over the other and looking at details.

Small pictures of any two scenes resemble each other by chance (sky above, grass below); details do not. So a pair is
first laid over: turned, mirrored, cropped and shifted roughly, then by Gauss-Newton steps on an affine map that
make the brightness agree (Lucas & Kanade 1981; independent of contrast as in Evangelidis & Psarakis 2008,
doi:10.1109/TPAMI.2008.113). What counts afterwards is the correlation of what stands out from its surroundings,
over the part that both pictures show; everywhere on the scale of how much stands out there, so that the texture of a
leaf counts as much as its outline, which the next leaf has, too. And what varies along the lines must agree as well.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.intp]

FINE, COARSE = 56, 28  # pixels a side of the pictures that are compared
ROUGH = 14  # pixels a side where the start is searched
CROPS = (0.9, 0.8)  # shares of a side that the rough search knows
COARSE_STEPS, FINE_STEPS = 10, 4  # Gauss-Newton steps
PROMISING = 0.4  # of the coarse pictures; below it the fine ones are not looked at
ALIKE = 0.7  # of the fine pictures; below it nobody asks what else agrees: that takes as long as all before, 4 ms
BLOCK = 128  # pairs at a time: their pictures stay in the processor's cache

# An alignment that maps one picture on less than this share of the other, or shears it, explains nothing.
LEAST_OVERLAP = 0.5
MOST_STRETCH = 1.6
MOST_SKEW = 0.25
DETAIL = 2.0  # pixels: what varies more slowly than over so many is lighting, sky and ground
AROUND = 2.0  # pixels: over so many it is seen how much stands out at a place
FAINT = 8.0  # levels: what stands out less counts less, down to the noise that encoding adds
# Slopes across the course of lines, see `_crosswise`: of a picture smoothed by so many pixels, over so many around.
SMOOTH, COURSE = 1.0, 3.0  # pixels
FAINT_SLOPE = 2.0  # levels a pixel
LEAST_CROSSWISE = 0.3  # correlation; below it lines agree and nothing else (docs/decisions/0011-checks.md)
# Below this one, outlines and stripes may be most of what agrees: likeness counts so much less.
SURE_CROSSWISE, DOUBT = 0.6, 0.03
INNER = 0.95  # of a place's surroundings must count, so that no slope is that of an edge of what counts
# Levels at which a picture is burnt out: there it says nothing, nor do frames and corners in black and white.
BLACK, WHITE = 4.0, 250.0
LEAST_SAID = 0.15  # of the overlap: where less is left, burnt out places count as well
LEAST_FRAME, MOST_FRAME = 0.02, 0.15  # of a side: the width of a frame drawn around a picture
EVEN = 16.0  # levels: the most that a frame's colour varies, for what encoding does to it
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def planes(images: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> Floats:
    """Return the luminance of n images, each uint8 (height, width, 1 or 3), as area means, float32 (n, 56, 56)."""
    result = np.empty((len(images), FINE, FINE), dtype=np.float32)
    for number, image in enumerate(images):
        height, width, channels = image.shape
        grey = image @ LUMINANCE if channels == 3 else image[:, :, 0].astype(np.float32)
        result[number] = _area(height, FINE) @ grey @ _area(width, FINE).T
    return result


def without_frame(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an image (height, width, 1 or 3) without the frame that someone drew around it, if there is one.

    A frame has one colour, and the same width on opposite sides; a figure on plain white has neither.

    >>> framed = np.full((100, 80, 3), 255, np.uint8)
    >>> framed[6:-6, 5:-5] = 90
    >>> without_frame(framed).shape, without_frame(framed[:-6]).shape
    ((86, 68, 3), (94, 80, 3))
    """
    grey = image @ LUMINANCE if image.shape[2] == 3 else image[:, :, 0].astype(np.float32)
    level = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    other = np.abs(grey - level) > EVEN
    cut = []
    for lines in (other, other.T):
        ends = [_plain_lines(lines), _plain_lines(lines[::-1])]
        low, high = LEAST_FRAME * len(lines), MOST_FRAME * len(lines)
        if not low <= min(ends) <= max(ends) <= high or max(ends) - min(ends) > max(2.0, low):
            return image
        # One more, for the edge of a frame is blurred where the image was resized.
        cut.append(slice(ends[0] + 1, len(lines) - ends[1] - 1))
    return image[cut[0], cut[1]]


def _plain_lines(other: npt.NDArray[np.bool_]) -> int:
    # How many of the first lines hold hardly anything else.
    return int((other.mean(axis=1) <= 0.01).argmin())


def similarity(pictures: Floats, pairs: Pairs) -> Floats:
    """Return for each of the pairs (m, 2) of rows of `pictures` (from `planes`) how alike their details are, (m,).

    1 for the same picture, 0 where lines agree and nothing along them does. Measured: docs/decisions/0011-checks.md.
    """
    scores = np.zeros(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), BLOCK):
        part = pairs[start : start + BLOCK]
        scores[start : start + BLOCK] = _similarity(pictures[part[:, 0]], pictures[part[:, 1]])
    return scores


def turned(pictures: Floats, turn: int) -> Floats:
    """Return square pictures (n, side, side) at one of the 8 turns and mirrors; 0 leaves them as they are."""
    rotated = np.rot90(pictures, turn % 4, axes=(1, 2))
    return rotated[:, :, ::-1] if turn >= 4 else rotated


def _similarity(a: Floats, b: Floats) -> Floats:
    turns, maps = _start(_reduced(a, ROUGH), _reduced(b, ROUGH))
    b = np.stack([turned(picture[None], int(turn))[0] for picture, turn in zip(b, turns, strict=True)])
    small_a, small_b = _reduced(a, COARSE), _reduced(b, COARSE)
    maps = _refine(small_a, small_b, maps, COARSE_STEPS)
    scores = _detail_correlation(small_a, small_b, maps)
    near = np.flatnonzero(scores >= PROMISING)
    if len(near):
        maps[near] = _refine(a[near], b[near], maps[near], FINE_STEPS)
        scores[near] = _detail_correlation(a[near], b[near], maps[near])
    alike = np.flatnonzero(scores >= ALIKE)
    if len(alike):
        along_lines = _crosswise(a[alike], b[alike], maps[alike])
        scores[alike[along_lines < SURE_CROSSWISE]] -= DOUBT
        scores[alike[along_lines < LEAST_CROSSWISE]] = 0
    return scores


@functools.cache
def _area(length: int, side: int) -> Floats:
    # (side, length): area means along one side.
    edges = np.arange(side + 1) * (length / side)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None]
    covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    return np.asarray(covered * (side / length), dtype=np.float32)


def _reduced(pictures: Floats, side: int) -> Floats:
    factor = pictures.shape[1] // side
    reduced = pictures.reshape(len(pictures), side, factor, side, factor).mean(axis=(2, 4))
    return np.asarray(reduced, dtype=np.float32)


def _windows() -> list[tuple[float, float, float]]:
    # (scale, x, y) of the parts of a picture that the rough search compares with the whole other one; the middle
    # of each in coordinates from -1 to 1.
    places = [
        (scale, (1 - scale) * x, (1 - scale) * y)
        for scale in CROPS
        for x, y in itertools.product((-1.0, 0.0, 1.0), repeat=2)
    ]
    return [(1.0, 0.0, 0.0), *places]


WINDOWS = _windows()


def _start(a: Floats, b: Floats) -> tuple[Pairs, Floats]:
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


def _window_maps(*, inverse: bool) -> Floats:
    # (windows, 2, 3): from places in a whole picture to places in the one it is a window of, or back.
    maps = []
    for scale, x, y in WINDOWS:
        if inverse:
            scale, x, y = 1 / scale, -x / scale, -y / scale
        maps.append([[scale, 0.0, x], [0.0, scale, y]])
    return np.array(maps, dtype=np.float32)


INTO_WINDOWS, OUT_OF_WINDOWS = _window_maps(inverse=False), _window_maps(inverse=True)


def _cut(pictures: Floats) -> Floats:
    """The windows of pictures, each resampled to the full side: (m, windows, side, side)."""
    side = pictures.shape[1]
    grid = _grid(side)
    parts = []
    for scale, x, y in WINDOWS:
        rows, columns = _linear(scale * grid + y, side), _linear(scale * grid + x, side)
        parts.append(rows @ pictures @ columns.T)
    return np.stack(parts, axis=1)


def _grid(side: int) -> Floats:
    return ((np.arange(side) + 0.5) * (2 / side) - 1).astype(np.float32)


def _linear(places: Floats, side: int) -> Floats:
    # (len(places), side): linear interpolation at places from -1 to 1.
    index = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)
    return np.asarray(np.clip(1 - np.abs(index[:, None] - np.arange(side)[None]), 0, 1), dtype=np.float32)


def _normalised(pictures: Floats) -> Floats:
    flat = pictures.reshape(*pictures.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-3), dtype=np.float32)


def _refine(a: Floats, b: Floats, maps: Floats, steps: int) -> Floats:
    """Maps (m, 2, 3) that lay b over a better, by Gauss-Newton steps."""
    side = a.shape[1]
    x, y, places = _places(side)
    along_y, along_x = (np.asarray(slope, dtype=np.float32) for slope in np.gradient(b, 2 / side, axis=(1, 2)))
    flat = a.reshape(len(a), -1)
    for _ in range(steps):
        moved = maps @ places  # (m, 2, cells)
        (shown, slope_x, slope_y), inside = _sample((b, along_x, along_y), moved)
        inside = _said(inside, flat, shown)
        wanted, _ = _standardised(flat, inside)
        got, contrast = _standardised(shown, inside)
        residual = (wanted - got) * inside
        slope_x, slope_y = (slope * inside / contrast for slope in (slope_x, slope_y))
        jacobian = np.stack([slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y], axis=1)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        damping = 1e-2 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6
        step = np.linalg.solve(normal + damping * np.eye(6, dtype=np.float32), jacobian @ residual[:, :, None])
        maps = maps + np.clip(step, -0.2, 0.2).reshape(-1, 2, 3).astype(np.float32)
    return maps


def _places(side: int) -> tuple[Floats, Floats, Floats]:
    # x and y of every cell (cells,), and both with ones (3, cells).
    y, x = (plane.ravel() for plane in np.meshgrid(_grid(side), _grid(side), indexing="ij"))
    return x, y, np.stack([x, y, np.ones_like(x)])


def _said(inside: Floats, a: Floats, b: Floats) -> Floats:
    """The places (m, cells) that count: those inside that are burnt out in neither picture, if enough are left."""
    said = inside * ((np.minimum(a, b) > BLACK) & (np.maximum(a, b) < WHITE))
    enough = said.sum(axis=1) >= LEAST_SAID * inside.sum(axis=1)
    return np.where(enough[:, None], said, inside)


def _sample(planes: tuple[Floats, ...], places: Floats) -> tuple[list[Floats], Floats]:
    """The planes (m, side, side) at places (m, 2, cells) from -1 to 1, and which places lie inside, as 0 and 1."""
    side = planes[0].shape[1]
    index = (places + 1) * (side / 2) - 0.5
    inside = np.asarray((np.abs(places) <= 1).all(axis=1), dtype=np.float32)
    index = np.clip(index, 0, side - 1.001)
    low = index.astype(np.intp)
    part = (index - low).astype(np.float32)
    base = np.arange(len(places))[:, None] * side * side + low[:, 1] * side + low[:, 0]
    right, down = part[:, 0], part[:, 1]
    weights = ((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down)
    corners = tuple(zip(weights, (0, 1, side, side + 1), strict=True))
    found = []
    for plane in planes:
        flat = plane.reshape(-1)
        value = np.zeros(base.shape, dtype=np.float32)
        for weight, step in corners:
            value += weight * flat[base + step]
        found.append(value)
    return found, inside


def _standardised(values: Floats, inside: Floats) -> tuple[Floats, Floats]:
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    centred = values - (values * inside).sum(axis=1, keepdims=True) / count
    contrast = np.sqrt(np.maximum((centred**2 * inside).sum(axis=1, keepdims=True) / count, 1.0))
    return centred / contrast, contrast


def _detail_correlation(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the details of a and of b laid over it; 0 where the map is none that a copy could have."""
    side = a.shape[1]
    flat = a.reshape(len(a), -1)
    (shown,), overlap = _sample((b,), maps @ _places(side)[2])
    inside = _said(overlap, flat, shown)
    details = [_details(picture, inside, side) for picture in (flat, shown)]
    count = np.maximum(inside.sum(axis=1), 1)
    correlation = (details[0] * details[1] * inside).sum(axis=1) / count
    return np.where(_plausible(maps, overlap), correlation, 0.0).astype(np.float32)


def _crosswise(a: Floats, b: Floats, maps: Floats) -> Floats:
    """The correlation of the slopes of a and of b laid over it, everywhere along the lines that run there, (m,).

    A straight outline or vein agrees with any other one laid over it, wherever along it the picture lies. So what
    counts are slopes in the direction in which the pictures vary least around a place (the weak direction of the
    structure tensor, Förstner & Gülch 1987): spots, ends and corners.
    """
    side = a.shape[1]
    flat = a.reshape(len(a), -1)
    (shown,), overlap = _sample((b,), maps @ _places(side)[2])
    inside = _said(overlap, flat, shown)
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


def _details(flat: Floats, inside: Floats, side: int) -> Floats:
    """What stands out from its surroundings, on the scale of how much does there; only places inside count."""
    details = (flat - _mean_around(flat, inside, side, DETAIL)) * inside
    energy = _mean_around(details**2, inside, side, AROUND)
    # `_standardised` takes less than one level for no contrast: back to levels.
    return _standardised(10 * details / np.sqrt(energy + FAINT**2), inside)[0]


def _mean_around(flat: Floats, inside: Floats, side: int, reach: float) -> Floats:
    # A mean over neighbouring places inside, weighted by a bell of so many pixels.
    blur = _gaussian(side, reach)
    total = blur @ (flat * inside).reshape(-1, side, side) @ blur.T
    weight = blur @ inside.reshape(-1, side, side) @ blur.T
    return np.asarray((total / np.maximum(weight, 1e-3)).reshape(len(flat), -1), dtype=np.float32)


def _gaussian(side: int, reach: float) -> Floats:
    apart = np.arange(side)[:, None] - np.arange(side)[None]
    return np.exp(-(apart**2) / (2 * reach**2)).astype(np.float32)


def _plausible(maps: Floats, inside: Floats) -> npt.NDArray[np.bool_]:
    maps = np.nan_to_num(maps)
    stretches = np.linalg.svd(maps[:, :, :2], compute_uv=False)
    skew = np.abs((maps[:, :, 0] * maps[:, :, 1]).sum(axis=1)) / np.maximum(stretches.prod(axis=1), 1e-6)
    usual = (stretches <= MOST_STRETCH).all(axis=1) & (stretches >= 1 / MOST_STRETCH).all(axis=1)
    return np.asarray(usual & (skew <= MOST_SKEW) & (inside.mean(axis=1) >= LEAST_OVERLAP))
