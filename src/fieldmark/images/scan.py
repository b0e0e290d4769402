"""Scan: a folder of folders becomes a Dataset. Lists names only; not one file is opened.

Class = full path of the folder below the root (or below `train/`, `validation/`, `test/`), so that `a/good` and
`b/good` stay two classes. Whatever is not an image of a class becomes a problem row; nothing is dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldmark.images import corrections as tables
from fieldmark.images.dataset import Dataset
from fieldmark.images.entries import folder_names, holds_images, identity
from fieldmark.images.names import natural_key, printable
from fieldmark.images.problems import Problem
from fieldmark.images.refusals import (
    refuse_splits_without_train,
    require_another,
    require_folder,
    require_images,
    require_images_left,
)
from fieldmark.images.walk import Found, path_below, report_beside, walk

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def scan(
    root: Path,
    *,
    validation: Path | None = None,
    classes: tuple[str, ...] | None = None,
    corrections: Path | None = None,
) -> Dataset:
    """List the images below `root` with their classes, and with their splits where folders say so.

    `classes` fixes the class names and their order (a classifier's own); otherwise the training images' folders
    do. Images of other classes become problem rows: classes are matched by name, never by position. Links to
    files and folders are followed, each folder once. `corrections` is a table that sets labels right, otherwise
    `corrections.csv` in `root` (and in `validation`) where it exists; where one of these is a split of a dataset,
    such as `photos/validation`, that of the dataset, `photos/corrections.csv`, is honoured for it as well. See
    `fieldmark.images.corrections`.

    Raises DatasetError where `root` is missing, is a file, or holds no image below a class folder, and for a
    table that names a path or a class that is not there.
    """
    require_folder(root)
    found = Found(tables=_possible_tables(root, validation, corrections))
    splits = split_folders(root)
    if validation is not None:
        require_folder(validation)
        require_another(root, validation)
        splits = [(split, folder) for split, folder in splits if split != "validation"]
    # A validation folder inside of the root is not trained on as well.
    elsewhere = {identity(validation)} if validation is not None else set()
    for split, folder in splits or [("train" if validation else "", root)]:
        walk(root, folder, split, found, elsewhere)
    if splits:
        report_beside(root, {folder for _, folder in splits}, found, elsewhere)
    if validation is not None:
        walk(root, validation, "validation", found, set())
    require_images(root, found)
    corrected = _correct(root, validation, corrections, found, classes)
    require_images_left(root, found, corrected)
    return _dataset(root, found, classes).replace(corrections=corrected)


def split_folders(root: Path) -> list[tuple[str, Path]]:
    """The (split, folder) pairs of a root that holds `train/`; empty where its folders are the classes."""
    folders = [name for name in folder_names(root) if name.lower() in SPLIT_FOLDERS]
    splits = [(SPLIT_FOLDERS[name.lower()], root / name) for name in folders]
    train = [folder for split, folder in splits if split == "train" and folder_names(folder)]
    # A class may itself be called "train" (bus, car, train): a split holds folders, and no images of its own unless
    # they are strays beside other splits.
    if train and (len(splits) > 1 or not any(holds_images(folder) for folder in train)):
        return splits
    refuse_splits_without_train(root, splits)
    return []


def _possible_tables(root: Path, validation: Path | None, chosen: Path | None) -> frozenset[Path]:
    folders = [folder for folder in (root, validation) if folder is not None]
    named = {chosen} if chosen is not None else set()
    return frozenset({folder / tables.FILE_NAME for folder in folders} | named)


def _correct(
    root: Path, validation: Path | None, chosen: Path | None, found: Found, classes: tuple[str, ...] | None
) -> tuple[tables.Correction, ...]:
    """Set the labels of the images found right; what was corrected."""
    names = {name for _, name, _ in found.images} | set(classes or ())
    corrected: list[tables.Correction] = []
    for table, labels in labels_by_tables(root, validation, chosen):
        found.images, changed = tables.apply(table, labels, found.images, names)
        corrected += changed
    return tuple(corrected)


def labels_by_tables(
    root: Path, validation: Path | None = None, chosen: Path | None = None
) -> list[tuple[Path, dict[str, str]]]:
    """Return each table of corrections that holds for a dataset, with {path as in Dataset.paths: label}.

    The arguments are those of `scan`. Raises DatasetError for what is no such table.
    """
    own, beside = tables.find_table(root, chosen), _table_beside(root, chosen)
    rows = _rows_of(own, root, beside)
    if validation is not None:
        other = _table_beside(validation, chosen)
        # A validation folder inside of the root stands in the root's own table, which is applied already.
        done = _same(own, other) and not _same(own, beside)
        rows += _rows_of(tables.find_table(validation, None), validation, None if done else other)
    return [
        (table, {path_below(root, folder / path): label for path, label in below.items()})
        for table, folder, below in rows
    ]


def _rows_of(own: Path | None, folder: Path, beside: Path | None) -> list[tuple[Path, Path, dict[str, str]]]:
    """(table, folder, {path below the folder: label}) of a folder's own table, and of the one beside a split folder.

    Where both have a row of one image, the folder's own is the nearer one and holds.
    """
    rows = []
    labels: dict[str, str] = {}
    if own is not None and not _same(own, beside):  # a table chosen may be the one beside
        labels = tables.below(folder, tables.read_table(own), own)
        rows.append((own, folder, labels))
    if beside is not None:
        others = tables.below_split(beside, tables.read_table(beside), folder, tuple(SPLIT_FOLDERS))
        rows.append((beside, folder, {path: label for path, label in others.items() if path not in labels}))
    return rows


def _table_beside(folder: Path, chosen: Path | None) -> Path | None:
    """The table of the whole dataset where the folder is one split of it: its paths begin with the split's name."""
    folder = folder.absolute()
    if folder.name.lower() not in SPLIT_FOLDERS:
        return None
    table = folder.parent / tables.FILE_NAME
    if chosen is None:
        return table if table.is_file() else None
    return chosen if chosen.resolve().parent == folder.parent.resolve() else None


def _same(one: Path | None, other: Path | None) -> bool:
    return one is not None and other is not None and one.samefile(other)


def _dataset(root: Path, found: Found, classes: tuple[str, ...] | None) -> Dataset:
    if classes is None:
        classes = tuple(sorted({name for _, name, split in found.images if split in ("train", "")}, key=natural_key))
    labels = {name: label for label, name in enumerate(classes)}
    known = [image for image in found.images if image[1] in labels]
    for path, name, _ in found.images:
        if name not in labels:
            found.problem(path, "unknown_class", _unknown(name, classes))
    return Dataset(
        root=root,
        classes=classes,
        paths=tuple(path for path, _, _ in known),
        labels=np.array([labels[name] for _, name, _ in known], dtype=np.int32),
        splits=np.array([split for _, _, split in known], dtype="<U10"),
        problems=tuple(found.problems),
    )


def without_empty_classes(dataset: Dataset) -> Dataset:
    """The dataset without classes that have no training image, such as a folder of notes; each becomes a row."""
    trained = dataset.labels[(dataset.splits == "train") | (dataset.splits == "")]
    kept = [label for label in range(len(dataset.classes)) if np.any(trained == label)]
    if len(kept) == len(dataset.classes):
        return dataset
    classes = tuple(dataset.classes[label] for label in kept)
    numbers = np.full(len(dataset.classes), -1, dtype=np.int32)
    numbers[kept] = np.arange(len(kept))
    empty = [name for label, name in enumerate(dataset.classes) if label not in kept]
    problems = [Problem(printable(name), "empty_class", "not one of its files can be trained on") for name in empty]
    lost = np.flatnonzero(numbers[dataset.labels] < 0)
    problems += [
        Problem(printable(dataset.paths[row]), "unknown_class", _unknown(dataset.classes[dataset.labels[row]], classes))
        for row in lost
    ]
    rest = dataset.keep(np.setdiff1d(np.arange(len(dataset)), lost))
    return rest.replace(classes=classes, labels=numbers[rest.labels], problems=(*dataset.problems, *problems))


def _unknown(name: str, classes: tuple[str, ...]) -> str:
    alike = [known for known in classes if known.casefold() == name.casefold()]
    case = f" (it differs from {printable(alike[0])} in capital letters only)" if alike else ""
    return f"class {printable(name)} is not one of the training classes{case}"
