"""Scan: a folder of folders becomes a Dataset. Lists names only; not one file is opened.

Class = full path of the folder below the root (or below `train/`, `validation/`, `test/`), so that `a/good` and
`b/good` stay two classes. Whatever is not an image of a class becomes a problem row; nothing is dropped.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from pathlib import Path

import numpy as np

from fieldmark.errors import DatasetError
from fieldmark.images import corrections as tables
from fieldmark.images.dataset import Dataset
from fieldmark.images.formats import FORMATS
from fieldmark.images.problems import Problem

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
# What operating systems, notebooks and archives leave behind; never a class, never an image.
SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "@eadir",
    }
)
IMAGE_SUFFIXES = frozenset(suffix for kind in FORMATS.values() for suffix in kind.suffixes)


@dataclasses.dataclass
class _Found:
    """What the walk has met so far: images as (path, class, split), and problems."""

    images: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    tables: frozenset[Path] = frozenset()  # of corrections, which are no stray files

    def problem(self, path: str, code: str, detail: str) -> None:
        self.problems.append(Problem(printable(path), code, detail))


def natural_key(name: str) -> str:
    """Sort key that orders 1, 2, 10 as numbers; ties fall back to the characters.

    >>> sorted(["10", "2", "1", "b", "A"], key=natural_key)
    ['1', '2', '10', 'A', 'b']
    """
    # One string: a tuple of parts would take five times the memory and twice the time, for every name of a folder.
    return f"{_DIGITS.sub(_number_key, name.casefold())}\0{name}"


_DIGITS = re.compile("[0-9]+")


def _number_key(digits: re.Match[str]) -> str:
    """The digits behind their count, as a character: longer numbers are greater, and all come before letters."""
    number = digits[0].lstrip("0")
    return f"\1{chr(min(len(number), 0xD7FF))}{number}"


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(path: str) -> str:
    r"""A path that every UTF-8 file can hold: bytes that are not UTF-8 are written as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
    `corrections.csv` in `root` (and in `validation`) where it exists; see `fieldmark.images.corrections`.

    Raises DatasetError where `root` is missing, is a file, or holds no image below a class folder, and for a
    table that names a path or a class that is not there.
    """
    _require_folder(root)
    found = _Found(tables=_possible_tables(root, validation, corrections))
    splits = split_folders(root)
    if validation is not None:
        _require_folder(validation)
        _require_another(root, validation)
        splits = [(split, folder) for split, folder in splits if split != "validation"]
    # A validation folder inside of the root is not trained on as well.
    elsewhere = {_identity(validation)} if validation is not None else set()
    for split, folder in splits or [("train" if validation else "", root)]:
        _walk(root, folder, split, found, elsewhere)
    if splits:
        _report_beside(root, {folder for _, folder in splits}, found, elsewhere)
    if validation is not None:
        _walk(root, validation, "validation", found, set())
    _require_images(root, found)
    corrected = _correct(root, validation, corrections, found, classes)
    _require_images(root, found)
    return _dataset(root, found, classes).replace(corrections=corrected)


def split_folders(root: Path) -> list[tuple[str, Path]]:
    """The (split, folder) pairs of a root that holds `train/`; empty where its folders are the classes."""
    folders = [entry for entry in _entries(root) if _kind(entry) == "folder" and entry.name.lower() in SPLIT_FOLDERS]
    splits = [(SPLIT_FOLDERS[entry.name.lower()], Path(entry.path)) for entry in folders]
    train = [folder for split, folder in splits if split == "train" and _holds(folder, folders=True)]
    # A class may itself be called "train" (bus, car, train): a split holds folders, and no images of its own unless
    # they are strays beside other splits.
    if train and (len(splits) > 1 or not any(_holds(folder, folders=False) for folder in train)):
        return splits
    _refuse_splits_without_train(root, splits)
    return []


def require_two_classes(dataset: Dataset) -> None:
    """Raise DatasetError unless there is something to tell apart."""
    if len(dataset.classes) < 2:
        name = dataset.classes[0] if dataset.classes else "none"
        raise DatasetError(
            f"{dataset.root}: one class only, {printable(name)} ({counted(len(dataset), 'image')}); "
            "at least two are needed",
            hint=_point_elsewhere(dataset.root) or "put the images of a second class into a sub-directory of its own",
        )


def require_trainable(dataset: Dataset) -> None:
    """Raise DatasetError unless there are two classes with two usable training images each."""
    require_two_classes(dataset)
    trained = dataset.labels[(dataset.splits == "train") | (dataset.splits == "")]
    counts = np.bincount(trained, minlength=len(dataset.classes))
    few = [f"{printable(name)} ({count})" for name, count in zip(dataset.classes, counts, strict=True) if count < 2]
    if few:
        raise DatasetError(
            f"{dataset.root}: fewer than two usable images in {', '.join(few)}; a class needs two at the least",
            hint="add images, or move what is no class elsewhere; `fieldmark audit` lists what cannot be used",
        )


def _walk(root: Path, top: Path, split: str, found: _Found, elsewhere: set[tuple[int, int]]) -> None:
    """Add all images below `top`, class by class; iterative, since folders may nest deeper than Python's stack."""
    stack = [(top, "")]
    seen = {_identity(top)}
    table_names = {table.name for table in found.tables}
    while stack:
        folder, name = stack.pop()
        try:
            entries = _entries(folder)
        except OSError as error:
            found.problem(_below(root, folder), "unreadable_folder", error.strerror or str(error))
            continue
        images = 0
        inner: list[tuple[Path, str]] = []
        # Once a folder, not once a file: Path takes longer than all else here.
        prefix = "" if folder == root else f"{_below(root, folder)}/"
        for entry in entries:
            kind = _kind(entry)
            identity = _identity(Path(entry.path)) if kind == "folder" else None
            if identity in elsewhere:
                continue
            if identity is not None and identity not in seen:
                seen.add(identity)
                inner.append((Path(entry.path), f"{name}/{entry.name}" if name else entry.name))
            elif entry.name in table_names and Path(entry.path) in found.tables:
                continue
            elif kind == "file" and name:
                images += 1
                found.images.append((prefix + entry.name, name, split))
            else:
                code = {"folder": "link_loop", "file": "loose_file"}.get(kind, kind)
                found.problem(prefix + entry.name, code, _DETAILS[code])
        if name and not images and not inner:
            found.problem(_below(root, folder), "empty_class", _DETAILS["empty_class"])
        stack.extend(reversed(inner))


