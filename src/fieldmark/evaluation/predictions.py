"""Predictions: what a classifier answered for each image, with path, label, split and group; and as CSV.

Everything that is reported about a run (metrics, mistakes, comparison) is computed from this value, and
`predictions.csv` keeps it to the last bit.

Cells of the CSV file that a spreadsheet would run as a formula (they begin with =, +, -, @, a tab, a line
break or the full-width form of these signs) get an apostrophe in front, and `read_csv` takes it off again. A
cell that begins with apostrophes before such a sign gets one more, so that every name comes back as it was.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark import reading, storage
from fieldmark.errors import ModelFileError
from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW
from fieldmark.storage import guard, unguard

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

COLUMNS = ("path", "split", "group", "label", "predicted", "probability")
# Behind the columns of the classes, where the classifier tells them; a class's own begins with p:.
FAMILIARITY_COLUMNS = ("familiarity", "unfamiliar")
# Rows of a softmax in 32-bit floats add up to 1 within about 1e-6; a larger error is a mix-up.
_SUM_TOLERANCE = 1e-3
_WITHOUT = (
    "copy the run folder again, or train again; without this file, `fieldmark compare A B DIR` answers the images "
    "of DIR anew"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """One row an image; the rows of all columns belong together.

    Raises ValueError where they cannot: another length, another number of classes, rows that do not sum to 1.

    >>> predictions = Predictions(
    ...     paths=("a.jpg", "b.jpg"), labels=np.array([0, 1], np.int32), splits=("train", "validation"),
    ...     probabilities=np.array([[0.9, 0.1], [0.8, 0.2]], np.float32),
    ...     groups=("a", "b"), classes=("cat", "dog"))
    >>> predictions.predicted.tolist(), predictions.select("validation").paths
    ([0, 0], ('b.jpg',))
    """

    paths: tuple[str, ...]
    labels: Labels  # (n,), index into classes; -1 where the truth is not known
    probabilities: Probabilities  # (n, classes), 0-1, rows sum to 1
    splits: tuple[str, ...]  # "train", "validation" or "test"
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    familiarity: npt.NDArray[np.float32] | None = None  # (n,), 0-1; None where the classifier does not tell

    def __post_init__(self) -> None:
        rows, classes = len(self.paths), len(self.classes)
        if not rows == len(self.labels) == len(self.splits) == len(self.groups):
            raise ValueError(f"columns of {rows} paths have other lengths")
        if self.probabilities.shape != (rows, classes):
            raise ValueError(f"expected probabilities {(rows, classes)}, found {self.probabilities.shape}")
        if self.familiarity is not None and self.familiarity.shape != (rows,):
            raise ValueError(f"expected familiarity {(rows,)}, found {self.familiarity.shape}")
        if rows and not -1 <= self.labels.min() <= self.labels.max() < classes:
            raise ValueError(f"labels outside -1 to {classes - 1}")
        if not np.all(np.abs(self.probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE):
            raise ValueError("rows of probabilities do not sum to 1")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def predicted(self) -> Labels:
        """(n,), index of the class that is answered: see `answers`."""
        return answers(self.probabilities)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(n,), whether the answer is the label; False where the label is not known."""
        return np.equal(self.predicted, self.labels)

    @property
    def unfamiliar(self) -> npt.NDArray[np.bool_] | None:
        """(n,), whether the image is unlike anything in the training set; None where the classifier does not tell."""
        return None if self.familiarity is None else np.less(self.familiarity, UNFAMILIAR_BELOW)

    def select(self, split: str) -> Predictions:
        """Return the rows of one split, in order."""
        return self.keep([row for row, name in enumerate(self.splits) if name == split])

    def keep(self, rows: Sequence[int]) -> Predictions:
        """Return these rows, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        return Predictions(
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[index],
            probabilities=self.probabilities[index],
            splits=tuple(self.splits[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            classes=self.classes,
            familiarity=None if self.familiarity is None else self.familiarity[index],
        )


def answers(probabilities: Probabilities) -> Labels:
    """Return the index of the likeliest class (n,) of probabilities (n, classes).

    Of two classes the second is the positive one: it is answered from p = 0.5 on. Elsewhere the first of
    equals wins.

    >>> answers(np.array([[0.5, 0.5], [0.6, 0.4]], np.float32)).tolist()
    [1, 0]
    """
    if probabilities.shape[1] == 2:
        return np.asarray(probabilities[:, 1] >= probabilities[:, 0], dtype=np.int32)
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int32)


def rows_of(predictions: Predictions) -> list[dict[str, Any]]:
    """The rows as plain values: what `fieldmark.Run.predictions` is."""
    names = (*predictions.classes, None)  # the last for label -1
    familiarity, unfamiliar = predictions.familiarity, predictions.unfamiliar
    predicted = predictions.predicted.tolist()
    return [
        {
            "path": path,
            "split": predictions.splits[row],
            "group": predictions.groups[row],
            "label": names[predictions.labels[row]],
            "predicted": names[predicted[row]],
            "probability": shares[predicted[row]],
            "probabilities": dict(zip(predictions.classes, shares, strict=True)),
            "familiarity": None if familiarity is None else float(familiarity[row]),
            "unfamiliar": None if unfamiliar is None else bool(unfamiliar[row]),
        }
        for row, (path, shares) in enumerate(
            zip(predictions.paths, predictions.probabilities.astype(float).tolist(), strict=True)
        )
    ]


def write_csv(path: Path, predictions: Predictions) -> None:
    """Write COLUMNS, one column `p:CLASS` a class and FAMILIARITY_COLUMNS where they are known, one row an image.

    UTF-8. Raises OutputError.

    `label` and `predicted` are class names; an unknown label is an empty cell. Numbers have as many digits as
    it takes to read the same 32-bit float again.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    familiar = () if predictions.familiarity is None else FAMILIARITY_COLUMNS
    writer.writerow((*COLUMNS, *(f"p:{name}" for name in predictions.classes), *familiar))
    writer.writerows(_rows(predictions))
    storage.write_text(path, text.getvalue())


