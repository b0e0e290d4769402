"""Answers: what two classifiers say of the same images, from what their runs stored or computed anew."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from fieldmark.classifier import Classifier
from fieldmark.errors import DatasetError, FieldmarkError, ModelFileError
from fieldmark.evaluating import recorded_rule, scan_labelled
from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.images.audit import audit_images
from fieldmark.images.names import counted, some
from fieldmark.images.read import read
from fieldmark.images.scan import labels_by_tables
from fieldmark.reading import RUN_BYTES, kind_of, open_text, reason
from fieldmark.runs import Run
from fieldmark.storage import unguard
from fieldmark.training.learn import file_answers
from fieldmark.training.progress import Progress

_COPY = "copy the run folder again, or train again"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two: its classifier, and what its run folder knows, if there is one."""

    name: str  # as it was given
    classifier: Classifier
    run: Run | None


@dataclasses.dataclass(frozen=True)
class Answers:
    """The answers of one side, with what tells its images from one another."""

    predictions: Predictions
    hashes: tuple[str, ...]  # SHA-256 of each file
    files: tuple[Path, ...]


def shared_classes(first: Side, second: Side) -> tuple[tuple[str, ...], list[str]]:
    """The classes that both know, in the order of the first, and remarks on those that one alone knows."""
    a, b = first.classifier.classes, second.classifier.classes
    shared = tuple(name for name in a if name in b)
    if not shared:
        raise DatasetError(
            f"{first.name} knows {some(a)}; {second.name} knows {some(b)}: no class in common",
            hint="compare classifiers of the same classes; they are matched by name",
        )
    only = [(side, [name for name in names if name not in shared]) for side, names in (("A", a), ("B", b))]
    remarks = [
        f"only {side} knows {some(names)}: images of these classes are left out, and such an answer is a wrong one"
        for side, names in only
        if names
    ]
    return shared, remarks


def stored_answers(
    first: Side, second: Side, shared: tuple[str, ...]
) -> tuple[str, tuple[Answers, Answers], list[str]]:
    """What both runs answered for the held-out images that they share, in one order."""
    stored = [_stored(side) for side in (first, second)]
    for split in ("validation", "test"):
        keys = [_keys(answers, split, shared) for answers in stored]
        both = [key for key in keys[0] if key in keys[1]]
        if both:
            pair = tuple(
                _kept(answers, [known[key] for key in both]) for answers, known in zip(stored, keys, strict=True)
            )
            alone = [len(known) - len(both) for known in keys]
            remarks = [
                f"{counted(count, 'image')} of the {split} split of {side} alone left out"
                for side, count in zip("AB", alone, strict=True)
                if count
            ]
            return split, (pair[0], pair[1]), remarks
    raise DatasetError(
        f"{first.name} and {second.name} held out no image in common",
        hint="name a directory of labelled images that neither was trained on: fieldmark compare A B DIR",
    )


def corrected_since(first: Side, second: Side, answers: tuple[Answers, Answers]) -> list[str]:
    """Remarks on tables of corrections that give compared images other labels than those stored with the runs."""
    remarks: dict[str, list[str]] = {}
    for name, side, own in zip("AB", (first, second), answers, strict=True):
        for table, count in _changed_since(side, own.predictions):
            rows = "a row" if count == 1 else f"{count:,} rows"
            remarks.setdefault(f"{table} has {rows} of these images that", []).append(name)
    return [
        f"{found} {' and '.join(names)} had not been trained with: compared are the answers and labels stored with the "
        "runs; name the directory of these images to compare by the table: fieldmark compare A B DIR"
        for found, names in remarks.items()
    ]


def _changed_since(side: Side, predictions: Predictions) -> list[tuple[Path, int]]:
    """Each table of a run's dataset as it is now, with how many of the images it corrects otherwise than stored."""
    if side.run is None:
        return []
    label_of = dict(zip(predictions.paths, predictions.labels.tolist(), strict=True))
    stored = {path: predictions.classes[label] for path, label in label_of.items()}
    try:
        tables = labels_by_tables(_root(side.run), _validated_on(stored))
    except FieldmarkError:
        return []  # a broken table; every command that reads the folder says so
    counts = [(table, sum(stored.get(path, to) != to for path, to in labels.items())) for table, labels in tables]
    return [(table, count) for table, count in counts if count]


def _validated_on(stored: dict[str, str]) -> Path | None:
    """The folder of --validation where it lies outside of the dataset: its images have absolute paths."""
    folders = (
        (Path(path).parent.as_posix(), f"/{label}") for path, label in stored.items() if Path(path).is_absolute()
    )
    # Of an image that was corrected, the folder bears another class's name.
    return next((Path(folder.removesuffix(end) or "/") for folder, end in folders if folder.endswith(end)), None)