_DETAILS = {
    "hidden": "the name begins with a dot",
    "system_file": "left behind by an operating system, an archive or a notebook",
    "name_not_utf8": "the name is not valid UTF-8; rename it to use it",
    "not_regular_file": "a pipe, socket or device",
    "broken_link": "a link that leads nowhere",
    "link_loop": "a link to a folder that was read already",
    "loose_file": "lies beside the class folders, so it has no class",
    "empty_class": "a folder without images",
    "beside_splits": "lies beside train/, so it belongs to no split",
    "run_folder": "left by an earlier training",
}


def _kind(entry: os.DirEntry[str]) -> str:
    """Return "folder", "file", or the problem code of what can be neither class nor image."""
    name = entry.name
    if name.startswith("."):
        return "hidden"
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return "name_not_utf8"
    if name.lower() in SYSTEM_NAMES:
        return "system_file"
    # The folder's own listing knows the kind of all but links, which cost a system call.
    if entry.is_dir(follow_symlinks=False):
        return "run_folder" if _is_run(entry.path) else "folder"
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken_link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "not_regular_file"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: natural_key(entry.name))


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:  # a name too long for the system; reading it will be reported
        return (-1, hash(folder))
    return (status.st_dev, status.st_ino)


def _below(root: Path, path: Path) -> str:
    """The path below root with "/", or absolute where it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _is_run(folder: str) -> bool:
    # A run has its history from the first epoch on, and checkpoints before that.
    return any(os.path.exists(f"{folder}/{name}") for name in ("history.csv", "run.json"))  # noqa: PTH110  a hot path


def _holds(folder: Path, *, folders: bool) -> bool:
    """Whether a folder holds other folders, or images."""
    try:
        entries = _entries(folder)
    except OSError:
        return False
    if folders:
        return any(_kind(entry) == "folder" for entry in entries)
    return any(_kind(entry) == "file" and _looks_like_image(entry.name) for entry in entries)


def _refuse_splits_without_train(root: Path, splits: list[tuple[str, Path]]) -> None:
    """Class folders beside a `val/` that holds the same ones: half of a split layout, not classes of classes."""
    classes = {entry.name for entry in _entries(root) if _kind(entry) == "folder"}
    for split, folder in splits:
        if split != "train" and _holds(folder, folders=True) and classes & {entry.name for entry in _entries(folder)}:
            raise DatasetError(
                f"{root}: holds class folders beside {folder.name}/, which holds class folders of the same names",
                hint=f"move the class folders into {root / 'train'}, or name {folder.name}/ with --validation",
            )


def _require_another(root: Path, validation: Path) -> None:
    if _identity(root) == _identity(validation):
        raise DatasetError(
            f"--validation {validation}: the same folder as the training images",
            hint="leave it out to have a split made, or give a folder of other images",
        )


def _looks_like_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _report_beside(root: Path, splits: set[Path], found: _Found, elsewhere: set[tuple[int, int]]) -> None:
    for entry in _entries(root):
        kind = _kind(entry)
        if Path(entry.path) not in splits | found.tables and _identity(Path(entry.path)) not in elsewhere:
            code = {"folder": "beside_splits", "file": "loose_file"}.get(kind, kind)
            found.problem(entry.name, code, _DETAILS[code])


def _possible_tables(root: Path, validation: Path | None, chosen: Path | None) -> frozenset[Path]:
    folders = [folder for folder in (root, validation) if folder is not None]
    named = {chosen} if chosen is not None else set()
    return frozenset({folder / tables.FILE_NAME for folder in folders} | named)


def _correct(
    root: Path, validation: Path | None, chosen: Path | None, found: _Found, classes: tuple[str, ...] | None
) -> tuple[tables.Correction, ...]:
    """Set the labels of the images found right; what was corrected."""
    names = {name for _, name, _ in found.images} | set(classes or ())
    # A path is below the folder that its table corrects: one chosen belongs to the root, as the root's own does.
    below = [(tables.find_table(root, chosen), root)]
    below += [(tables.find_table(validation, None), validation)] if validation is not None else []
    corrected: list[tables.Correction] = []
    for table, folder in below:
        if table is not None:
            labels = {_below(root, folder / path): label for path, label in tables.read_table(table).items()}
            found.images, changed = tables.apply(table, labels, found.images, names)
            corrected += changed
    return tuple(corrected)


def _require_folder(root: Path) -> None:
    if root.is_dir():
        try:
            os.scandir(root).close()
        except OSError as error:
            raise DatasetError(f"{root}: cannot be listed: {error.strerror}", hint="check its permissions") from error
        return
    if root.exists():
        raise DatasetError(f"{root}: is a file; expected a directory with one sub-directory per class")
    raise DatasetError(f"{root}: no such directory", hint=_neighbours(root))


def _neighbours(root: Path) -> str:
    """What lies where a missing folder was looked for."""
    parent = root.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    try:
        names = [entry.name for entry in _entries(parent) if _kind(entry) == "folder"]
    except OSError:
        names = []
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"{parent} holds the folders {shown}" if names else f"{parent} holds no folder"


def _require_images(root: Path, found: _Found) -> None:
    if any(split in ("train", "") for _, _, split in found.images):
        return
    loose = [
        problem.path for problem in found.problems if problem.code == "loose_file" and _looks_like_image(problem.path)
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


def _point_elsewhere(root: Path) -> str:
    """The hint for the commonest mistake, pointing at a class folder: what the folder above holds."""
    parent = root.absolute().parent
    try:
        names = [
            entry.name for entry in _entries(parent) if _kind(entry) == "folder" and _holds_images(Path(entry.path))
        ]
    except OSError:
        return ""
    if len(names) < 2 or root.absolute().name not in names:
        return ""
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return f"{root.name} looks like one class of {parent} ({shown}); point at {parent}"


def _holds_images(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(_looks_like_image(entry.name) for entry in entries)
    except OSError:
        return False


def _unknown(name: str, classes: tuple[str, ...]) -> str:
    alike = [known for known in classes if known.casefold() == name.casefold()]
    case = f" (it differs from {printable(alike[0])} in capital letters only)" if alike else ""
    return f"class {printable(name)} is not one of the training classes{case}"


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


def _dataset(root: Path, found: _Found, classes: tuple[str, ...] | None) -> Dataset:
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
