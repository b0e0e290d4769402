"""Review: the images of a run that a person should look at, and the table into which the decisions go.

Four reasons bring an image here: its label is suspected, its answer is a mistake, it is unlike the training images, or
another class is a little likelier.
What a person decides is written to the dataset's `corrections.csv` at once; no image is ever touched.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from pathlib import Path
from typing import Any

from fieldmark.classifier import Classifier
from fieldmark.errors import DatasetError, FieldmarkError
from fieldmark.images.corrections import FILE_NAME, below, below_split, correct, read_table
from fieldmark.images.scan import SPLIT_FOLDERS
from fieldmark.report.contents import Contents, read_contents
from fieldmark.runs import Run
from fieldmark.serving.retraining import retrain_command, validation_folder
from fieldmark.serving.similar import open_gallery
from fieldmark.serving.suspicions import (
    Item,
    audited_items,
    mistaken_items,
    ordered,
    suspected_items,
    unfamiliar_items,
)

MOST_ITEMS = 2_000  # in one answer: more than anybody looks through, and the page stays quick


@dataclasses.dataclass(frozen=True)
class Source:
    """What a run says of the dataset it was trained on."""

    root: Path | None  # None where the run does not say
    validation: Path | None  # the folder of --validation, where it lies outside of the root
    classes: tuple[str, ...]
    command: str | None  # that trains again
    sizes: dict[str, tuple[int, int]]  # {path: (width, height)} of the upright image, in pixels
    items: list[Item]  # to be looked at, but for labels that were not checked before
    labels_checked: bool
    other_table: dict[str, str]  # {path: label} that --corrections said, if the run was trained with one


class Review:
    """Owner of the queue of one run; any thread may call its methods."""

    def __init__(self, classifier: Classifier, run: Run) -> None:
        self._classifier = classifier
        self._run = run
        self._lock = threading.Lock()
        self._search: threading.Thread | None = None
        self._queue: dict[str, Item] = {}  # by id, the first first

    def page(self) -> dict[str, Any]:
        """Return the queue: {"items", "classes", "command", "table", "more", "pending", "problem"}.

        `more` counts items beyond MOST_ITEMS. `pending`: suspected labels are still searched for, which takes seconds,
        once. `problem` says why nothing can be corrected, None where it can. Raises ModelFileError for a run that
        cannot be read.
        """
        source = self.source
        pending = self._searching()
        items = list(self._queue.values())
        current, problem = dict[str, str](), None
        try:
            current = _current(source)
        except DatasetError as error:
            problem = f"{error}; {error.hint}" if error.hint else str(error)
        return {
            "items": [item.to_json(current.get(item.path)) for item in items[:MOST_ITEMS]],
            "classes": list(source.classes),
            "command": source.command,
            "table": str(_table(source.root)) if source.root else None,
            "more": max(0, len(items) - MOST_ITEMS),
            "pending": pending,
            "problem": problem,
        }

    def find(self, id_: str) -> Item | None:
        """The image with this id; None where the queue has none."""
        self._searching()
        return self._queue.get(id_)

    def file(self, item: Item) -> tuple[Path, tuple[int, int] | None]:
        """Where an image lies, and its (width, height) if they are known. Raises DatasetError."""
        return _folder(self.source, item.path) / item.path, self.source.sizes.get(item.path)

    def correct(self, item: Item, correction: str | None, *, expected: str | None) -> dict[str, Any]:
        """Write a class, `remove`, or None for no correction, and return the item as it is now.

        An undone row may uncover one in the table beside a split folder, which then holds.
        Raises ConflictError where the correction is no longer `expected`, DatasetError and OutputError where it cannot
        be written; see `fieldmark.images.corrections.correct`.
        """
        file, _ = self.file(item)
        if correction is not None and not file.is_file():
            raise DatasetError(
                f"{item.path}: the image is not there any more; the next training would refuse a correction of it",
                hint="undo its correction if it has one, and go on",
            )
        _current(self.source)
        table, path = _row_of(_folder(self.source, item.path), file)
        correct(table, path, correction, expected=expected)
        return item.to_json(_written(self.source).get(item.path))

    @functools.cached_property
    def source(self) -> Source:
        """What the run says; read once."""
        return read_source(read_contents(self._run.folder))

    def _searching(self) -> bool:
        """Whether suspected labels are being searched for; the first to ask begins it."""
        with self._lock:
            if self._search is None:
                self._queue = _by_id(self.source.items)
                self._search = threading.Thread(target=self._find_suspects, name="suspected labels", daemon=True)
                self._search.start()
        return self._search.is_alive()

    def _find_suspects(self) -> None:
        if self.source.labels_checked:
            return
        try:
            found = suspected_items(open_gallery(self._classifier, self._run))
        except FieldmarkError:
            return  # without embeddings there is nothing to ask; the other images stand there all the same
        self._queue = _by_id(ordered([*found, *self.source.items]))


def _by_id(items: list[Item]) -> dict[str, Item]:
    return {item.id: item for item in items}


def read_source(contents: Contents) -> Source:
    """What the files of a run say of its dataset, and which of its images should be looked at."""
    items = audited_items(contents.audit.get("suspected_labels", []))
    validation = None
    if contents.predictions is not None:
        items += [*mistaken_items(contents.predictions), *unfamiliar_items(contents.predictions)]
        validation = validation_folder(contents.predictions)
    return Source(
        root=contents.root,
        validation=validation,
        classes=tuple(contents.classes),
        command=retrain_command(contents.recipe, contents.root, validation) if contents.root else None,
        sizes=contents.sizes,
        items=ordered(items),
        labels_checked=any(
            check["name"] == "wrong_labels" and check["status"] == "done" for check in contents.audit.get("checks", [])
        ),
        other_table=_rows_of_other_table(contents),
    )


def _rows_of_other_table(contents: Contents) -> dict[str, str]:
    """{path: label} of what a table elsewhere has corrected; that table may be the dataset's own, given by its name."""
    table, own = contents.run.get("corrections_table"), (contents.root or Path()) / FILE_NAME
    if not isinstance(table, str) or Path(table) == own:
        return {}
    return {row["path"]: row["to"] for row in contents.run.get("corrections", [])}


