"""Contents: what the files of a run folder say. The report is made from this value and from nothing else.

A file that is not there leaves its part empty, and the panel that needs it says so; a damaged one is an
error.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldmark.errors import ModelFileError
from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.reading import RUN_BYTES, open_text, read_object
from fieldmark.storage import unguard

HISTORY_COLUMNS = (
    *("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("learning_rate", "seconds", "images_per_second"),
)


@dataclasses.dataclass(frozen=True)
class Contents:
    """The files of one run folder, read."""

    folder: Path
    metrics: dict[str, Any]  # metrics.json
    audit: dict[str, Any]  # audit.json
    recipe: dict[str, Any]  # recipe.json
    run: dict[str, Any]  # run.json
    mistakes: dict[str, Any]  # mistakes.json
    history: list[dict[str, float | None]]  # one row an epoch, by HISTORY_COLUMNS; None: not measured
    counts: dict[str, dict[str, int]]  # {class: {split: images}}
    sizes: dict[str, tuple[int, int]]  # {path: (width, height)} of the upright image, in pixels
    predictions: Predictions | None

    @property
    def root(self) -> Path | None:
        """The dataset's folder, as it was when the run was made."""
        roots = (self.run.get("root"), self.audit.get("root"))
        return next((Path(root) for root in roots if isinstance(root, str) and root), None)

    @property
    def classes(self) -> list[str]:
        """The names of all classes, in the classifier's order."""
        return list(self.run.get("classes") or self.counts)

    @property
    def split(self) -> str | None:
        """The split whose numbers are the headline, the one least looked at; None without numbers."""
        splits = ("test", "validation", "train")
        return next((split for split in splits if self.metrics.get(split, {}).get("n")), None)


def read_contents(folder: Path) -> Contents:
    """Read a run folder. Raises ModelFileError if it is none, or one of its files is damaged."""
    if not any((folder / name).is_file() for name in ("metrics.json", "run.json", "audit.json")):
        raise ModelFileError(
            f"{folder}: not a run folder: it holds no metrics.json, run.json or audit.json",
            hint="give the folder that `fieldmark train` printed, such as runs/photos-1",
        )
    counts, sizes = _read_dataset(folder / "dataset.csv")
    predictions = folder / "predictions.csv"
    return Contents(
        folder=folder,
        metrics=_read_json(folder / "metrics.json"),
        audit=_read_json(folder / "audit.json"),
        recipe=_read_json(folder / "recipe.json"),
        run=_read_json(folder / "run.json"),
        mistakes=_read_json(folder / "mistakes.json"),
        history=[_numbers(row) for row in _rows(folder / "history.csv", ("epoch",))],
        counts=counts,
        sizes=sizes,
        predictions=read_csv(predictions) if predictions.is_file() else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by column name; nothing where there is no file."""
    if not path.is_file():
        return
    try:
        with open_text(path, most=RUN_BYTES) as file:
            reader = csv.DictReader(file)
            missing = [name for name in required if name not in (reader.fieldnames or ())]
            if missing:
                raise _damaged(path, f"no column {', '.join(missing)}")
            yield from reader
    except (OSError, ValueError, csv.Error) as error:
        raise _damaged(path, error) from error


def _read_dataset(path: Path) -> tuple[dict[str, dict[str, int]], dict[str, tuple[int, int]]]:
    counts: dict[str, Counter[str]] = {}
    sizes = {}
    for row in _rows(path, ("path", "split", "class", "width", "height")):
        counts.setdefault(unguard(row["class"]), Counter())[row["split"]] += 1
        try:
            sizes[unguard(row["path"])] = (int(row["width"]), int(row["height"]))
        except (TypeError, ValueError) as error:
            raise _damaged(path, f"the size of {row['path']} is no number") from error
    return {name: dict(of_class) for name, of_class in counts.items()}, sizes


def _numbers(row: dict[str, str]) -> dict[str, float | None]:
    return {name: _number(row.get(name)) for name in HISTORY_COLUMNS}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _damaged(path: Path, reason: object) -> ModelFileError:
    return ModelFileError(
        f"{path}: damaged: {reason}",
        hint="copy the run folder again, or train again; a report can be made anew",
    )
