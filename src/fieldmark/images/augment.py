"""Augmentation: every epoch shows an image a little changed, so that a network learns what stays the same.

What happens to an image is a pure function of (seed, epoch, the image's content key): not of its place in a
batch, the order of the batches, the number of workers or any global state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark.errors import RecipeError

Pixels = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.float64]
Number = TypeVar("Number", float, npt.NDArray[np.float64])  # of one image, or of each of many


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far images are changed; the default changes nothing.

    A `factor` f means between 1/f and f, both sides equally often.
    """

    flip: float = 0.0  # probability of the mirror image
    zoom: float = 1.0  # factor of size; height and width alike
    shift: float = 0.0  # largest shift, as a share of width and height; the edge is repeated into the gap
    brightness: float = 1.0  # factor
    contrast: float = 1.0  # factor, about the middle grey
    saturation: float = 1.0  # factor
    gains: float = 1.0  # factor of red, green and blue, each for itself: the light's colour
    hue: float = 0.0  # largest turn of all colours, in degrees
    gray: float = 0.0  # probability of saturation zero
    convolve: float = 0.0  # probability that a random 3 x 3 convolution is mixed in: other texture, same shape
    lighten: float = 0.0  # probability that the surroundings fade towards white
    erase: float = 0.0  # probability that a rectangle is covered with one colour


# Chosen on held-out sequences of horses-or-humans' training split (four folds, n = 1,027, convnet at 96 px, share right
# in the last epoch; docs/log.md): strong colours alone .858; with zooms up to 1.3 .904, up to 1.5 .906, up to 1.8 .848;
# with zooms up to 1.5 and erasing .900, and lightened surroundings .887; strong colours stronger still .800.
# "texture": with all horses of one kind of coat left out and figures cut out on white (docs/log.md), zooms up to 1.3
# and shifts up to a tenth .81, with random convolutions in nine of ten images .89 (log loss .30), with half the shifts
# .90 (.25); with neither zooms nor shifts .90 (.24), but rice leaves then lose .04.
_COLOR = Augmentation(flip=0.5, brightness=1.3, contrast=1.5, saturation=2.0, gains=1.3, hue=30.0, gray=0.15)
_STANDARD = dataclasses.replace(_COLOR, zoom=1.3, shift=0.1)

AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "color": _COLOR,
    "standard": _STANDARD,
    "erasing": dataclasses.replace(_STANDARD, erase=0.5),
    "lighten": dataclasses.replace(_STANDARD, lighten=0.5),
    "texture": dataclasses.replace(_STANDARD, shift=0.05, convolve=0.9),
}

# One draw each, always from the same column: switching one change on or off leaves the others as they were.
_DRAWS = (
    *("flip", "zoom", "shift_x", "shift_y", "brightness", "contrast", "saturation"),
    *("gain_red", "gain_green", "gain_blue", "hue", "gray"),
    *("lighten", "lighten_x", "lighten_y", "lighten_radius", "lighten_strength"),
    *("erase", "erase_area", "erase_aspect", "erase_x", "erase_y", "erase_red", "erase_green", "erase_blue"),
    *("convolve", "convolve_wide", "convolve_strength"),
)
# The weights of a convolution: new colours, old colours, rows, columns.
FILTER = tuple(f"filter_{weight}" for weight in range(3 * 3 * 3 * 3))


def augment(images: Pixels, keys: Keys, *, name: str, seed: int, epoch: int) -> Pixels:
    """Return a changed copy of uint8 images (batch, height, width, 3 or 1), values 0-255, of the same shape.

    `keys` (batch,) holds each image's content key; equal image, seed and epoch always give an equal result.
    Raises RecipeError for a name that AUGMENTATIONS does not have, ValueError unless each image has a key.

    >>> images = np.full((2, 8, 8, 3), 200, dtype=np.uint8)
    >>> augment(images, np.array([11, 12], dtype=np.uint64), name="standard", seed=0, epoch=1).shape
    (2, 8, 8, 3)
    """
    augmentation = find_augmentation(name)
    if len(keys) != len(images):
        raise ValueError(f"{len(images)} images and {len(keys)} keys; expected one key for each image")
    if augmentation == Augmentation() or not len(images):
        return images.copy()
    draws = draw(keys, seed=seed, epoch=epoch)
    matrices = color_matrices(augmentation, draws)
    mixed = filters(augmentation, draws)
    padded = _pad_edges(images, augmentation)
    size = (images.shape[2], images.shape[1])
    result = np.empty_like(images)
    for index, pixels in enumerate(padded):
        own = {what: float(draws[what][index]) for what in _DRAWS}
        image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[:, :, 0])
        image = _place(image, size, augmentation, own)
        image = _recolor(image, matrices[index])
        if own["convolve"] < augmentation.convolve:
            image = _convolve(image, mixed[index])
        image = _lighten(image, augmentation, own)
        image = _erase(image, augmentation, own)
        result[index] = np.asarray(image).reshape(result.shape[1:])
    return result


