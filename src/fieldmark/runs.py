"""Run: the folder of one training. Created before the training, never overwritten; `run.json` is written last."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from fieldmark import reading, storage
from fieldmark.errors import ModelFileError, OutputError
from fieldmark.evaluation.predictions import read_csv, rows_of

# What a finished run folder holds; `report_files/` and `checkpoints/` are folders.
FILES = (
    "model.onnx",
    "recipe.json",
    "dataset.csv",
    "history.csv",
    "predictions.csv",
    "metrics.json",
    "mistakes.json",
    "audit.json",
    "report.html",
    "report_files",
    "checkpoints",
    "run.json",
)


@dataclasses.dataclass(frozen=True, init=False)
class Run:
    """A run folder; its files are read when they are asked for.

    It stands for its path wherever one is asked for: `fieldmark.load(run)`, `fieldmark.evaluate(run, "photos/")`.

    >>> run = Run("runs/photos-1")
    >>> run.folder.name, os.fspath(run) == str(run.folder)
    ('photos-1', True)
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ModelFileError(
                f"a run is named by its folder, not by a {type(folder).__name__}",
                hint="give a path, such as fieldmark.Run('runs/photos-1')",
            )
        object.__setattr__(self, "folder", Path(os.fsdecode(folder)))  # frozen for all others

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def model(self) -> Path:
        """The classifier file."""
        return self.folder / "model.onnx"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json: {split: numbers, "overfitting": …}."""
        return self._json("metrics.json")

    @property
    def recipe(self) -> dict[str, Any]:
        """The content of recipe.json: the fields of `fieldmark.recipe.Recipe`."""
        return self._json("recipe.json")

    @property
    def info(self) -> dict[str, Any]:
        """The content of run.json: versions, hardware, seed, fingerprint, seconds of each stage."""
        return self._json("run.json")

    @property
    def audit(self) -> dict[str, Any]:
        """The content of audit.json: what was found in the dataset before training."""
        return self._json("audit.json")

    @property
    def history(self) -> list[dict[str, int | float | None]]:
        """The rows of history.csv, one an epoch; [] where a head was fitted in one go. None: no validation split."""
        path = self.folder / "history.csv"
        try:
            with reading.open_text(path, most=reading.RUN_BYTES) as file:
                header, *rows = csv.reader(file)
            return [dict(zip(header, map(_number, row), strict=True)) for row in rows]
        except (OSError, ValueError, csv.Error) as error:
            raise _unreadable(path, error) from error

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """The rows of predictions.csv, one an image: what the classifier answered, beside what is true.

        Each is {"path", "split", "group", "label", "predicted", "probability" (of `predicted`), "probabilities":
        {class: 0 to 1}, "familiarity", "unfamiliar"}, the last two None where the classifier does not tell.
        """
        return rows_of(read_csv(self.folder / "predictions.csv"))

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return reading.read_object(path)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelFileError:
    if isinstance(error, OSError):
        return ModelFileError(
            f"{path}: cannot be read ({reading.reason(error)}); the run was not finished, or this is no run folder",
            hint="give the folder that `fieldmark train` printed",
        )
    return ModelFileError(f"{path}: damaged: {error}", hint="copy the run folder again, or train again")


def _number(cell: str) -> int | float | None:
    """A cell of history.csv; empty where the number does not exist."""
    if not cell:
        return None
    return int(cell) if cell.isdigit() else float(cell)


def run_of(path: Path) -> Run | None:
    """The finished run of a run folder or of its classifier file; None for a file that lies alone.

    Another file in a run folder is not what that run trained and measured, whatever it holds.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> storage.write_json(folder / "run.json", {})
    >>> run_of(folder / "model.onnx") == run_of(folder) == Run(folder), run_of(folder / "older.onnx")
    (True, None)
    """
    run = Run(path if path.is_dir() else path.parent)
    finished = (run.folder / "run.json").is_file()
    return run if finished and (path.is_dir() or path.name == run.model.name) else None


def create(dataset: Path, out: Path | None = None, *, parent: Path = Path("runs")) -> Run:
    """Create the folder of a new run: `out`, or the next free `<dataset>-<n>` in `parent`.

    Raises OutputError if `out` holds something already, or the place cannot be written.

    >>> import os, tempfile; os.chdir(tempfile.mkdtemp())
    >>> [create(Path("photos")).folder.as_posix() for _ in range(2)]
    ['runs/photos-1', 'runs/photos-2']
    """
    if out is None:
        return Run(_next_folder(dataset.absolute().name, parent))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise _exists(out)
    storage.make_folder(out)
    _claim(out)
    return Run(out)


def _claim(folder: Path) -> None:
    """Make the run's first entry; of two processes that found the folder empty, one fails."""
    try:
        (folder / "checkpoints").mkdir()
    except FileExistsError as error:
        raise _exists(folder) from error
    except OSError as error:
        raise storage.cannot_write(folder, error) from error


def _exists(folder: Path) -> OutputError:
    return OutputError(f"{folder}: exists already; a run is never overwritten", hint="choose another --out")


def _next_folder(name: str, parent: Path) -> Path:
    name = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "run"
    storage.make_folder(parent)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()  # fails if it exists, so two trainings never share a folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise storage.cannot_write(folder, error) from error
        else:
            _claim(folder)
            return folder
