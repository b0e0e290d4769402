"""Classifier: `model.onnx` on ONNX Runtime. The file you deploy is the file that is measured; no torch here."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from fieldmark.errors import ImageError, ModelFileError, RecipeError
from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW
from fieldmark.evaluation.predictions import answers
from fieldmark.images import formats
from fieldmark.images.profiles import to_srgb
from fieldmark.images.scan import printable
from fieldmark.images.threads import Ahead
from fieldmark.preprocessing import Pixels, Preprocessing, to_pixels
from fieldmark.runtime import open_session

SEAL = b"fieldmark_sha256\x12\x40"  # key, then the protobuf tag and length of the 64 characters that follow
BATCH = 16  # images a call of ONNX Runtime: more is not faster on a CPU and holds more memory

Source = str | Path | npt.NDArray[np.uint8] | Image.Image


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one image; label and probability are None where the image has a problem."""

    path: str | None  # as it was given; None for arrays and PIL images
    label: str | None
    probability: float | None  # of the label, 0 to 1
    probabilities: dict[str, float]  # of every class; empty where there is a problem
    unfamiliar: bool  # unlike anything in the training set
    problem: str | None = None  # a problem code
    detail: str = ""  # the problem in a sentence
    familiarity: float | None = None  # 0 to 1: the share of training images less like the rest; None: not told

    def to_json(self) -> dict[str, Any]:
        """The object of `fieldmark predict --json`."""
        fields = dataclasses.asdict(self)
        del fields["detail"]
        return fields


