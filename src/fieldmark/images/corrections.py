"""Corrections: wrong labels set right in a small table beside the images; the images themselves are never touched.

`corrections.csv` in the root of a dataset, UTF-8, one row an image:

    path,label
    horses/horse07-3.jpg,humans
    humans/blank.jpg,remove

A path is below the folder that holds the images, with forward slashes; a label is the name of a class, or `remove`.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from fieldmark.errors import DatasetError
from fieldmark.storage import unguard

FILE_NAME = "corrections.csv"
COLUMNS = ("path", "label")
REMOVE = "remove"
MAX_BYTES = 64 * 2**20  # a table of a million rows; anything larger is another file


@dataclasses.dataclass(frozen=True)
class Correction:
    """One image whose label was set right, or that is left out.

    >>> Correction("horses/7.jpg", "horses", "humans").to_json()
    {'path': 'horses/7.jpg', 'from': 'horses', 'to': 'humans'}
    """

    path: str  # as in Dataset.paths
    given: str  # the class by its folder
    label: str  # the class by the table, or "remove"

    def to_json(self) -> dict[str, str]:
        """Return the fields as they stand in `audit --json` and in run.json."""
        return {"path": self.path, "from": self.given, "to": self.label}


def find_table(root: Path, chosen: Path | None) -> Path | None:
    """The table to honour: the one chosen, else the root's own; None where there is neither. Raises DatasetError."""
    if chosen is None:
        own = root / FILE_NAME
        return own if own.is_file() else None
    if not chosen.is_file():
        raise DatasetError(f"--corrections {chosen}: no such file", hint="expected a CSV with the columns path,label")
    return chosen


def read_table(table: Path) -> dict[str, str]:
    """Return {path: label} as the table has them. Raises DatasetError for what is no such table.

    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "corrections.csv"
    >>> _ = table.write_text("path,label\\ncat/1.jpg,dog\\ncat/2.jpg,remove\\n")
    >>> read_table(table)
    {'cat/1.jpg': 'dog', 'cat/2.jpg': 'remove'}
    """
    labels: dict[str, str] = {}
    for number, row in enumerate(_rows(table), start=1):
        if number == 1:
            _require_header(table, row)
        elif row:
            path, label = _cells(table, number, row)
            if labels.setdefault(path, label) != label:
                raise DatasetError(
                    f"{table}, row {number}: {path} is corrected twice, to {labels[path]} and to {label}"
                )
    return labels


def apply(
    table: Path, labels: dict[str, str], images: Sequence[tuple[str, str, str]], classes: Iterable[str]
) -> tuple[list[tuple[str, str, str]], list[Correction]]:
    """Return the images (path, class, split) as corrected, and what was corrected.

    `labels` is {path: label}; `classes` are the names that a label may have. What a row changes nothing about is
    not listed. Raises DatasetError for a path that no image has, or a label that is no class.
    """
    _require_known(table, labels, {path for path, _, _ in images}, set(classes))
    corrected, corrections = [], []
    for path, name, split in images:
        label = labels.get(path, name)
        if label != name:
            corrections.append(Correction(path, name, label))
        if label != REMOVE or path not in labels:
            corrected.append((path, label, split))
    return corrected, corrections


def _rows(table: Path) -> list[list[str]]:
    try:
        size = table.stat().st_size
        if size > MAX_BYTES:
            raise DatasetError(f"{table}: {size:,} bytes are no table of corrections")
        # Spreadsheets begin their UTF-8 with a mark.
        with table.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: not a CSV file in UTF-8: {error}", hint="save it as CSV, UTF-8") from error


def _require_header(table: Path, row: list[str]) -> None:
    if [cell.strip().lower() for cell in row] != list(COLUMNS):
        raise DatasetError(
            f"{table}: its first row is {','.join(row)}; expected path,label",
            hint="the columns are separated by commas, and the first row names them",
        )


def _cells(table: Path, number: int, row: list[str]) -> tuple[str, str]:
    cells = [unguard(cell) for cell in row]  # copied from another of our tables, a cell may carry its guard
    if len(cells) != len(COLUMNS) or not all(cell.strip() for cell in cells):
        raise DatasetError(
            f"{table}, row {number}: {','.join(row)}; expected a path and a label",
            hint="a name with a comma in it stands in double quotes",
        )
    return cells[0], cells[1].strip()


def _require_known(table: Path, labels: dict[str, str], paths: set[str], classes: set[str]) -> None:
    unknown = [path for path in labels if path not in paths]
    if unknown:
        raise DatasetError(
            f"{table}: no image has the path {unknown[0]}"
            + (f", nor have {len(unknown) - 1} others an image" if unknown[1:] else ""),
            hint=f"paths are below the dataset's folder, such as {min(paths)}" if paths else "the dataset has no image",
        )
    wrong = [(path, label) for path, label in labels.items() if label != REMOVE and label not in classes]
    if wrong:
        raise DatasetError(
            f"{table}: {wrong[0][0]} is corrected to {wrong[0][1]}, which is no class",
            hint=f"the classes are {', '.join(sorted(classes))}; or {REMOVE} to leave an image out",
        )