def find_augmentation(name: str) -> Augmentation:
    """Return the augmentation of that name. Raises RecipeError, with the names there are."""
    if name not in AUGMENTATIONS:
        raise RecipeError(f"no augmentation is named {name!r}", hint=f"choose one of: {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def draw(keys: Keys, *, seed: int, epoch: int) -> Mapping[str, Numbers]:
    """Return, for each kind of change, one uniform number (batch,) in [0, 1) an image.

    SplitMix64's finaliser (Steele et al. 2014, doi:10.1145/2660193.2660195) over seed, epoch, key and kind:
    as it maps 64 bits one to one, two keys, or one key in two epochs, never share all their numbers.

    >>> keys = np.array([7, 8], dtype=np.uint64)
    >>> [round(float(u), 3) for u in draw(keys, seed=0, epoch=1)["flip"]]
    [0.757, 0.253]
    """
    start = _mix(np.array([seed % 2**64], dtype=np.uint64))
    start = _mix(start + np.uint64(epoch % 2**64))
    names = (*_DRAWS, *FILTER)
    columns = _mix(np.arange(1, len(names) + 1, dtype=np.uint64))
    bits = _mix(_mix(keys.astype(np.uint64) ^ start)[None, :] ^ columns[:, None])
    uniform = (bits >> np.uint64(11)) * 2.0**-53
    return dict(zip(names, uniform, strict=True))


def _mix(bits: Keys) -> Keys:
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def color_matrices(augmentation: Augmentation, draws: Mapping[str, Numbers]) -> Numbers:
    """Fold all colour changes into float64 (batch, 3, 4) matrices: new = matrix[:, :3] @ old + matrix[:, 3]."""
    saturation = _factor(augmentation.saturation, draws["saturation"])
    saturation = np.where(draws["gray"] < augmentation.gray, 0.0, saturation)[:, None, None]
    luma = np.tile(np.array([0.299, 0.587, 0.114]), (3, 1))
    matrix = saturation * np.eye(3) + (1 - saturation) * luma
    matrix = _turn_hue(np.radians(augmentation.hue) * (2 * draws["hue"] - 1)) @ matrix

    contrast = _factor(augmentation.contrast, draws["contrast"])[:, None]
    gains = np.stack([_factor(augmentation.gains, draws[f"gain_{c}"]) for c in ("red", "green", "blue")], 1)
    scale = contrast * _factor(augmentation.brightness, draws["brightness"])[:, None] * gains
    offset = np.broadcast_to(127.5 * (1 - contrast), gains.shape)
    matrix = np.concatenate([scale[:, :, None] * matrix, offset[:, :, None]], axis=2)
    # Multiples of 1/256 this small add up exactly in 32-bit floats, in whatever order a machine adds them.
    return np.asarray(np.rint(matrix * 256) / 256)


def filters(augmentation: Augmentation, draws: Mapping[str, Numbers]) -> Numbers:
    """Return the convolution of each image, about the middle grey: float64 (batch, 3 new colours, 3 old, 3, 3 pixels).

    A random one, over one pixel or nine, that keeps the strength of noise, mixed with the image as it was: random
    convolutions (Xu et al. 2020, arXiv:2007.13003). Where none is drawn it is the one that changes nothing.
    """
    same, middle = np.zeros((3, 3, 3, 3)), np.zeros((3, 3, 3, 3))
    same[[0, 1, 2], [0, 1, 2], 1, 1] = 1
    middle[:, :, 1, 1] = np.sqrt(9)  # one pixel instead of nine
    uniform = np.stack([draws[weight] for weight in FILTER], axis=1)
    noise = 2 * uniform.reshape(-1, *same.shape) - 1
    noise *= np.sqrt(3 / 27)  # uniform numbers have a variance of 1/3; 27 of them are added up
    noise *= np.where(draws["convolve_wide"][:, None, None, None, None] < 0.5, 1, middle)
    strength = np.where(draws["convolve"] < augmentation.convolve, draws["convolve_strength"], 0)
    strength = strength[:, None, None, None, None]
    # Multiples of 1/256, as above
    return np.asarray(np.rint(((1 - strength) * same + strength * noise) * 256) / 256)


def _turn_hue(angle: Numbers) -> Numbers:
    # Rotation about the grey axis (1, 1, 1), by Rodrigues' formula: greys stay as they are.
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3)
    return np.asarray(cosine * np.eye(3) + sine * cross + (1 - cosine) / 3)


def _factor(factor: float, uniform: Numbers) -> Numbers:
    return np.asarray(factor ** (2 * uniform - 1))


