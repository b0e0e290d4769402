"""Thumbnails: small copies of images beside the report, named by number, never by the user's names."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fieldmark import storage
from fieldmark.errors import ImageError
from fieldmark.images.formats import load
from fieldmark.images.threads import ordered_map
from fieldmark.preprocessing import Pixels, Preprocessing

# A card of the page is some 200 pixels wide; a photograph of this size takes about 10 KB.
LONGER_SIDE = 256  # pixels
JPEG_QUALITY = 85

Thumbnail = dict[str, Any]


def fitted(size: tuple[int, int] | None, side: int) -> Preprocessing:
    """The preprocessing that makes a small copy of an image of this (width, height): at most `side` pixels, not cut.

    >>> fitted((800, 400), 100).shape, fitted((30, 20), 100).shape, fitted(None, 100).shape
    ((50, 100, 3), (20, 30, 3), (100, 100, 3))
    """
    width, height = size or (side, side)
    scale = min(1.0, side / max(width, height, 1))
    # "pad" changes nothing where the size is the file's own, and never distorts a file that was replaced.
    return Preprocessing(width=max(1, round(width * scale)), height=max(1, round(height * scale)), fit="pad")


class Thumbnails:
    """Owner of the numbered image files of one report.

    `root` is the dataset's folder, `sizes` give (width, height) of each path. Each path is written once.
    """

    def __init__(self, root: Path | None, folder: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._root = root
        self._folder = folder
        self._sizes = sizes
        self._made: dict[str, Thumbnail | None] = {}

    def __call__(self, paths: Sequence[str]) -> list[Thumbnail | None]:
        """Return {"file", "width", "height"} (pixels) of each path; None for an image that cannot be read."""
        new = [path for path in dict.fromkeys(paths) if path not in self._made]
        for path, pixels in zip(new, ordered_map(self._pixels, new), strict=True):
            self._made[path] = None if pixels is None else self._write(pixels)
        return [self._made[path] for path in paths]

    @property
    def names(self) -> set[str]:
        """The names of all files written so far."""
        return {thumbnail["file"] for thumbnail in self._made.values() if thumbnail}

    def _pixels(self, path: str) -> Pixels | None:
        if self._root is None:
            return None
        try:
            return load(self._root / path, fitted(self._sizes.get(path), LONGER_SIDE))
        except (ImageError, OSError):
            return None

    def _write(self, pixels: Pixels) -> Thumbnail:
        height, width = pixels.shape[:2]
        name = f"{len(self.names) + 1}.jpg"
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=JPEG_QUALITY)
        storage.write_bytes(self._folder / name, content.getvalue())
        return {"file": name, "width": width, "height": height}
