"""Samples: some images of every class as one picture, to look at before anything is trained."""

from __future__ import annotations

import functools
import hashlib
import heapq
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from fieldmark.errors import DatasetError, FieldmarkError, ImageError
from fieldmark.images.formats import load
from fieldmark.preprocessing import Preprocessing

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK, TILE = "white", (30, 30, 34), (205, 205, 208)
MINIMUM_THUMBNAIL = 16  # pixels
MAXIMUM_PICTURE = 100_000_000  # pixels; 300 MB while it is drawn


class ProblemRow(NamedTuple):
    """One image of the picture that could not be shown."""

    path: Path
    code: str  # a key of fieldmark.images.problems.PROBLEMS


def sample_grid(
    paths_by_class: Mapping[str, Sequence[Path]], *, per_class: int = 8, seed: int = 0, thumbnail: int = 128
) -> tuple[Image.Image, list[ProblemRow]]:
    """Return one picture with a row of random images for each class, and the images that could not be shown.

    Each image is fitted into `thumbnail` × `thumbnail` pixels on white; one that cannot be decoded becomes a
    grey tile with its problem code. The choice depends on the seed and the names, never on their order.
    Raises DatasetError without any class, FieldmarkError for a picture too small or too large to draw.
    """
    if not paths_by_class:
        raise DatasetError("no classes to show", hint="point at the directory with one folder for each class")
    gap, heading = thumbnail // 16, thumbnail // 4
    rows = {name: choose(paths, per_class, seed=seed) for name, paths in paths_by_class.items()}
    width = gap + per_class * (thumbnail + gap)
    row_height = heading + thumbnail + gap
    _require_drawable(width, gap + row_height * len(rows), per_class=per_class, thumbnail=thumbnail)
    picture = Image.new("RGB", (width, gap + row_height * len(rows)), PAPER)
    problems = []
    for number, (name, paths) in enumerate(rows.items()):
        top = gap + number * row_height
        heading_at = (gap, top + heading // 2)
        write(picture, legible(name, number + 1), heading_at, width - 2 * gap, size=max(8, thumbnail // 7))
        for column, path in enumerate(paths):
            image, code = tile(path, thumbnail)
            picture.paste(image, (gap + column * (thumbnail + gap), top + heading))
            if code is not None:
                problems.append(ProblemRow(path, code))
    return picture, problems


def choose(paths: Sequence[Path], count: int, *, seed: int) -> list[Path]:
    """Return `count` of the paths, or all, in a random order that depends on the seed and the names alone.

    >>> [path.name for path in choose([Path("a.png"), Path("b.png"), Path("c.png")], 2, seed=0)]
    ['c.png', 'b.png']
    """
    if not paths:
        return []
    # The part that all paths share is left out: the same folder elsewhere gives the same choice.
    shared = os.path.commonpath([path.parent for path in paths])

    def rank(path: Path) -> bytes:
        relative = str(path)[len(shared) :].replace(os.sep, "/").lstrip("/")
        return hashlib.sha256(f"{seed}/{relative}".encode("utf-8", "surrogatepass")).digest()

    return heapq.nsmallest(count, paths, key=rank)


def _require_drawable(width: int, height: int, *, per_class: int, thumbnail: int) -> None:
    if per_class < 1 or thumbnail < MINIMUM_THUMBNAIL:
        raise FieldmarkError(
            f"cannot draw {per_class} images of {thumbnail} pixels for each class",
            hint=f"ask for one image or more, of {MINIMUM_THUMBNAIL} pixels or more",
        )
    if width * height > MAXIMUM_PICTURE:
        raise FieldmarkError(
            f"the picture would have {width} × {height} pixels, more than {MAXIMUM_PICTURE:,}",
            hint="ask for fewer or smaller images, or point at a folder with fewer classes",
        )


def tile(path: Path, side: int) -> tuple[Image.Image, str | None]:
    """Return an image fitted into `side` × `side` pixels on white; or a grey tile, and the code written on it."""
    try:
        return Image.fromarray(load(path, Preprocessing(width=side, height=side, fit="pad"))), None
    except ImageError as error:
        grey = Image.new("RGB", (side, side), TILE)
        lines = error.code.split("_")
        size = max(7, side // 9)
        for number, line in enumerate(lines):
            middle = side // 2 + round((number - (len(lines) - 1) / 2) * size * 1.2)
            write(grey, line, (side // 2, middle), side - 4, size=size, anchor="mm")
        return grey, error.code


def write(image: Image.Image, text: str, at: tuple[int, int], width: int, *, size: int, anchor: str = "lm") -> None:
    """Write one line of text onto a picture, its middle cut out where it is wider than `width` pixels."""
    font = _font(size)
    ImageDraw.Draw(image).text(at, shorten(text, width, font), INK, font, anchor=anchor)


@functools.cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def legible(name: str, number: int) -> str:
    """Return a class name in the letters that Pillow's own font has, which are those of ASCII.

    Accents are left out; where any other letter is missing, the number of the class goes in front.

    >>> legible("Zoé", 1), legible("猫/kitten", 2)
    ('Zoe', '2: ?/kitten')
    """
    letters = [letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter)]
    known = [letter.isascii() and letter.isprintable() for letter in letters]
    text = "".join(letter if is_known else "?" for letter, is_known in zip(letters, known, strict=True))
    return text if all(known) else f"{number}: {text}"


def shorten(text: str, width: int, font: Font) -> str:
    """Cut the middle out of `text` until it is at most `width` pixels wide.

    >>> shorten("sparrows/male/adult", 80, ImageFont.load_default(12))
    'sparro…/adult'
    """
    short, kept = text, min(len(text), width)
    while kept > 1 and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
