"""Similar: the training images that look most like an uploaded one, to the classifier itself.

A classifier file carries the embeddings of its training images (of more than some thousands a spread choice:
`fieldmark.evaluation.familiarity`). The run beside it says whose they are.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import dataclasses
import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.classifier import Classifier
from fieldmark.errors import ImageError, ModelFileError, missing_extra
from fieldmark.evaluation.familiarity import bank_rows, unit
from fieldmark.evaluation.predictions import Predictions
from fieldmark.preprocessing import Pixels
from fieldmark.report.contents import read_contents
from fieldmark.runs import Run
from fieldmark.serving.copies import Copies
from fieldmark.serving.refusals import Refusal

SHOWN = 6
THUMBNAIL = 160  # pixels of the longer side
KEPT = 512  # thumbnails in memory, some 5 KB each


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """The training images that a classifier remembers; the rows of all columns belong together."""

    embeddings: npt.NDArray[np.float32]  # (n, d), each of length 1
    labels: npt.NDArray[np.int32]  # (n,), index into classes
    paths: tuple[str, ...]  # as in Dataset.paths
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    def nearest(self, embedding: npt.NDArray[np.float32], count: int = SHOWN) -> list[tuple[int, float]]:
        """The (row, cosine) of the most similar images to an embedding (d,), the most similar first."""
        cosines = self.embeddings @ unit(embedding[None])[0]
        rows = np.argsort(-cosines, kind="stable")[:count]
        return [(int(row), float(cosines[row])) for row in rows]


def read_gallery(classifier: Classifier, run: Run, predictions: Predictions | None) -> Gallery:
    """Join the embeddings in a classifier file with the images of its run.

    Takes some 0.2 s, and at most 16 MB. Raises ModelFileError with the reason where the file has no embeddings, or the
    run is another's.
    """
    bank, counts = _bank(classifier)
    if predictions is None:
        raise ModelFileError("the run has no predictions.csv, which names the training images")
    train = predictions.select("train")
    rows = bank_rows(train.labels, train.groups, bank.shape[1])
    labels = train.labels[rows]
    fits = len(rows) == len(bank) and np.array_equal(np.bincount(labels, minlength=len(counts)), counts)
    if not fits or train.classes != classifier.classes or not _same_training(classifier, run):
        raise ModelFileError("the classifier was not made from the images that this run lists")
    return Gallery(
        embeddings=bank.astype(np.float32),
        labels=labels,
        paths=tuple(train.paths[row] for row in rows),
        groups=tuple(train.groups[row] for row in rows),
        classes=train.classes,
    )


def open_gallery(classifier: Classifier, run: Run) -> Gallery:
    """As `read_gallery`, from the run's files."""
    return read_gallery(classifier, run, read_contents(run.folder).predictions)


def _same_training(classifier: Classifier, run: Run) -> bool:
    return bool(classifier.metadata.get("dataset_fingerprint") == run.info.get("dataset_fingerprint"))


def _bank(classifier: Classifier) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """The embeddings (n, d) in a classifier file, and how many each class has."""
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise missing_extra("finding similar images", error) from error
    found = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_model_from_string(classifier.read_file()).graph.initializer
        if tensor.name in ("bank.rows", "bank.counts")
    }
    if not found:
        raise ModelFileError("this classifier file holds no embeddings of its training images")
    return found["bank.rows"], found["bank.counts"]


class Similar:
    """Owner of a gallery, read when it is first asked for, and of the thumbnails shown of it."""

    def __init__(self, classifier: Classifier, run: Run | None, copies: Copies) -> None:
        self._classifier = classifier
        self._run = run
        self._copies = copies
        self._reading = threading.Lock()
        self._thumbnails: collections.OrderedDict[int, str] = collections.OrderedDict()

    async def find(self, pixels: Pixels) -> list[dict[str, Any]]:
        """{"path", "label", "similarity", "thumbnail"} of the images most like preprocessed pixels, best first.

        `similarity` is the cosine, -1 to 1; `thumbnail` a data URL, or None where the image cannot be read any more.
        Raises FieldmarkError with the reason where there is nothing to compare with.
        """
        found = await asyncio.to_thread(self._find, pixels)
        gallery = self.gallery
        thumbnails = await asyncio.gather(*(self._thumbnail(row) for row, _ in found))
        return [
            {
                "path": gallery.paths[row],
                "label": gallery.classes[gallery.labels[row]],
                "similarity": similarity,
                "thumbnail": thumbnail,
            }
            for (row, similarity), thumbnail in zip(found, thumbnails, strict=True)
        ]

    @property
    def gallery(self) -> Gallery:
        """The training images, read once. Raises FieldmarkError with the reason where there are none."""
        with self._reading:
            return self._read[0]

    @functools.cached_property
    def _read(self) -> tuple[Gallery, Path | None, dict[str, tuple[int, int]]]:
        if self._run is None:
            raise ModelFileError(
                "the classifier file is served without its run, which names its training images",
                hint="serve the run folder",
            )
        contents = read_contents(self._run.folder)
        gallery = read_gallery(self._classifier, self._run, contents.predictions)
        wanted = set(gallery.paths)
        return gallery, contents.root, {path: size for path, size in contents.sizes.items() if path in wanted}

    def _find(self, pixels: Pixels) -> list[tuple[int, float]]:
        gallery = self.gallery
        return gallery.nearest(self._classifier.embeddings(pixels[None])[0])

    async def _thumbnail(self, row: int) -> str | None:
        if row in self._thumbnails:
            self._thumbnails.move_to_end(row)
            return self._thumbnails[row]
        gallery, root, sizes = self._read
        path = gallery.paths[row]
        # A run folder may come from a stranger: no path in it leads elsewhere
        if root is None or Path(path).is_absolute() or ".." in Path(path).parts:
            return None
        try:
            content = await self._copies.small(root / path, sizes.get(path), side=THUMBNAIL)
        except (ImageError, Refusal):
            return None  # one image that cannot be shown, or costs its decoder, must not hide the others
        url = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        self._thumbnails[row] = url
        if len(self._thumbnails) > KEPT:
            self._thumbnails.popitem(last=False)
        return url
