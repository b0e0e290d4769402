"""Preprocessing: how an upright image becomes the array a network reads. One value, one function.

The same frozen value is used while training, stored in `model.onnx`, and used again by predict, serve and
evaluate, so that training and use cannot drift apart. From a file there is one way in:
`fieldmark.images.formats.load(path, preprocessing)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

Fit = Literal["stretch", "crop", "pad"]
Interpolation = Literal["bilinear", "nearest", "bicubic", "lanczos"]
Color = Literal["rgb", "grayscale"]
Pixels = npt.NDArray[np.uint8]
MAX_SIDE = 65_535  # pixels, of an input and of an image that is read: resizing takes memory with the length of a side
Box = tuple[float, float, float, float]  # left, top, right, bottom; pixels, parts of pixels allowed

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Every choice between an upright image and a network's input.

    >>> Preprocessing(width=150, height=150).shape
    (150, 150, 3)
    """

    width: int = 224  # pixels
    height: int = 224  # pixels
    fit: Fit = "stretch"  # stretch to the size; crop what sticks out; or pad with white
    interpolation: Interpolation = "bilinear"  # with antialiasing, as Pillow does it
    color: Color = "rgb"
    mean: float = 0.0  # subtracted from each pixel value 0-255, inside the graph
    deviation: float = 255.0  # divides what is left, inside the graph

    @property
    def channels(self) -> int:
        """Three for rgb, one for grayscale."""
        return 3 if self.color == "rgb" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        return self.height, self.width, self.channels

    @property
    def pixels_key(self) -> str:
        """A short name of all that shapes the uint8 pixels; mean and deviation do not."""
        fields = dataclasses.asdict(self)
        del fields["mean"], fields["deviation"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Preprocessing:
        """Rebuild the value. Raises TypeError for a field it does not know, ValueError for a value that none can have.

        >>> Preprocessing.from_json({"width": 150, "height": "150"})
        Traceback (most recent call last):
        ValueError: a preprocessing of height '150'; expected a whole number from 1 to 65535
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [name for name in fields if name not in known]:
            raise TypeError(f"a preprocessing with {unknown[0]!r}; expected {', '.join(known)}")
        found = cls(**fields)
        for name, (allowed, expected) in _ALLOWED.items():
            value = getattr(found, name)
            if not allowed(value):
                raise ValueError(f"a preprocessing of {name} {value!r}; expected {expected}")
        return found


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _one_of(choices: Collection[str]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"


# What each field may be, and in words: a file may come from anybody.
_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "width": (_is_side, f"a whole number from 1 to {MAX_SIDE}"),
    "height": (_is_side, f"a whole number from 1 to {MAX_SIDE}"),
    "fit": _one_of(get_args(Fit)),
    "interpolation": _one_of(get_args(Interpolation)),
    "color": _one_of(get_args(Color)),
    "mean": (_is_number, "a number"),
    "deviation": (lambda value: _is_number(value) and value > 0, "a number above 0"),
}


def to_pixels(image: Image.Image, preprocessing: Preprocessing, *, box: Box | None = None) -> Pixels:
    """Resize an upright image, or the `box` of it, to uint8 (height, width, channels), values 0-255.

    Transparent parts are laid on white; 16-bit values are scaled, never clipped.

    >>> white = Image.new("RGBA", (10, 20), (0, 0, 0, 0))
    >>> pixels = to_pixels(white, Preprocessing(width=4, height=4))
    >>> pixels.shape, int(pixels.min())
    ((4, 4, 3), 255)
    """
    image = _color(image, preprocessing.color)
    size = (preprocessing.width, preprocessing.height)
    whole = (0.0, 0.0, float(image.width), float(image.height))
    if image.size != size or box not in (None, whole):
        image = _FITS[preprocessing.fit](image, size, RESAMPLING[preprocessing.interpolation], box or whole)
    return np.asarray(image, dtype=np.uint8).reshape(preprocessing.shape)


def _color(image: Image.Image, color: Color) -> Image.Image:
    mode = "RGB" if color == "rgb" else "L"
    image = eight_bit(image)
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode == "LAB":  # which converts to RGB alone
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("LA") if image.mode == "La" else image
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(layer, mask=layer)
    return white


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale images of more than 8 bits a channel to 8 bits; others are returned as they are.

    Pillow's own `convert` clips instead, which turns most 16-bit photographs white (pytorch/pytorch#20524).
    16 bits are divided by 257. Images of 32-bit numbers do not say their range: whole numbers in 0-255 or 0-65535,
    fractions in 0-1, 0-255 or 0-65535 are taken for that range, and anything else is stretched from
    its least value to its greatest; what is not a number becomes 0.

    >>> np.asarray(eight_bit(Image.fromarray(np.array([[0, 257, 65535]], np.uint16)))).tolist()
    [[0, 1, 255]]
    """
    if image.mode.startswith("I;16"):
        return _from_sixteen(image)
    if image.mode == "I":
        return _scaled(image, (255.0, 65535.0))
    if image.mode == "F":
        return _scaled(image, (1.0, 255.0, 65535.0))
    return image


def _from_sixteen(image: Image.Image) -> Image.Image:
    bytes_of = np.rint(np.arange(65536) / 257).astype(np.uint8)
    gray = _by_bands(image, lambda values: bytes_of[values])
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    # A PNG of 16 bits may name one of its 65536 values as transparent
    gray.putalpha(_by_bands(image, lambda values: np.where(values == key, 0, 255).astype(np.uint8)))
    return gray


def _scaled(image: Image.Image, tops: tuple[float, ...]) -> Image.Image:
    low = high = 0.0
    for _, values in _bands(image):
        low = float(values.min(initial=low, where=np.isfinite(values)))
        high = float(values.max(initial=high, where=np.isfinite(values)))
    bottom, top = low, high
    for known in tops:
        if low >= 0 and high <= known:
            bottom, top = 0.0, known
            break

    def scale(values: npt.NDArray[Any]) -> Pixels:
        numbers = np.where(np.isfinite(values), values, 0).astype(np.float64)
        numbers -= bottom
        numbers *= 255.0 / (top - bottom)
        return np.rint(numbers, out=numbers).astype(np.uint8)

    return _by_bands(image, scale)


def _by_bands(image: Image.Image, function: Callable[[npt.NDArray[Any]], Pixels]) -> Image.Image:
    result = np.empty((image.height, image.width), dtype=np.uint8)
    for rows, values in _bands(image):
        result[rows] = function(values)
    return Image.fromarray(result)


def _bands(image: Image.Image) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    # The arrays of a whole photograph of 50 megapixels would take gigabytes
    height = max(1, 2**20 // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))


def resized_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return the (width, height) to which the whole of an image is resized, before cropping or padding.

    >>> [resized_size((400, 200), Preprocessing(100, 100, fit)) for fit in ("stretch", "crop", "pad")]
    [(100, 100), (200, 100), (100, 50)]
    """
    across, down = preprocessing.width / size[0], preprocessing.height / size[1]
    if preprocessing.fit == "stretch":
        return preprocessing.width, preprocessing.height
    scale = max(across, down) if preprocessing.fit == "crop" else min(across, down)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _stretch(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: Box) -> Image.Image:
    return image.resize(size, resample, box=box)


def _crop(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: Box) -> Image.Image:
    left, top, right, bottom = box
    scale = min((right - left) / size[0], (bottom - top) / size[1])
    # Rounding may make the product larger by the last bit, and Pillow refuses a box beyond the image
    across, down = max(0.0, right - left - size[0] * scale) / 2, max(0.0, bottom - top - size[1] * scale) / 2
    return image.resize(size, resample, box=(left + across, top + down, right - across, bottom - down))


def _pad(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: Box) -> Image.Image:
    left, top, right, bottom = box
    scale = min(size[0] / (right - left), size[1] / (bottom - top))
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    canvas = Image.new(image.mode, size, "white")
    resized = image.resize((width, height), resample, box=box)
    canvas.paste(resized, ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


_FITS = {"stretch": _stretch, "crop": _crop, "pad": _pad}