def read_csv(path: Path) -> Predictions:
    """Read what `write_csv` wrote. Raises ModelFileError for a file that is missing or damaged."""
    try:
        with reading.open_text(path, most=reading.RUN_BYTES) as file:
            rows = list(csv.reader(file))
        if not rows:
            raise ValueError("it holds no line")
        return _parsed(rows[0], rows[1:])
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {reading.reason(error)}", hint=_WITHOUT) from error
    except KeyError as error:
        raise ModelFileError(f"{path}: not a file of predictions: {error} is no class", hint=_WITHOUT) from error
    except (ValueError, csv.Error) as error:
        raise ModelFileError(f"{path}: not a file of predictions: {error}", hint=_WITHOUT) from error


def _rows(predictions: Predictions) -> Iterator[tuple[str, ...]]:
    predicted = predictions.predicted
    names = (*map(guard, predictions.classes), "")  # the last for label -1
    familiarity, unfamiliar = predictions.familiarity, predictions.unfamiliar
    for row, path in enumerate(predictions.paths):
        # str of a 32-bit float is the shortest text that reads as the same float.
        shares = [str(share) for share in predictions.probabilities[row]]
        yield (
            guard(path),
            predictions.splits[row],
            guard(predictions.groups[row]),
            names[predictions.labels[row]],
            names[predicted[row]],
            shares[predicted[row]],
            *shares,
            *(() if familiarity is None or unfamiliar is None else (str(familiarity[row]), str(unfamiliar[row]))),
        )


def _parsed(header: list[str], rows: list[list[str]]) -> Predictions:
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    familiar = tuple(header[-2:]) == FAMILIARITY_COLUMNS
    end = len(header) - (2 if familiar else 0)
    classes = tuple(name.removeprefix("p:") for name in header[len(COLUMNS) : end])
    labels = {"": -1} | {name: label for label, name in enumerate(classes)}
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {line} has {len(row)} cells, expected {len(header)}")
    shares = np.array([row[len(COLUMNS) : end] for row in rows], dtype=np.float32)
    return Predictions(
        paths=tuple(unguard(row[0]) for row in rows),
        splits=tuple(row[1] for row in rows),
        groups=tuple(unguard(row[2]) for row in rows),
        labels=np.array([labels[unguard(row[3])] for row in rows], dtype=np.int32),
        probabilities=shares.reshape(len(rows), len(classes)),
        classes=classes,
        familiarity=np.array([row[end] for row in rows], dtype=np.float32) if familiar else None,
    )
