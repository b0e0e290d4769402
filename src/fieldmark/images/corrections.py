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
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from fieldmark import reading, storage
from fieldmark.errors import ConflictError, DatasetError
from fieldmark.images.names import some
from fieldmark.storage import guard, unguard

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
    return read_text(table, _text(table))


def read_text(table: Path, text: str) -> dict[str, str]:
    """Return {path: label} of the text of a table, as `read_table` does; `table` is named in errors."""
    labels: dict[str, str] = {}
    for number, (_, row) in enumerate(_records(table, text), start=1):
        if number == 1:
            _require_header(table, row)
        elif row:
            path, label = _cells(table, number, row)
            if labels.setdefault(path, label) != label:
                raise _contradiction(table, path, labels[path], label)
    return labels


def correct(table: Path, path: str, label: str | None, *, expected: str | None) -> None:
    """Set one image's row in a table (None: take it out), at once and durably; every other row stays as written.

    `expected` is the label that the row had when somebody looked at it, None for no row. A table that is not there
    yet is begun. Any number of processes may do this at once: none undoes what another has written.

    Raises ConflictError where the row has changed since, DatasetError for what is no such table, OutputError where it
    cannot be written.

    >>> import tempfile
    >>> table = Path(tempfile.mkdtemp()) / "corrections.csv"
    >>> correct(table, "cat/1.jpg", "dog", expected=None)
    >>> read_table(table)
    {'cat/1.jpg': 'dog'}
    """
    folder, table = table.parent, _behind_link(table)
    with storage.locked(table.parent):
        text = _text(table) if table.exists() else ""
        labels = below(folder, read_text(table, text), table)
        current = labels.pop(path, None)
        if current == label:
            return
        if current != expected:
            raise ConflictError(
                f"{path}: {_in_words(current)} meanwhile, where {_in_words(expected)} was expected",
                hint="somebody else is reviewing it; look at it again",
            )
        changed = _rewritten(folder, text, path, label)
        if below(folder, read_text(table, changed), table) != labels | ({} if label is None else {path: label}):
            raise DatasetError(f"{table}: the label {label!r} of {path!r} cannot be written into such a table")
        storage.write_text(table, changed)


def below(folder: Path, labels: dict[str, str], table: Path) -> dict[str, str]:
    """The labels of a table by paths as they stand in Dataset.paths; a person may also write ./cat/1.jpg.

    Raises DatasetError where two ways to write one path have different labels.

    >>> below(Path("pets"), {"./cat//1.jpg": "dog"}, Path("pets/corrections.csv"))
    {'cat/1.jpg': 'dog'}
    """
    found: dict[str, str] = {}
    for path, label in labels.items():
        if found.setdefault(_below(folder, path), label) != label:
            raise _contradiction(table, _below(folder, path), found[_below(folder, path)], label)
    return found


def _contradiction(table: Path, path: str, one: str, other: str) -> DatasetError:
    return DatasetError(
        f"{table}: {path} is corrected twice, to {one} and to {other}", hint="take one of the two rows out"
    )


def below_split(table: Path, labels: dict[str, str], folder: Path, splits: Sequence[str]) -> dict[str, str]:
    """The labels of a whole dataset's table for one of its split folders, by paths below that folder.

    Rows of the other splits, which are called `splits` in small letters, are left out: of these images none is looked
    at. Raises DatasetError for a row below no split, which no command could honour.

    >>> rows = {"val/cat/1.jpg": "dog", "train/cat/2.jpg": "dog"}
    >>> below_split(Path("/pets/corrections.csv"), rows, Path("/pets/val"), ("train", "val"))
    {'cat/1.jpg': 'dog'}
    """
    folder = folder.absolute()
    rows = {}
    for path, label in below(folder.parent, labels, table).items():
        name, _, rest = path.partition("/")
        if name == folder.name:
            rows[rest] = label
        elif name.lower() not in splits and not Path(path).is_absolute():
            raise DatasetError(
                f"{table}: no image has the path {path}",
                hint=f"this table lies beside {folder.name}/, so its paths begin with a split, as in {folder.name}/...",
            )
    return rows


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


def _below(folder: Path, path: str) -> str:
    folder = folder.absolute()  # paths may be absolute where the folder was not named so
    place = folder / path
    return (place.relative_to(folder) if place.is_relative_to(folder) else place).as_posix()


def _rewritten(folder: Path, text: str, path: str, label: str | None) -> str:
    """The text of a table with one image's row set, or taken out; not a byte of the others is changed."""
    records = _records(folder / FILE_NAME, text)
    end = "\r\n" if records and records[0][0].endswith("\r\n") else "\n"
    row = "" if label is None else _row(path, label) + end
    parts, placed = [], False
    for number, (written, cells) in enumerate(records):
        if number == 0 or not cells or _below(folder, unguard(cells[0])) != path:
            parts.append(written)
        elif not placed:
            parts.append(row)
            placed = True
    if not records:
        parts = [text, ",".join(COLUMNS), end]
    if not placed and row and not parts[-1].endswith(("\n", "\r")):
        parts.append(end)  # the last row need not have ended its line
    return "".join(parts) + ("" if placed else row)


def _text(table: Path) -> str:
    try:
        return reading.read_bytes(table, most=MAX_BYTES).decode("utf-8")
    except reading.NotRegularError as error:
        raise DatasetError(f"{table}: {error}", hint="remove it, or put a table in its place") from error
    except reading.TooLargeError as error:
        raise DatasetError(f"{table}: no table of corrections: {error}", hint="give another file") from error
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise _no_csv(table, error) from error


def _records(table: Path, text: str) -> list[tuple[str, list[str]]]:
    """Each row of a table as it is written, and its cells."""
    # Spreadsheets begin their UTF-8 with a mark.
    mark = text[: text.startswith("\ufeff")]
    lines = list(io.StringIO(text[len(mark) :], newline=""))
    reader, records, start = csv.reader(lines), [], 0
    try:
        for cells in reader:
            records.append(("".join(lines[start : reader.line_num]), cells))
            start = reader.line_num
    except csv.Error as error:
        raise _no_csv(table, error) from error
    if records:
        records[0] = (mark + records[0][0], records[0][1])
    return records


def _no_csv(table: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{table}: not a CSV file in UTF-8: {error}", hint="save it as CSV, UTF-8")


def _row(path: str, label: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow((guard(path), guard(label)))
    return text.getvalue().removesuffix("\r\n")


def _behind_link(table: Path) -> Path:
    """The file itself, so that a link stays one; a new file is never made through a link."""
    if not table.is_symlink():
        return table
    if not table.is_file():
        raise DatasetError(f"{table}: a link that leads to no file", hint="remove the link")
    return table.resolve()


def _in_words(label: str | None) -> str:
    return "not corrected" if label is None else "removed" if label == REMOVE else f"corrected to {label}"


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
            hint=f"the classes are {some(sorted(classes))}; or {REMOVE} to leave an image out",
        )
