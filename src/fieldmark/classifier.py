"""Classifier: `model.onnx` on ONNX Runtime. The file you deploy is the file that is measured; no torch here."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from fieldmark import reading
from fieldmark.errors import ImageError, ModelFileError
from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW
from fieldmark.evaluation.predictions import answers
from fieldmark.images import formats
from fieldmark.images.names import counted, printable, some
from fieldmark.images.profiles import to_srgb
from fieldmark.images.sources import Source, array_picture, as_sources, checked
from fieldmark.images.threads import Ahead
from fieldmark.model_file import check_seal, read_metadata, seal_of
from fieldmark.preprocessing import Pixels, Preprocessing, to_pixels
from fieldmark.runtime import BATCH, EMBEDDING, FAMILIARITY, INPUT, PROBABILITIES, open_session, run_batches

_NO_RUN = "give a run folder such as runs/photos-1, or its model.onnx"
# What helps where a training was killed: the same command with its --out would find the folder taken.
UNFINISHED = (
    "wait until `fieldmark train` ends; if it was cut off, remove the folder or give another --out, and train again"
)

Batch = TypeVar("Batch")


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
        # Not dataclasses.asdict, whose deep copy would take as long as all else that a server does with an answer.
        return {name: value for name, value in vars(self).items() if name != "detail"}


def failed_prediction(path: str | None, error: ImageError) -> Prediction:
    """The answer for an image that cannot be used."""
    return Prediction(path, None, None, {}, False, error.code, error.detail)


class Classifier:
    """A classifier file, loaded; owns an ONNX Runtime session, which `threads` threads share (None: one a core)."""

    def __init__(self, path: Path, content: bytes, *, threads: int | None = None) -> None:
        self.path = path
        self.threads = threads
        # The SHA-256 over all of the file but itself, in hexadecimal: files of equal seals are one classifier.
        self.seal = seal_of(content)
        self.session = _session(path, content)
        self.metadata = read_metadata(path, self.session)
        self.classes: tuple[str, ...] = tuple(self.metadata["classes"])
        self.preprocessing = Preprocessing.from_json(self.metadata["preprocessing"])

    def __repr__(self) -> str:
        height, width, _ = self.preprocessing.shape
        network = self.metadata.get("recipe", {}).get("network", "a network")
        classes = f"{counted(len(self.classes), 'class', 'classes')} ({printable(some(self.classes))})"
        return f"<Classifier {printable(str(self.path))}: {network}, {classes}, images {height} x {width}>"

    def __reduce__(self) -> tuple[Callable[..., Classifier], tuple[str, int | None, bytes]]:
        """A copy, or what another process gets, is loaded again: a session of ONNX Runtime cannot be copied."""
        return _load_again, (str(self.path.absolute()), self.threads, self.seal)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Probabilities float32 (n, classes) of preprocessed images uint8 (n, height, width, 3)."""
        return self._run(PROBABILITIES, pixels, len(self.classes))

    @functools.cached_property
    def answer_names(self) -> tuple[str, ...]:
        """The outputs that make an answer: `probabilities`, and `familiarity` where the file tells it.

        Files of older versions and of networks whose features cannot be told do not.
        """
        outputs = {output.name for output in self.session.get_outputs()}
        return (PROBABILITIES, FAMILIARITY) if FAMILIARITY in outputs else (PROBABILITIES,)

    def answers(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Probabilities float32 (n, classes), and familiarity (n,), 0 to 1, or None where the file does not tell it."""
        batches = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
        return self.joined(self.answer_batches(batches, prepare=lambda batch: batch))

    def answer_batches(
        self, batches: Iterable[Batch], *, prepare: Callable[[Batch], Pixels]
    ) -> Iterator[list[npt.NDArray[np.float32]]]:
        """Yield the outputs `answer_names` for each batch, in order; `prepare` reads its pixels, in threads."""
        return run_batches(self.session, self.answer_names, batches, prepare=prepare, workers=self.threads)

    def joined(
        self, parts: Iterable[list[npt.NDArray[np.float32]]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """What `answers` returns, from what `answer_batches` yielded."""
        nothing = [np.zeros((0, len(self.classes)), np.float32), np.zeros(0, np.float32)]
        columns = [np.concatenate(column) for column in zip(nothing[: len(self.answer_names)], *parts, strict=True)]
        return columns[0], columns[1] if len(columns) > 1 else None

    def embeddings(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Features float32 (n, d) that the last layer sees, of images uint8 (n, height, width, 3)."""
        outputs = {output.name: output.shape for output in self.session.get_outputs()}
        return self._run(EMBEDDING, pixels, outputs[EMBEDDING][1])

    def predict(self, sources: Source | Iterable[Source]) -> list[Prediction]:
        """Classify paths, arrays or PIL images, one or many; answers in the order given.

        An array is uint8 (height, width, 3), or (height, width) for shades of grey; one of four dimensions is many.
        A file that cannot be used becomes a prediction with a problem, not an error. Raises RecipeError for an array
        of another kind, and for what is no image at all, such as a tensor or an open file.
        """
        return list(self.stream(sources))

    def stream(self, sources: Source | Iterable[Source]) -> Iterator[Prediction]:
        """Yield one prediction a source in the order given; works ahead in threads, memory stays flat.

        Each image is decoded and answered by one thread, alone, so that no answer depends on another image.
        """
        with Ahead(self._predict_one, checked(as_sources(sources)), workers=self.threads) as predictions:
            yield from predictions

    def _predict_one(self, source: Source) -> Prediction:
        item = _prepare(source, preprocessing=self.preprocessing)
        if item.pixels is None:
            return Prediction(item.path, None, None, {}, False, item.code, item.detail)
        found = self.session.run(list(self.answer_names), {INPUT: item.pixels[None]})
        return self.prediction(item.path, found[0][0], float(found[1][0]) if len(found) > 1 else None)

    def prediction(
        self, path: str | None, probabilities: npt.NDArray[np.float32], familiarity: float | None
    ) -> Prediction:
        """The answer in words: from probabilities float32 (classes,) and familiarity, 0 to 1, where it is told."""
        best = int(answers(probabilities[None])[0])
        return Prediction(
            path=path,
            label=self.classes[best],
            probability=float(probabilities[best]),
            probabilities={name: float(value) for name, value in zip(self.classes, probabilities, strict=True)},
            unfamiliar=familiarity is not None and familiarity < UNFAMILIAR_BELOW,
            familiarity=familiarity,
        )

    def read_file(self) -> bytes:
        """The bytes of the file that was loaded. Raises ModelFileError where it is gone, damaged or another one by now.

        They are read again, since few ask for them and a classifier in memory would be twice as large with them.
        """
        name, again = self.path.name, "load it again, or start `fieldmark serve` again"
        try:
            content = reading.read_bytes(self.path, most=reading.MODEL_BYTES)
        except OSError as error:
            raise ModelFileError(f"{name}: cannot be read any more ({reading.reason(error)})", hint=again) from error
        if seal_of(content) != self.seal:
            raise ModelFileError(f"{name}: was replaced since it was loaded, and is not what answers here", hint=again)
        check_seal(self.path, content)
        return content

    def _run(self, output: str, pixels: Pixels, width: int) -> npt.NDArray[np.float32]:
        batches = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
        found = run_batches(self.session, [output], batches, prepare=lambda batch: batch, workers=self.threads)
        parts = [part for (part,) in found]
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Classifier:
    """Load a run folder, the `Run` that `train` returned, or a classifier file.

    `threads` images are worked on at once (None: one a core).
    Raises ModelFileError if it is missing, damaged (one changed bit is enough), or not made by Fieldmark.
    """
    path = _named(path)
    try:
        file = path / "model.onnx" if path.is_dir() else path
        content = reading.read_bytes(file, most=reading.MODEL_BYTES)
    except (OSError, ValueError) as error:
        raise _no_classifier(path, error) from error
    check_seal(file, content)
    return Classifier(file, content, threads=threads)


def _named(path: object) -> Path:
    if path == "":  # which Path takes for the current folder
        raise ModelFileError("the path of the classifier is empty", hint=_NO_RUN)
    if isinstance(path, str | os.PathLike):
        return Path(os.fsdecode(path))
    raise ModelFileError(
        f"a classifier is loaded from its path, not from a {type(path).__name__}",
        hint=_NO_RUN,
    )


def _load_again(path: str, threads: int | None, seal: bytes) -> Classifier:
    """The classifier that a file held when it was pickled. Raises ModelFileError where it holds it no more."""
    classifier = load(path, threads=threads)
    if classifier.seal != seal:
        raise ModelFileError(
            f"{path}: holds another classifier than the one that was pickled",
            hint="pickle the path instead, or keep the file as it was",
        )
    return classifier


def _no_classifier(path: Path, error: OSError | ValueError) -> ModelFileError:
    folder = path.parent if path.name == "model.onnx" else path
    begun = isinstance(error, FileNotFoundError) and (folder / "checkpoints").is_dir()
    if begun and not (folder / "run.json").exists():
        return ModelFileError(f"{folder}: an unfinished run: it has no model.onnx yet", hint=UNFINISHED)
    return ModelFileError(f"{path}: no classifier here ({reading.reason(error)})", hint=_NO_RUN)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """One source, decoded and resized, or the problem it has."""

    path: str | None
    pixels: Pixels | None
    code: str | None = None
    detail: str = ""


def _prepare(source: Source, *, preprocessing: Preprocessing) -> _Prepared:
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        path = printable(name)
        try:
            return _Prepared(path, formats.load(Path(name), preprocessing))
        except ImageError as error:
            return _Prepared(path, None, error.code, error.detail)
    if isinstance(source, np.ndarray):
        return _Prepared(None, to_pixels(array_picture(source), preprocessing))
    # An open picture says of itself what its file says: which side is up, and what its colours mean. It is turned
    # first: a picture converted to sRGB is a new one, which says nothing of its sides any more.
    upright = to_srgb(ImageOps.exif_transpose(source), source.info.get("icc_profile") or b"")
    return _Prepared(None, to_pixels(upright, preprocessing))


def _session(path: Path, content: bytes) -> Any:
    try:
        return open_session(content, threads=1)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise ModelFileError(f"{path}: ONNX Runtime cannot load it: {error}") from error
