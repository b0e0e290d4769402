"""Comparing: two classifiers on the same images, from what their runs stored or on a folder of labelled images.

fieldmark compare runs/photos-1 runs/photos-2 [DIR]
"""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fieldmark import storage
from fieldmark.classifier import Classifier, load
from fieldmark.errors import DatasetError, ModelFileError
from fieldmark.evaluation.compare import compare_predictions
from fieldmark.evaluation.metrics import percent
from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.images.audit import audit_images
from fieldmark.images.names import counted
from fieldmark.images.read import read
from fieldmark.images.samples import PAPER, legible, tile, write
from fieldmark.pipeline import scan_labelled
from fieldmark.runs import Run
from fieldmark.runtime import BATCH
from fieldmark.storage import unguard
from fieldmark.training.learn import file_answers
from fieldmark.training.progress import Progress

SPEED_ROUNDS = 3  # batches timed of each classifier, in turns
FLIPS_DRAWN = 60
FLIP_COLUMNS = 6
THUMBNAIL, LINE, GAP = 160, 16, 8  # pixels


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


def compare(
    first: str | Path,
    second: str | Path,
    directory: str | Path | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare two run folders or classifier files, A and B, on the same images.

    Without `directory` the images are those that both runs held out and stored, matched by content: the validation
    split, or the test split where validation shares none. With it they are the images of its class folders. Only
    classes that both know are compared. `out` is a folder for `compare.json` and `flips.png`.

    Returns what `fieldmark.evaluation.compare.compare_predictions` finds, and for each side its file size in bytes,
    the images a second its network answers here and now, and the seconds its training took. Raises DatasetError where
    the two share no class or no image, ModelFileError for what cannot be read.
    """
    progress = progress or Progress(quiet=True)
    sides = _side(first), _side(second)
    shared, remarks = _shared_classes(*sides)
    if directory is None:
        split, answers, more = _stored_answers(*sides, shared)
    else:
        split = None
        answers, more = _fresh_answers(*sides, shared, Path(directory), progress)
    found = compare_predictions(answers[0].predictions, answers[1].predictions)
    with progress.stage("measure the speed"):
        speeds = _speeds(sides[0].classifier, sides[1].classifier)
    result = {
        **found,
        "a": found["a"] | _facts(sides[0], speeds[0]),
        "b": found["b"] | _facts(sides[1], speeds[1]),
        "split": split,
        "directory": str(directory) if directory is not None else None,
        "classes": list(shared),
        "remarks": [*remarks, *more, *found["remarks"]],
        "sentence": _sentence(found),
    }
    if out is not None:
        folder = storage.make_folder(Path(out))
        storage.write_json(folder / "compare.json", result)
        files = dict(zip(answers[0].predictions.paths, answers[0].files, strict=True))
        storage.write_picture(folder / "flips.png", flip_grid(result, files))
    return result


def flip_grid(found: dict[str, Any], files: dict[str, Path]) -> Image.Image:
    """The images that flipped, each with its label and both answers; of more than 60 the first of either way."""
    ways = [[flip for flip in found["flips"] if flip["better"] == better] for better in ("a", "b")]
    half = FLIPS_DRAWN // 2
    room = [max(half, FLIPS_DRAWN - len(ways[1])), max(half, FLIPS_DRAWN - len(ways[0]))]
    sections = [(way[:limit], len(way)) for way, limit in zip(ways, room, strict=True)]
    cell = THUMBNAIL + 3 * LINE + GAP
    rows = [max(1, math.ceil(len(shown) / FLIP_COLUMNS)) if shown else 0 for shown, _ in sections]
    width = GAP + FLIP_COLUMNS * (THUMBNAIL + GAP)
    page = Image.new("RGB", (width, sum(2 * LINE + count * cell for count in rows) + GAP), PAPER)
    top = 0
    titles = ("right with A, wrong with B", "wrong with A, right with B")
    classes = {name: number for number, name in enumerate(found["classes"], start=1)}
    for title, (shown, total), count in zip(titles, sections, rows, strict=True):
        some = f", the first {len(shown)} shown" if len(shown) < total else ""
        write(page, f"{title}: {total}{some}", (GAP, top + LINE), width - 2 * GAP, size=14)
        for number, flip in enumerate(shown):
            left = GAP + number % FLIP_COLUMNS * (THUMBNAIL + GAP)
            above = top + 2 * LINE + number // FLIP_COLUMNS * cell
            page.paste(tile(files[flip["path"]], THUMBNAIL)[0], (left, above))
            for line, text in enumerate(_flip_lines(flip, classes)):
                write(page, text, (left, above + THUMBNAIL + line * LINE + LINE // 2), THUMBNAIL, size=12)
        top += 2 * LINE + count * cell
    return page


def _flip_lines(flip: dict[str, Any], classes: dict[str, int]) -> list[str]:
    def name(label: str) -> str:
        return legible(label, classes.get(label, 0))

    return [
        f"is {name(flip['label'])}",
        f"A: {name(flip['a'])} {percent(flip['a_probability'])}",
        f"B: {name(flip['b'])} {percent(flip['b_probability'])}",
    ]


def _side(path: str | Path) -> Side:
    classifier = load(path)
    return Side(str(path), classifier, Run(Path(path)) if (Path(path) / "run.json").is_file() else None)


def _shared_classes(first: Side, second: Side) -> tuple[tuple[str, ...], list[str]]:
    a, b = first.classifier.classes, second.classifier.classes
    shared = tuple(name for name in a if name in b)
    if not shared:
        raise DatasetError(
            f"{first.name} knows {', '.join(a)}; {second.name} knows {', '.join(b)}: no class in common",
            hint="compare classifiers of the same classes; they are matched by name",
        )
    only = [(side, [name for name in names if name not in shared]) for side, names in (("A", a), ("B", b))]
    remarks = [
        f"only {side} knows {', '.join(names)}: images of these classes are left out, and such an answer is a wrong one"
        for side, names in only
        if names
    ]
    return shared, remarks


def _stored_answers(
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


def _stored(side: Side) -> Answers:
    if side.run is None:
        raise DatasetError(
            f"{side.name}: no run folder, so it holds no answers to compare",
            hint="name a directory of labelled images, too: fieldmark compare A B DIR",
        )
    predictions = read_csv(side.run.folder / "predictions.csv")
    hashes = _hashes(side.run)
    missing = [path for path in predictions.paths if path not in hashes]
    if missing:
        raise ModelFileError(
            f"{side.run.folder}: dataset.csv lacks {missing[0]}, which predictions.csv holds",
            hint="copy the run folder again, or train again",
        )
    root = Path(side.run.info["root"])
    return Answers(
        predictions,
        tuple(hashes[path][0] for path in predictions.paths),
        tuple(root / path for path in predictions.paths),
    )


def _hashes(run: Run) -> dict[str, tuple[str, str]]:
    """{path: (SHA-256, split)} of a run's dataset.csv."""
    path = run.folder / "dataset.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {unguard(row["path"]): (row["sha256"], row["split"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}", hint="copy the run folder again") from error


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