def _pad_edges(images: Pixels, augmentation: Augmentation) -> Pixels:
    # Once for the whole batch, wide enough for every draw: np.pad for each image would cost half a resize.
    reach = augmentation.shift + (augmentation.zoom - 1) / 2
    margin = int(np.ceil(reach * max(images.shape[1:3])))
    if not margin:
        return images
    return np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")


def _place(
    image: Image.Image, size: tuple[int, int], augmentation: Augmentation, draws: Mapping[str, float]
) -> Image.Image:
    """Mirror, zoom and shift a padded image to one of `size` (width, height)."""
    if draws["flip"] < augmentation.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.zoom == 1 and augmentation.shift == 0:
        return image
    zoom = augmentation.zoom ** (2 * draws["zoom"] - 1)
    middle_x = image.width / 2 + size[0] * augmentation.shift * (2 * draws["shift_x"] - 1)
    middle_y = image.height / 2 + size[1] * augmentation.shift * (2 * draws["shift_y"] - 1)
    half_x, half_y = size[0] / zoom / 2, size[1] / zoom / 2
    box = (middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y)
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def _recolor(image: Image.Image, matrix: Numbers) -> Image.Image:
    if image.mode == "RGB":
        return image.convert("RGB", tuple(matrix.ravel().tolist()))
    # A grey image has one channel to change: it takes the mean of what its grey would become.
    weight, offset = matrix[:, :3].sum() / 3, matrix[:, 3].mean()
    table = np.clip(np.rint(np.arange(256) * weight + offset), 0, 255)
    return image.point(table.astype(int).tolist())


def _convolve(image: Image.Image, weights: Numbers) -> Image.Image:
    # Plane by plane, in few large steps: as one matrix product it takes more than twice as long.
    old = np.asarray(image, dtype=np.float32).reshape(image.height, image.width, -1) - 128
    if old.shape[2] == 1:  # a grey image: the mean of what its grey would become
        weights = np.rint(weights.sum(1, keepdims=True).mean(0, keepdims=True) * 256) / 256  # multiples, as above
    padded = np.pad(old, ((1, 1), (1, 1), (0, 0)), mode="edge").transpose(2, 0, 1).copy()
    new = np.full((len(weights), image.height, image.width), 128, np.float32)
    for color, row, column in zip(*np.nonzero(weights.any(axis=0)), strict=True):
        moved = padded[color, row : row + image.height, column : column + image.width]
        new += moved * weights[:, color, row, column, None, None].astype(np.float32)
    pixels = np.clip(np.rint(new), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def spot(draws: Mapping[str, Number]) -> tuple[Number, Number, Number, Number]:
    """What is not lightened: its middle (x, y) and radius as shares of the image; and how far all else is, 0.5 to 1."""
    x, y = 0.4 + 0.2 * draws["lighten_x"], 0.4 + 0.2 * draws["lighten_y"]
    return x, y, 0.25 + 0.2 * draws["lighten_radius"], 0.5 + 0.5 * draws["lighten_strength"]


def erased_sides(draws: Mapping[str, Number], height: int, width: int) -> tuple[Number, Number]:
    """Width and height in pixels of what is erased, before rounding: 2 to 20 % of the image, at most twice as long."""
    area = (0.02 + 0.18 * draws["erase_area"]) * width * height
    aspect = 2.0 ** (2 * draws["erase_aspect"] - 1)
    return (area * aspect) ** 0.5, (area / aspect) ** 0.5


def _lighten(image: Image.Image, augmentation: Augmentation, draws: Mapping[str, float]) -> Image.Image:
    """Fade what lies outside a soft ellipse near the middle towards white."""
    if draws["lighten"] >= augmentation.lighten:
        return image
    middle_x, middle_y, radius, strength = spot(draws)
    x = (np.arange(image.width) + 0.5) / image.width - middle_x
    y = (np.arange(image.height) + 0.5) / image.height - middle_y
    distance = np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)
    fade = np.clip((distance - radius) / 0.2, 0, 1) * strength
    mask = Image.fromarray(np.rint(255 * (1 - fade)).astype(np.uint8))
    return Image.composite(image, Image.new(image.mode, image.size, "white"), mask)


def _erase(image: Image.Image, augmentation: Augmentation, draws: Mapping[str, float]) -> Image.Image:
    """Cover a rectangle with one colour (random erasing, arXiv:1708.04896)."""
    if draws["erase"] >= augmentation.erase:
        return image
    wide, high = erased_sides(draws, image.height, image.width)
    width, height = max(1, min(image.width, round(wide))), max(1, min(image.height, round(high)))
    left = int(draws["erase_x"] * (image.width - width + 1))
    top = int(draws["erase_y"] * (image.height - height + 1))
    color = tuple(int(256 * draws[f"erase_{name}"]) for name in ("red", "green", "blue"))
    image.paste(color if image.mode == "RGB" else color[0], (left, top, left + width, top + height))
    return image