def _root(source: Source) -> Path:
    if source.root is None:
        raise DatasetError("the run does not say where its images lie", hint="train again to review them")
    if not source.root.is_dir():
        raise DatasetError(
            f"{source.root}: the images are not there any more; their folder was moved or deleted",
            hint="put it back, or train again where it is now",
        )
    return source.root


def _folder(source: Source, path: str) -> Path:
    """The folder that holds an image, and whose table corrects it: the dataset's, or that of --validation elsewhere.

    A run folder may come from a stranger: no path in it leads elsewhere.
    """
    given = Path(path)
    elsewhere = source.validation if source.validation and given.is_relative_to(source.validation) else None
    if ".." in given.parts or (given.is_absolute() and elsewhere is None):
        raise DatasetError(
            f"{path}: lies outside of {source.root}, in a folder that the run does not name",
            hint=f"write its correction into the {FILE_NAME} of that folder",
        )
    return elsewhere or _root(source)


def _table(folder: Path) -> Path:
    """The table that a new correction of a folder goes to: its own, or the one beside a split folder that has none."""
    own, beside = folder / FILE_NAME, _beside(folder)
    return beside if beside is not None and not own.is_file() else own


def _beside(folder: Path) -> Path | None:
    table = folder.absolute().parent / FILE_NAME
    return table if folder.absolute().name.lower() in SPLIT_FOLDERS and table.is_file() else None


def _labels(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{path below the folder: label} of its own table, and of the one beside it."""
    own, beside = folder / FILE_NAME, _beside(folder)
    nearer = below(folder, read_table(own), own) if own.is_file() else {}
    if beside is None:
        return nearer, {}
    return nearer, below_split(beside, read_table(beside), folder.absolute(), tuple(SPLIT_FOLDERS))


def _row_of(folder: Path, file: Path) -> tuple[Path, str]:
    """The table that an image's row stands in, or would, and the image's path there."""
    path, beside, (nearer, others) = file.relative_to(folder).as_posix(), _beside(folder), _labels(folder)
    if beside is not None and path not in nearer and (path in others or _table(folder) == beside):
        return beside, f"{folder.absolute().name}/{path}"
    return folder / FILE_NAME, path


def _written(source: Source) -> dict[str, str]:
    """{path: correction} of every table. Raises DatasetError where none can be read."""
    labels: dict[str, str] = {}
    root = _root(source)
    for folder in (root, source.validation):
        if folder is not None:
            nearer, others = _labels(folder)
            for path, label in (others | nearer).items():
                labels[path if folder == root else (folder / path).as_posix()] = label
    return labels


def _current(source: Source) -> dict[str, str]:
    """{path: correction} of every table. Raises DatasetError where none can be read, or written without a loss."""
    labels, root = _written(source), _root(source)
    if source.other_table and not labels.keys() & source.other_table.keys():
        raise DatasetError(
            f"this run was trained with another table (--corrections), of which {root / FILE_NAME} has no row",
            hint="copy that table there, or the next training does without it",
        )
    return labels