def _fresh_answers(
    first: Side, second: Side, shared: tuple[str, ...], root: Path, progress: Progress
) -> tuple[tuple[Answers, Answers], list[str]]:
    """What both answer for the images of a folder of class folders."""
    dataset = scan_labelled(root, shared)
    groups: dict[str, str] = {}
    found: list[Answers] = []
    for name, side in (("A", first), ("B", second)):
        with progress.stage(f"read for {name}") as step:
            images = read(dataset, side.classifier.preprocessing, on_progress=step)
        if not groups:
            audited = audit_images(images).dataset
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
    return (pair[0], pair[1]), [remark for remark in remarks if remark]


def _trained_on(name: str, side: Side, answers: Answers) -> str:
    if side.run is None:
        return ""
    train = {content for content, split in _hashes(side.run).values() if split == "train"}
    count = sum(content in train for content in answers.hashes)
    return f"{name} was trained on {counted(count, 'image')} of these, which flatters it" if count else ""


def _speeds(first: Classifier, second: Classifier) -> tuple[float, float]:
    """Images a second that each network answers, both in turns; reading and resizing are not included."""
    random = np.random.default_rng(0)
    times: tuple[list[float], list[float]] = ([], [])
    pixels = [random.integers(0, 256, (BATCH, *side.preprocessing.shape), np.uint8) for side in (first, second)]
    for number in range(SPEED_ROUNDS + 1):
        for classifier, images, seconds in zip((first, second), pixels, times, strict=True):
            started = time.perf_counter()
            classifier.probabilities(images)
            if number:  # the first one warms up
                seconds.append(time.perf_counter() - started)
    return BATCH / statistics.median(times[0]), BATCH / statistics.median(times[1])


def _facts(side: Side, images_per_second: float) -> dict[str, Any]:
    preprocessing = side.classifier.preprocessing
    seconds = side.run.info["seconds"] if side.run else {}
    return {
        "path": side.name,
        "network": side.classifier.metadata.get("recipe", {}).get("network"),
        "image_size": [preprocessing.height, preprocessing.width],
        "bytes": side.classifier.path.stat().st_size,
        "images_per_second": images_per_second,
        "training_seconds": seconds.get("total"),
    }


def _sentence(found: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in found["difference_interval"])
    points = 100 * found["difference"]
    facts = f"{abs(points):.1f} points (95 % interval of B − A: {low:+.1f} to {high:+.1f})".replace("-", "−")
    where = f"on {found['n']} images" + (f" in {found['groups']} groups" if found["groups"] < found["n"] else "")
    if low > 0:
        return f"B is better than A by {facts} {where}."
    if high < 0:
        return f"A is better than B by {facts} {where}."
    lead = "The two are equally often right" if not points else f"{'B' if points > 0 else 'A'} leads by {facts}"
    bounds = "" if points else f" (95 % interval of B − A: {low:+.1f} to {high:+.1f} points)".replace("-", "−")
    return f"{lead}{bounds} {where}: which of them is better cannot be told from these."
