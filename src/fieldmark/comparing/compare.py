"""Comparing: two classifiers on the same images, from what their runs stored or on a folder of labelled images.

fieldmark compare runs/photos-1 runs/photos-2 [DIR]
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from fieldmark import storage
from fieldmark.classifier import Classifier, load
from fieldmark.comparing.answers import Side, corrected_since, fresh_answers, shared_classes, stored_answers
from fieldmark.comparing.flips import flip_grid
from fieldmark.errors import RecipeError
from fieldmark.evaluation.compare import compare_predictions
from fieldmark.images.names import counted
from fieldmark.runs import run_of
from fieldmark.runtime import BATCH
from fieldmark.training.progress import Progress

SPEED_ROUNDS = 3  # batches timed of each classifier, in turns


def compare(
    first: Classifier | str | os.PathLike[str],
    second: Classifier | str | os.PathLike[str],
    directory: str | Path | None = None,
    *,
    corrections: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare two runs (or their folders) or classifiers (or their files), A and B, on the same images.

    Without `directory` the images are those that both runs held out and stored, matched by content: the validation
    split, or the test split where validation shares none. Labels are those stored; a remark says where a table of
    corrections has other ones by now. With it they are the images of its class folders, as its
    `corrections.csv` sets them right, or the table `corrections`. Only classes that both know are compared. `out` is a
    folder for `compare.json` and `flips.png`.

    Returns what `fieldmark.evaluation.compare.compare_predictions` finds, and for each side its file size in bytes,
    the images a second its network answers here and now, and the seconds its training took. Raises RecipeError for
    `corrections` without a directory, DatasetError where the two share no class or no image, ModelFileError for what
    cannot be read.
    """
    progress = progress or Progress(quiet=True)
    if corrections is not None and directory is None:
        raise RecipeError(
            "corrections without a directory: the stored answers are of labels that each training corrected",
            hint="name the directory of labelled images, too: fieldmark compare A B DIR --corrections FILE",
        )
    sides = _side(first), _side(second)
    shared, remarks = shared_classes(*sides)
    corrected: list[dict[str, str]] = []  # stored answers are of labels that each training corrected
    if directory is None:
        split, answers, more = stored_answers(*sides, shared)
        more += corrected_since(*sides, answers)
    else:
        split, table = None, Path(corrections) if corrections is not None else None
        answers, more, corrected = fresh_answers(*sides, shared, Path(directory), progress, corrections=table)
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
        "corrections": corrected,
        "remarks": [*remarks, *more, *found["remarks"]],
        "sentence": _sentence(found, same=sides[0].classifier.seal == sides[1].classifier.seal),
    }
    if out is not None:
        folder = storage.make_folder(Path(out))
        storage.write_json(folder / "compare.json", result)
        files = dict(zip(answers[0].predictions.paths, answers[0].files, strict=True))
        storage.write_picture(folder / "flips.png", flip_grid(result, files))
    return result


def _side(given: Classifier | str | os.PathLike[str]) -> Side:
    classifier = given if isinstance(given, Classifier) else load(given)
    path = classifier.path if isinstance(given, Classifier) else Path(given)
    return Side(str(path), classifier, run_of(path))


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
    seconds = side.run.info.get("seconds") if side.run else None
    return {
        "path": side.name,
        "network": side.classifier.metadata.get("recipe", {}).get("network"),
        "image_size": [preprocessing.height, preprocessing.width],
        "bytes": side.classifier.path.stat().st_size,
        "images_per_second": images_per_second,
        "training_seconds": seconds.get("total") if isinstance(seconds, dict) else None,
    }


def _sentence(found: dict[str, Any], *, same: bool) -> str:
    low, high = (100 * bound for bound in found["difference_interval"])
    points = 100 * found["difference"]
    facts = f"{abs(points):.1f} points (95 % interval of B − A: {low:+.1f} to {high:+.1f})".replace("-", "−")
    where = "on " + counted(found["n"], "image")
    where += f" in {counted(found['groups'], 'group')}" if found["groups"] < found["n"] else ""
    if same and not found["flips"]:  # that none of them is better "cannot be told" would be true, too, and mislead
        return f"A and B are the same classifier, to the bit, {where}: there is nothing to tell apart."
    if low > 0:
        return f"B is better than A by {facts} {where}."
    if high < 0:
        return f"A is better than B by {facts} {where}."
    lead = "The two are equally often right" if not points else f"{'B' if points > 0 else 'A'} leads by {facts}"
    bounds = "" if points else f" (95 % interval of B − A: {low:+.1f} to {high:+.1f} points)".replace("-", "−")
    return f"{lead}{bounds} {where}: which of them is better cannot be told from these."