def _stored(side: Side) -> Answers:
    if side.run is None:
        raise DatasetError(
            f"{side.name}: neither a run folder nor its model.onnx, so no answers are stored to compare",
            hint="name a directory of labelled images, too: fieldmark compare A B DIR",
        )
    predictions = read_csv(side.run.folder / "predictions.csv")
    hashes = _hashes(side.run)
    missing = [path for path in predictions.paths if path not in hashes]
    if missing:
        raise ModelFileError(
            f"{side.run.folder}: dataset.csv lacks {missing[0]}, which predictions.csv holds",
            hint=_COPY,
        )
    root = _root(side.run)
    return Answers(
        predictions,
        tuple(hashes[path][0] for path in predictions.paths),
        tuple(root / path for path in predictions.paths),
    )


def _root(run: Run) -> Path:
    """The folder of a run's dataset, by its run.json."""
    root = run.info.get("root")
    if not isinstance(root, str):
        raise ModelFileError(
            f"{run.folder / 'run.json'}: damaged: its root is {kind_of(root)}; expected the dataset's folder",
            hint=_COPY,
        )
    return Path(root)


def _hashes(run: Run) -> dict[str, tuple[str, str]]:
    """{path: (SHA-256, split)} of a run's dataset.csv."""
    path = run.folder / "dataset.csv"
    try:
        with open_text(path, most=RUN_BYTES) as file:
            return {unguard(row["path"] or ""): (row["sha256"], row["split"]) for row in csv.DictReader(file)}
    except KeyError as error:
        raise ModelFileError(f"{path}: damaged: no column {error}", hint=_COPY) from error
    except csv.Error as error:
        raise ModelFileError(f"{path}: damaged: {error}", hint=_COPY) from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read: {reason(error)}", hint=_COPY) from error


def _keys(answers: Answers, split: str, shared: tuple[str, ...]) -> dict[tuple[str, int], int]:
    """{(SHA-256, which of its copies): row} of one split's images of shared classes."""
    copies: Counter[str] = Counter()
    keys = {}
    predictions = answers.predictions
    for row in sorted(range(len(predictions)), key=lambda row: predictions.paths[row]):
        label = predictions.labels[row]
        if predictions.splits[row] != split or label < 0 or predictions.classes[label] not in shared:
            continue
        content = answers.hashes[row]
        keys[content, copies[content]] = row
        copies[content] += 1
    return keys


def _kept(answers: Answers, rows: list[int]) -> Answers:
    return Answers(
        answers.predictions.keep(rows),
        tuple(answers.hashes[row] for row in rows),
        tuple(answers.files[row] for row in rows),
    )


def fresh_answers(
    first: Side,
    second: Side,
    shared: tuple[str, ...],
    root: Path,
    progress: Progress,
    *,
    corrections: Path | None = None,
) -> tuple[tuple[Answers, Answers], list[str], list[dict[str, str]]]:
    """What both answer for the images of a folder of class folders, remarks, and what a table corrected there."""
    dataset = scan_labelled(root, shared, corrections=corrections)
    groups: dict[str, str] = {}
    found: list[Answers] = []
    for name, side in (("A", first), ("B", second)):
        with progress.stage(f"read for {name}") as step:
            images = read(dataset, side.classifier.preprocessing, on_progress=step)
        if not groups:
            rules = dict.fromkeys(recorded_rule(each.classifier) for each in (first, second))
            # Of two trainings' rules the one that leaves fewer groups: it promises less.
            audits = [audit_images(images, known_rule=rule) for rule in rules]
            audited = min(audits, key=lambda audit: audit.groups.count).dataset
            groups = dict(zip(audited.paths, audited.groups, strict=True))
        own = images.dataset
        with progress.stage(f"answers of {name}") as step:
            probabilities, familiarity = file_answers(side.classifier, images, step)
        classes = side.classifier.classes
        position = np.array([classes.index(name) for name in shared], dtype=np.int32)
        predictions = Predictions(
            paths=own.paths,
            labels=position[own.labels],
            probabilities=probabilities,
            splits=("test",) * len(own),
            groups=tuple(groups.get(path, path) for path in own.paths),
            classes=classes,
            familiarity=familiarity,
        )
        found.append(Answers(predictions, own.hashes, tuple(own.file(row) for row in range(len(own)))))
    # The files are the same, unless one changed between the two readings
    rows = [{path: row for row, path in enumerate(answers.predictions.paths)} for answers in found]
    both = [path for path in rows[0] if path in rows[1]]
    pair = [_kept(answers, [known[path] for path in both]) for answers, known in zip(found, rows, strict=True)]
    remarks = [_trained_on(name, side, pair[0]) for name, side in (("A", first), ("B", second))]
    corrected = [correction.to_json() for correction in dataset.corrections]
    return (pair[0], pair[1]), [remark for remark in remarks if remark], corrected


def _trained_on(name: str, side: Side, answers: Answers) -> str:
    if side.run is None:
        return ""
    train = {content for content, split in _hashes(side.run).values() if split == "train"}
    count = sum(content in train for content in answers.hashes)
    return f"{name} was trained on {counted(count, 'image')} of these, which flatters it" if count else ""
