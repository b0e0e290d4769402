"""Sources: what a program may give a classifier to answer, and what is said of all else.

A path, a PIL image or a NumPy array, one or many. Each is looked at before any thread decodes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fieldmark.errors import RecipeError

Source = str | os.PathLike[str] | npt.NDArray[np.uint8] | Image.Image

EXPECTED = "expected a path, a PIL image, or a NumPy array uint8 (height, width, 3)"
CHANNELS = (1, 3)  # that a picture of three dimensions may have


def as_sources(given: Source | Iterable[Source]) -> Iterable[Source]:
    """One source as a list of one; many as they are. Raises RecipeError for what is neither.

    >>> as_sources("a.jpg"), as_sources(["a.jpg", "b.jpg"])
    (['a.jpg'], ['a.jpg', 'b.jpg'])
    """
    if isinstance(given, str | os.PathLike | Image.Image) or (isinstance(given, np.ndarray) and given.ndim < 4):
        return [given]
    if isinstance(given, np.ndarray):
        return given
    # A column of paths (of pandas) is an array of one dimension, too; a tensor of more would fall into its rows.
    is_array = len(getattr(given, "shape", (0,))) != 1
    if is_array or isinstance(given, bytes | bytearray | Mapping) or _is_file(given) or not isinstance(given, Iterable):
        raise _refusal(f"what was given is {_kind(given)}", given)
    return given


def checked(sources: Iterable[Source]) -> Iterator[Source]:
    """Yield each source; raises RecipeError at the first that is none, with its number, counted from 1.

    >>> list(checked(["a.jpg", "b.jpg"]))
    ['a.jpg', 'b.jpg']
    """
    for number, source in enumerate(sources, start=1):
        if isinstance(source, np.ndarray):
            _require_picture(source, f"image {number}")
        elif not isinstance(source, str | os.PathLike | Image.Image):
            raise _refusal(f"image {number} is {_kind(source)}", source)
        yield source


def array_picture(array: npt.NDArray[np.uint8]) -> Image.Image:
    """The picture of an array that `checked` let through."""
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _require_picture(array: npt.NDArray[Any], what: str) -> None:
    hints = [hint for hint in (_shape_hint(array), _values_hint(array)) if hint]
    if hints:
        raise RecipeError(
            f"{what} is an array of {array.dtype} {array.shape}; expected uint8 (height, width, 3) or (height, width)",
            hint="; ".join(hints),
        )


def _shape_hint(array: npt.NDArray[Any]) -> str:
    """What to do about the shape of one image; empty where it can be one."""
    shape = array.shape
    if array.dtype.kind in "OUS":
        return "an array of paths is given as a list: array.tolist()"
    if not array.size:
        return "the array is empty: look at how it was read or cut out"
    if array.ndim == 2 or (array.ndim == 3 and shape[2] in CHANNELS):
        return ""
    if array.ndim > 3:
        return "give a batch (images, height, width, 3) itself, not a list of batches"
    if array.ndim == 3 and shape[0] in (1, 3, 4):
        return "the channels come last: array.transpose(1, 2, 0), of a batch array.transpose(0, 2, 3, 1)"
    if array.ndim == 3 and shape[2] == 4:
        return "array[:, :, :3] leaves transparency out; PIL.Image.fromarray(array) has it laid on white, as of a file"
    if array.ndim == 3:
        return f"of its {shape[2]} channels give red, green and blue, such as array[:, :, [0, 1, 2]]"
    return "one image has rows and columns: array.reshape(height, width, 3)"


def _values_hint(array: npt.NDArray[Any]) -> str:
    """What to do about the values of one image; empty where they are bytes, or there are none."""
    if array.dtype == np.uint8 or array.dtype.kind in "OUS" or not array.size:
        return ""
    if array.dtype == np.bool_:
        return "of False and True: array.astype(numpy.uint8) * 255"
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            return "some of its values are no numbers (NaN or infinite): look at how it was made"
        low, high = float(array.min()), float(array.max())
        if low < 0:
            return f"its values go from {low:g} to {high:g}: undo the scaling, so that they are pixels from 0 to 255"
        if high <= 1:
            return "its values are within 0-1: (array * 255).round().astype(numpy.uint8)"
    if array.dtype == np.uint16 and int(array.max()) > 255:
        return "of 16 bits: (array // 257).astype(numpy.uint8)"
    return "where its values are pixels from 0 to 255: array.astype(numpy.uint8)"


def _refusal(message: str, found: Any) -> RecipeError:
    return RecipeError(f"{message}; {EXPECTED}", hint=_hint(found))


def _hint(found: Any) -> str:
    """What to do with an object that is no source."""
    if isinstance(found, bytes | bytearray):
        return "open the bytes of an image file: PIL.Image.open(io.BytesIO(data))"
    if _is_file(found):
        return "give its path, or PIL.Image.open(file)"
    if isinstance(found, Mapping):
        return "give what it holds as a list: list(images.values())"
    if callable(getattr(found, "numpy", None)):
        return "a tensor becomes an array with tensor.numpy(); channels last and uint8, values from 0 to 255"
    if callable(getattr(found, "__array__", None)):
        return "make it an array: numpy.asarray(image); uint8, values from 0 to 255"
    if isinstance(found, list | tuple):
        return "give one flat list of images; numbers as numpy.array(rows, dtype=numpy.uint8)"
    if found is None:
        return "an image that could not be read, perhaps: give its path, and the answer says what is wrong with it"
    return "classifier.predict(['a.jpg', 'b.jpg'])"


def _is_file(found: Any) -> bool:
    return callable(getattr(found, "read", None))


def _kind(found: Any) -> str:
    """What an object is: "None", "a dict of 2", "a torch.Tensor (3, 8, 8)"."""
    if found is None:
        return "None"
    kind = type(found)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
    named = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    shape = getattr(found, "shape", None)
    if shape is not None:
        return f"{named} {tuple(shape)}"
    return f"{named} of {len(found)}" if isinstance(found, list | tuple | Mapping | bytes) else named
