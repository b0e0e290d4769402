"""Read: every image of a Dataset is opened once, checked, decoded and resized into the cache, in threads.

What cannot be used becomes a problem row; what was decoded before, at this size, is only hashed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import PIL
from threadpoolctl import threadpool_limits

from fieldmark.errors import ImageError, NothingUsableError
from fieldmark.images import formats
from fieldmark.images.cache import Entry, RowStore, cache_folder
from fieldmark.images.cache_limit import DEFAULT_LIMIT_BYTES, limit_cache
from fieldmark.images.dataset import Dataset
from fieldmark.images.duplicates import thumbnail
from fieldmark.images.names import printable
from fieldmark.images.problems import PROBLEMS, Problem
from fieldmark.images.threads import ordered_map
from fieldmark.preprocessing import Pixels, Preprocessing

# Raised whenever the decoder's answer changes, so that no old pixels are used; the libraries' versions do the same.
DECODER = "1"
THUMBNAIL = (16, 16, 3)
MOST_TOGETHER = 8

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Images:
    """A read Dataset with its pixels: row i of the dataset is image i here."""

    dataset: Dataset
    store: RowStore
    decoded: int  # images decoded by this read; 0 when all were in the cache

    def pixels(self, rows: Sequence[int] | npt.NDArray[np.int64], *, out: Pixels | None = None) -> Pixels:
        """uint8 (len(rows), height, width, channels), values 0-255, read from the cache, into `out` if it is given."""
        return np.asarray(self.store.take([self.dataset.hashes[int(row)] for row in rows], "pixels", out=out))

    def thumbnails(self) -> Pixels:
        """uint8 (n, 16, 16, 3): every image's area mean."""
        if not len(self.dataset):
            return np.zeros((0, *THUMBNAIL), np.uint8)
        return np.asarray(self.store.take(self.dataset.hashes, "thumbnail"))


def pixel_store(preprocessing: Preprocessing) -> RowStore:
    """The cache of all images ever decoded with this preprocessing."""
    dtype = np.dtype([("pixels", np.uint8, preprocessing.shape), ("thumbnail", np.uint8, THUMBNAIL)])
    versions = f"{DECODER}-{PIL.__version__}-{imagecodecs.__version__}"
    return RowStore(cache_folder() / "pixels" / f"{preprocessing.pixels_key}-{versions}", dtype)


def read(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    cache_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    on_progress: Progress | None = None,
) -> Images:
    """Read every image once; the Dataset that comes back holds the usable ones, with hashes and sizes.

    Raises NothingUsableError if not one image can be used, OutputError if the cache cannot be written.
    """
    store = pixel_store(preprocessing)
    contents: list[str | None] = []
    problems: list[Problem] = []

    def read_one(row: int) -> tuple[str | None, _Decoded | Problem | None]:
        return _read_one(dataset, row, store, preprocessing)

    decoded = 0
    # One BLAS thread: every thread here makes thumbnails by products too small for several.
    with threadpool_limits(1, user_api="blas"), store.writer() as writer:
        made_of = ordered_map(read_one, range(len(dataset)), together=_together(len(dataset)))
        for row, (content, made) in enumerate(made_of):
            contents.append(content)
            if isinstance(made, Problem):
                problems.append(made)
            elif made is not None and content is not None:
                writer.add(content, made.row, made.note)
                decoded += 1
            if on_progress:
                on_progress(row + 1, len(dataset))
    images = Images(_with_contents(dataset, contents, store, problems), store, decoded)
    store.touch(images.dataset.hashes)
    limit_cache(cache_folder(), cache_limit_bytes, keep=store.hold(images.dataset.hashes))
    if not len(images.dataset):
        _raise_nothing_usable(dataset, images.dataset.problems)
    return images


def _together(images: int) -> int:
    """Images a thread is given at once: few enough that at the end no thread has many left and the others none."""
    return max(1, min(MOST_TOGETHER, images // (8 * (os.cpu_count() or 1))))


@dataclasses.dataclass(frozen=True)
class _Decoded:
    row: tuple[Pixels, Pixels] | None  # pixels and thumbnail
    note: dict[str, Any]


def _read_one(
    dataset: Dataset, row: int, store: RowStore, preprocessing: Preprocessing
) -> tuple[str | None, _Decoded | Problem | None]:
    """Hash one file and decode it if the cache does not know its content."""
    try:
        data = formats.read_bytes(dataset.file(row))
    except ImageError as error:
        return None, Problem(printable(dataset.paths[row]), error.code, error.detail)
    content = hashlib.sha256(data).hexdigest()
    if store.find(content):
        return content, None
    return content, _decode(data, preprocessing)


def _decode(data: bytes, preprocessing: Preprocessing) -> _Decoded:
    try:
        image = formats.decode(data, preprocessing)
    except ImageError as error:
        return _Decoded(None, {"code": error.code, "detail": error.detail})
    row = image.pixels, thumbnail(image.pixels)
    return _Decoded(row, {"format": image.format, "width": image.width, "height": image.height})


def _with_contents(
    dataset: Dataset, contents: Sequence[str | None], store: RowStore, problems: list[Problem]
) -> Dataset:
    """The usable rows with their hashes, sizes and formats, and all problems."""
    rows: list[int] = []
    entries: list[Entry] = []
    for row, content in enumerate(contents):
        entry = store.find(content) if content else None
        if entry is None:
            continue
        name = dataset.paths[row]
        if entry.row is None:
            problems.append(Problem(printable(name), entry.note["code"], entry.note["detail"]))
            continue
        mismatch = formats.suffix_mismatch(name, entry.note["format"])
        if mismatch:
            problems.append(Problem(printable(name), "suffix_mismatch", mismatch))
        rows.append(row)
        entries.append(entry)
    return dataset.keep(np.array(rows, dtype=np.int64)).replace(
        hashes=tuple(str(contents[row]) for row in rows),
        sizes=tuple((entry.note["width"], entry.note["height"]) for entry in entries),
        formats=tuple(entry.note["format"] for entry in entries),
        problems=(*dataset.problems, *problems),
    )


def _raise_nothing_usable(dataset: Dataset, problems: Sequence[Problem]) -> None:
    bad = [problem for problem in problems if not PROBLEMS[problem.code].usable]
    first = f"; the first: {bad[0].path}: {bad[0].detail}" if bad else ""
    raise NothingUsableError(
        f"{dataset.root}: not one of {len(dataset)} files can be used as an image{first}",
        hint=f"`fieldmark audit {dataset.root}` lists every file with its problem",
    )
