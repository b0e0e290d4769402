"""Dataset: the columns that describe every image: path, label, split, group, content hash.

The only thing in memory that grows with the number of images (some 400 bytes each); pixels stay on disk.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fieldmark import storage
from fieldmark.images.corrections import Correction
from fieldmark.images.names import counted, printable, some
from fieldmark.images.problems import Problem
from fieldmark.storage import guard

SPLITS = ("train", "validation", "test")
COLUMNS = ("path", "split", "class", "group", "sha256", "width", "height", "format")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with their labels, splits and groups; the rows of all columns belong together.

    `splits` holds "train", "validation", "test", or "" where nothing is decided yet. `hashes` (SHA-256 of the
    file's bytes), `sizes` (upright width and height in pixels) and `formats` are empty until the files are read.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]  # below root with "/" between folders; absolute where outside
    labels: npt.NDArray[np.int32]  # (n,), index into classes
    splits: npt.NDArray[np.str_]  # (n,)
    problems: tuple[Problem, ...] = ()
    groups: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    formats: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()  # labels that a table set right, and images it left out

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        # The columns themselves fill screens, and in a notebook whatever stands on a cell's last line is shown.
        classes = f"{counted(len(self.classes), 'class', 'classes')} ({printable(some(self.classes))})"
        images = f"{counted(len(self), 'image')} in {classes}, {counted(len(self.problems), 'problem')}"
        return f"<Dataset {printable(str(self.root))}: {images}>"

    def file(self, index: int) -> Path:
        """Where the image with this index lies."""
        return self.root / self.paths[index]

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """The indices of one split's images, in order."""
        return np.flatnonzero(self.splits == split)

    def replace(self, **columns: object) -> Dataset:
        """A copy with other columns."""
        return dataclasses.replace(self, **columns)  # type: ignore[arg-type]

    def keep(self, rows: npt.NDArray[np.int64]) -> Dataset:
        """The dataset of these rows only; problems stay."""

        def taken(column: Sequence[object]) -> tuple[object, ...]:
            return tuple(column[int(row)] for row in rows) if len(column) else ()

        columns = {name: taken(getattr(self, name)) for name in ("paths", "groups", "hashes", "sizes", "formats")}
        return self.replace(labels=self.labels[rows], splits=self.splits[rows], **columns)

    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: images}} for every split that has images."""
        rows = {split: self.rows(split) for split in ("", *SPLITS)}
        return {
            split: dict(zip(self.classes, self._count(found), strict=True))
            for split, found in rows.items()
            if len(found)
        }

    def _count(self, rows: npt.NDArray[np.int64]) -> list[int]:
        counted: list[int] = np.bincount(self.labels[rows], minlength=len(self.classes)).tolist()
        return counted

    @property
    def fingerprint(self) -> str:
        """SHA-256 over (class, content hash) of all images, whatever their order and names."""
        lines = sorted(f"{self.classes[label]}\0{hash_}" for label, hash_ in zip(self.labels, self.hashes, strict=True))
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def write_csv(path: Path, dataset: Dataset) -> None:
    """Write one row an image with COLUMNS, as UTF-8; cells that a spreadsheet would run are guarded."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row, name in enumerate(dataset.paths):
        width, height = dataset.sizes[row]
        label, group = dataset.classes[dataset.labels[row]], dataset.groups[row]
        told = (dataset.hashes[row], width, height, dataset.formats[row])
        writer.writerow((guard(name), dataset.splits[row], guard(label), guard(group), *told))
    storage.write_text(path, text.getvalue())
