"""Remarks: sentences on a dataset that no single file shows."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from fieldmark.images.dataset import SPLITS, Dataset
from fieldmark.images.names import some
from fieldmark.images.scan import split_folders


def remarks_on(dataset: Dataset, copies: Iterable[Sequence[int]]) -> list[str]:
    """What is to be known of splits and classes; `copies` are rows of the same picture, one sequence a picture."""
    return [
        *_empty_splits(dataset),
        *_lacking_classes(dataset),
        *_foreign_classes(dataset),
        *_alike_names(dataset.classes),
        *_nested_classes(dataset.classes),
        *_in_two_classes(dataset, copies),
    ]


def _empty_splits(dataset: Dataset) -> list[str]:
    # A validation split that a training makes instead must not pass for the folder's own.
    counts = dataset.counts()
    return [
        f"{folder.name}/ holds no image that can be used"
        + (", so a training holds out some of its own images instead" if split == "validation" else "")
        for split, folder in split_folders(dataset.root)
        if split not in counts
    ]


def _lacking_classes(dataset: Dataset) -> list[str]:
    counts = dataset.counts()
    lacking = {split: [name for name, count in counts.get(split, {}).items() if not count] for split in SPLITS}
    return [f"{split} has no image of {some(names)}" for split, names in lacking.items() if names]


def _foreign_classes(dataset: Dataset) -> list[str]:
    details = {problem.detail for problem in dataset.problems if problem.code == "unknown_class"}
    return [f"in validation or test, {detail}" for detail in sorted(details)]


def _alike_names(classes: Sequence[str]) -> list[str]:
    said: list[str] = []
    for what, key in _ALIKE:
        said += [f"{some(names)} are classes whose names differ in {what} alone" for names in _by(key, classes)]
    return said


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


# What tells names apart that people take for one, and the key that leaves it out
_ALIKE: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("how letters are encoded (Unicode)", _composed),
    ("capital letters", str.casefold),
)


def _nested_classes(classes: Sequence[str]) -> list[str]:
    nested = [name for name in classes if "/" in name]
    if not nested:
        return []
    folders = {name.rsplit("/", 1)[0] for name in nested}
    return [
        f"sub-folders count as classes of their own: {some(nested, 3)} ({len(nested)} of {len(classes)} classes); "
        f"if {some(sorted(folders), 3)} should be one class each, move the images up"
    ]


def _in_two_classes(dataset: Dataset, copies: Iterable[Sequence[int]]) -> list[str]:
    twofold = [rows for rows in copies if len({int(dataset.labels[row]) for row in rows}) > 1]
    return [
        "the same image stands in two classes: " + " and ".join(dataset.paths[row] for row in rows) for rows in twofold
    ]


def _by(key: Callable[[str], str], names: Sequence[str]) -> list[list[str]]:
    """The names that a key makes equal, where there are two or more."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[key(name)].append(name)
    return [found for found in alike.values() if len(found) > 1]
