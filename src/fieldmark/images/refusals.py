"""Refusals: folders and datasets that nothing can be made of, each with a hint at what was probably meant."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldmark.errors import DatasetError
from fieldmark.images.corrections import Correction
from fieldmark.images.dataset import Dataset
from fieldmark.images.entries import folder_names, holds_images, identity, looks_like_image
from fieldmark.images.names import counted, printable, some
from fieldmark.images.walk import Found, path_below


def require_folder(root: Path) -> None:
    """Raise DatasetError unless `root` is a folder that can be listed."""
    try:
        is_folder, exists = root.is_dir(), root.exists()
    except OSError as error:  # a name too long for the system
        raise DatasetError(f"{root}: no such directory: {error.strerror}", hint="check the spelling") from error
    if is_folder:
        try:
            os.scandir(root).close()
        except OSError as error:
            raise DatasetError(f"{root}: cannot be listed: {error.strerror}", hint="check its permissions") from error
        return
    if exists:
        raise DatasetError(f"{root}: is a file; expected a directory with one sub-directory per class")
    raise DatasetError(f"{root}: no such directory", hint=_neighbours(root))


def require_another(root: Path, validation: Path) -> None:
    """Raise DatasetError where the folder to validate on is the training images' own."""
    if identity(root) == identity(validation):
        raise DatasetError(
            f"--validation {validation}: the same folder as the training images",
            hint="leave it out to have a split made, or give a folder of other images",
        )


def refuse_splits_without_train(root: Path, splits: list[tuple[str, Path]]) -> None:
    """Class folders beside a `val/` that holds the same ones: half of a split layout, not classes of classes."""
    classes = set(folder_names(root))
    for split, folder in splits:
        if split != "train" and classes & set(folder_names(folder)):
            raise DatasetError(
                f"{root}: holds class folders beside {folder.name}/, which holds class folders of the same names",
                hint=f"move the class folders into {root / 'train'}, or name {folder.name}/ with --validation",
            )


def require_images(root: Path, found: Found) -> None:
    """Raise DatasetError where not one image to train on was found below `root`."""
    if any(split in ("train", "") for _, _, split in found.images):
        return
    loose = [
        problem.path for problem in found.problems if problem.code == "loose_file" and looks_like_image(problem.path)
    ]
    if loose:
        raise DatasetError(
            f"{root}: holds {counted(len(loose), 'loose image')} ({loose[0]}, …) and no sub-directory with images; "
            "expected one sub-directory per class",
            hint=_point_elsewhere(root)
            or "sort the images into one sub-directory per class, such as photos/cat and photos/dog",
        )
    raise DatasetError(
        f"{root}: no images found; expected one sub-directory per class, each with images",
        hint=f"{len(found.problems)} other entries were found; `fieldmark audit` lists them"
        if found.problems
        else "the folder is empty",
    )


def require_images_left(root: Path, found: Found, corrected: Sequence[Correction]) -> None:
    """Raise DatasetError where a table of corrections has removed every image to train on."""
    if not any(split in ("train", "") for _, _, split in found.images):
        raise DatasetError(
            f"{root}: the table of corrections removes every image to train on ({counted(len(corrected), 'row')})",
            hint="take rows out of it, or name another table with --corrections",
        )


def require_two_classes(dataset: Dataset) -> None:
    """Raise DatasetError unless there is something to tell apart."""
    if len(dataset.classes) < 2:
        name = dataset.classes[0] if dataset.classes else "none"
        taken = _taken_away(dataset)
        raise DatasetError(
            f"{dataset.root}: one class only, {printable(name)} ({counted(len(dataset), 'image')}); "
            f"at least two are needed{taken}",
            hint=("look at the rows of that table" if taken else "")
            or _point_elsewhere(dataset.root)
            or "put the images of a second class into a sub-directory of its own",
        )


def require_trainable(dataset: Dataset) -> None:
    """Raise DatasetError unless there are two classes with two usable training images each."""
    require_two_classes(dataset)
    trained = dataset.labels[(dataset.splits == "train") | (dataset.splits == "")]
    counts = np.bincount(trained, minlength=len(dataset.classes))
    few = [f"{printable(name)} ({count})" for name, count in zip(dataset.classes, counts, strict=True) if count < 2]
    if few:
        raise DatasetError(
            f"{dataset.root}: fewer than two usable images in {', '.join(few)}; a class needs two at the least"
            f"{_taken_away(dataset)}",
            hint="add images, or move what is no class elsewhere; `fieldmark audit` lists what cannot be used",
        )


def require_validation(dataset: Dataset, validation: Path | None) -> None:
    """Raise DatasetError where a folder to validate on was named, and not one of its images can be used."""
    if validation is None or len(dataset.rows("validation")):
        return
    below = f"{path_below(dataset.root, validation)}/"
    problems = [problem for problem in dataset.problems if problem.path.startswith(below)]
    why = f" ({len(problems)} listed, such as {problems[0].path}: {problems[0].detail})" if problems else ""
    raise DatasetError(
        f"--validation {validation}: no image in it can be used{why}; expected images in {some(dataset.classes)}",
        hint="leave --validation out to have whole groups of the training images held out",
    )


def _taken_away(dataset: Dataset) -> str:
    """What a table of corrections took from the classes that are too small, or no more there; empty where nothing."""
    left = Counter(dataset.labels[(dataset.splits == "train") | (dataset.splits == "")].tolist())
    large = {name for label, name in enumerate(dataset.classes) if left[label] >= 2}
    taken = Counter(each.given for each in dataset.corrections if each.given not in large)
    rows = ", ".join(f"{counted(count, 'image')} of {printable(name)}" for name, count in sorted(taken.items()))
    return f"; the table of corrections takes {rows} away" if rows else ""


def _neighbours(root: Path) -> str:
    """What lies where a missing folder was looked for."""
    parent = root.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    names = folder_names(parent)
    return f"{parent} holds the folders {_first(names, 8)}" if names else f"{parent} holds no folder"


def _point_elsewhere(root: Path) -> str:
    """The hint for the commonest mistake, pointing at a class folder: what the folder above holds."""
    parent = root.absolute().parent
    names = [name for name in folder_names(parent) if holds_images(parent / name)]
    if len(names) < 2 or root.absolute().name not in names:
        return ""
    return f"{root.name} looks like one class of {parent} ({_first(names, 6)}); point at {parent}"


def _first(names: list[str], count: int) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