class Classifier:
    """A classifier file, loaded; owns an ONNX Runtime session."""

    def __init__(self, path: Path, content: bytes, *, threads: int | None = None) -> None:
        self.path = path
        self.session = _session(path, content, threads)
        self.metadata = _metadata(path, self.session)
        self.classes: tuple[str, ...] = tuple(self.metadata["classes"])
        self.preprocessing = Preprocessing.from_json(self.metadata["preprocessing"])

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities float32 (n, classes) of preprocessed images uint8 (n, height, width, 3)."""
        return self._run("probabilities", pixels, len(self.classes))

    @property
    def tells_familiarity(self) -> bool:
        """Whether the file tells how familiar an image is; those of older versions and of networks without features
        do not."""
        return any(output.name == "familiarity" for output in self.session.get_outputs())

    def answers(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Probabilities float32 (n, classes), and familiarity (n,), 0 to 1, or None where the file does not tell it."""
        if not self.tells_familiarity:
            return self.probabilities(pixels), None
        names = ["probabilities", "familiarity"]
        parts = [
            self.session.run(names, {"images": np.ascontiguousarray(pixels[start : start + BATCH])})
            for start in range(0, len(pixels), BATCH)
        ]
        if not parts:
            return np.zeros((0, len(self.classes)), np.float32), np.zeros(0, np.float32)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def embeddings(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Features float32 (n, d) that the last layer sees, of images uint8 (n, height, width, 3)."""
        outputs = {output.name: output.shape for output in self.session.get_outputs()}
        return self._run("embedding", pixels, outputs["embedding"][1])

    def predict(self, sources: Source | Iterable[Source]) -> list[Prediction]:
        """Classify paths, arrays or PIL images, one or many; answers in the order given.

        An array is uint8 (height, width, 3), or (height, width) for shades of grey. A file that cannot be used
        becomes a prediction with a problem, not an error. Raises RecipeError for an array of another kind.
        """
        if isinstance(sources, str | Path | Image.Image) or (isinstance(sources, np.ndarray) and sources.ndim < 4):
            sources = [sources]
        return list(self.stream(sources))

    def stream(self, sources: Iterable[Source]) -> Iterator[Prediction]:
        """Yield one prediction a source in the order given; reads ahead in threads, memory stays flat."""
        with Ahead(functools.partial(_prepare, preprocessing=self.preprocessing), sources) as prepared:
            for first in prepared:
                # As many as are ready: one by one while paths trickle in, full batches while they pour.
                batch = [first]
                while len(batch) < BATCH and prepared.ready():
                    batch.append(next(prepared))
                yield from self._answers(batch)

    def _answers(self, batch: list[_Prepared]) -> Iterator[Prediction]:
        usable = [item.pixels for item in batch if item.pixels is not None]
        probabilities, familiarity = self.answers(np.stack(usable)) if usable else (np.zeros((0, 0), np.float32), None)
        rows = iter(range(len(usable)))
        for item in batch:
            if item.pixels is None:
                yield item.problem()
                continue
            row = next(rows)
            yield self._answer(item, probabilities[row], None if familiarity is None else float(familiarity[row]))

    def _answer(self, item: _Prepared, probabilities: npt.NDArray[np.float32], familiarity: float | None) -> Prediction:
        best = int(answers(probabilities[None])[0])
        return Prediction(
            path=item.path,
            label=self.classes[best],
            probability=float(probabilities[best]),
            probabilities={name: float(value) for name, value in zip(self.classes, probabilities, strict=True)},
            unfamiliar=familiarity is not None and familiarity < UNFAMILIAR_BELOW,
            familiarity=familiarity,
        )

    def _run(self, output: str, pixels: Pixels, width: int) -> npt.NDArray[np.float32]:
        parts = [
            self.session.run([output], {"images": np.ascontiguousarray(pixels[start : start + BATCH])})[0]
            for start in range(0, len(pixels), BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def load(path: str | Path, *, threads: int | None = None) -> Classifier:
    """Load a run folder or a classifier file.

    Raises ModelFileError if it is missing, damaged (one changed bit is enough), or not made by Fieldmark.
    """
    path = Path(path)
    file = path / "model.onnx" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path}: no classifier here ({error.strerror or error})",
            hint="give a run folder such as runs/photos-1, or its model.onnx",
        ) from error
    check_seal(file, content)
    return Classifier(file, content, threads=threads)


def check_seal(path: Path, content: bytes) -> None:
    """Raise ModelFileError unless the content has Fieldmark's seal and the seal fits every byte."""
    start = content.rfind(SEAL) + len(SEAL)
    if start < len(SEAL):
        raise ModelFileError(
            f"{path}: not a classifier made by Fieldmark, or one that was cut short (no seal in {len(content)} bytes)",
            hint="give the model.onnx of a run folder, whole; other ONNX files lack class names and preprocessing",
        )
    digest = hashlib.sha256(content[:start])
    digest.update(b"0" * 64)
    digest.update(content[start + 64 :])
    if content[start : start + 64] != digest.hexdigest().encode():
        raise ModelFileError(
            f"{path}: damaged: its content does not fit its SHA-256 seal",
            hint="copy the file again, or train again",
        )


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """One source, decoded and resized, or the problem it has."""

    path: str | None
    pixels: Pixels | None
    code: str | None = None
    detail: str = ""

    def problem(self) -> Prediction:
        return Prediction(self.path, None, None, {}, False, self.code, self.detail)


def _prepare(source: Source, *, preprocessing: Preprocessing) -> _Prepared:
    if isinstance(source, str | Path):
        path = printable(str(source))
        try:
            return _Prepared(path, formats.load(Path(source), preprocessing))
        except ImageError as error:
            return _Prepared(path, None, error.code, error.detail)
    if isinstance(source, np.ndarray):
        return _Prepared(None, to_pixels(_picture(source), preprocessing))
    # An open picture says of itself what its file says: which side is up, and what its colours mean.
    upright = ImageOps.exif_transpose(to_srgb(source, source.info.get("icc_profile") or b""))
    return _Prepared(None, to_pixels(upright, preprocessing))


def _picture(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise RecipeError(
            f"an array of {array.dtype} {array.shape}; expected uint8 (height, width, 3) or (height, width)",
            hint="multiply images in 0-1 by 255 and convert them with .astype(numpy.uint8)",
        )
    return Image.fromarray(array)


def _session(path: Path, content: bytes, threads: int | None) -> Any:
    try:
        return open_session(content, threads=threads)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelFileError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def _metadata(path: Path, session: Any) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["fieldmark"])
        Preprocessing.from_json(metadata["preprocessing"])
        tuple(metadata["classes"])
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(
            f"{path}: its metadata cannot be read: {error}",
            hint="it may come from a newer Fieldmark: update it",
        ) from error
    return metadata
