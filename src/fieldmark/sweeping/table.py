"""Table: what the trainings of a sweep came to, choice by choice, seed by seed and image by image."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldmark.evaluation.compare import paired_interval
from fieldmark.evaluation.intervals import accuracy_interval
from fieldmark.evaluation.predictions import Predictions
from fieldmark.runs import Run
from fieldmark.sweeping.plan import Planned

Answered = tuple[Planned, Predictions]  # a finished training, and what it answered for the split it is judged by
ByChoice = Mapping[str, Sequence[Answered]]  # one a seed

SPLIT = "validation"  # by which the choices are judged


def choice_row(choice: str, group: Sequence[Answered]) -> dict[str, Any]:
    """One choice: how accurate it was over seeds and over images, how long it took and how large it is."""
    accuracies = [float(part.correct.mean()) for _, part in group]
    correct = np.concatenate([part.correct for _, part in group])
    # The same image in the runs of several seeds is one image: its answers belong to one group
    low, high, _ = accuracy_interval(correct, [name for _, part in group for name in part.groups])
    infos = [Run(each.folder).info for each, _ in group]
    mean = statistics.fmean(accuracies)
    return {
        "choice": choice,
        "runs": len(group),
        "accuracies": accuracies,
        "accuracy": mean,
        "sd": statistics.stdev(accuracies) if len(group) > 1 else None,
        "seeds_interval": _student_interval(accuracies, min(len(part) for _, part in group)),
        "images_interval": [low, high],
        "n": len(group[0][1]),
        "seconds": statistics.fmean(info["seconds"]["total"] for info in infos),
        "bytes": max((each.folder / "model.onnx").stat().st_size for each, _ in group),
    }


def _student_interval(values: Sequence[float], images: int, *, least: float = 0.0) -> list[float] | None:
    """95 % interval of the mean of a few runs, by Student's t (doi:10.1093/biomet/6.1.1), kept within `least` and 1.

    Each value is counted on `images` (those of the run that has fewest), so it moves in steps of 1 / images: runs that
    come to the very same one need not be alike. Their standard deviation is taken to be at least that of rounding to
    such steps, step / √12 (Sheppard 1897, doi:10.1112/plms/s1-29.1.353).
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, deviation = statistics.fmean(values), max(statistics.stdev(values), 1 / images / 12**0.5)
    half = float(t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    return [max(least, mean - half), min(1.0, mean + half)]


def run_row(planned: Planned, part: Predictions) -> dict[str, Any]:
    """One training: its folder, choice and seed, and how accurate it was."""
    return {
        "folder": str(planned.folder),
        "choice": planned.choice,
        "seed": planned.recipe.seed,
        "accuracy": float(part.correct.mean()),
        "n": len(part),
    }


def image_rows(by_choice: ByChoice) -> list[dict[str, Any]]:
    """For each image the share of runs that have it right, choice by choice; those that differ most come first."""
    right: dict[str, dict[str, list[bool]]] = {}
    labels = {}
    for choice, group in by_choice.items():
        for _, part in group:
            for path, label, correct in zip(part.paths, part.labels.tolist(), part.correct.tolist(), strict=True):
                right.setdefault(path, {}).setdefault(choice, []).append(correct)
                labels[path] = part.classes[label]
    images = []
    for path, per_choice in right.items():
        # With a split of its own, each seed holds out other images
        shares = {
            choice: statistics.fmean(per_choice[choice]) if choice in per_choice else None for choice in by_choice
        }
        told = [share for share in shares.values() if share is not None]
        spread = max(told) - min(told)
        images.append({"path": path, "label": labels[path], "right": shares, "spread": spread, "differs": spread > 0})
    return sorted(images, key=lambda image: (-image["spread"], image["path"]))


def against_best(rows: Sequence[dict[str, Any]], by_choice: ByChoice) -> list[dict[str, Any]]:
    """Each other choice against the most accurate one, on the images that both answered with the same seed.

    {"choice", "n" (images that both answered), "difference" (best minus this, mean over seeds), "images_interval"
    (paired, over groups), "seeds_interval" (of the differences seed by seed; None for one seed), "told_apart": neither
    interval holds 0}. Differences are -1 to 1 and None where no image is shared.
    """
    ranked = sorted(rows, key=lambda row: -row["accuracy"])
    return [_difference(row["choice"], by_choice[row["choice"]], by_choice[ranked[0]["choice"]]) for row in ranked[1:]]


def _difference(choice: str, one: Sequence[Answered], best: Sequence[Answered]) -> dict[str, Any]:
    of_seed = {planned.recipe.seed: part for planned, part in best}
    pairs = [_shared(part, of_seed[planned.recipe.seed]) for planned, part in one if planned.recipe.seed in of_seed]
    pairs = [(first, second) for first, second in pairs if len(first)]
    if not pairs:
        unknown = {"difference": None, "images_interval": None, "seeds_interval": None}
        return {"choice": choice, "n": 0, **unknown, "told_apart": False}
    first, second = (np.concatenate([pair[side].correct for pair in pairs]) for side in (0, 1))
    # The same image in the runs of several seeds is one image: its answers belong to one group
    low, high = paired_interval(first, second, [name for pair in pairs for name in pair[0].groups])
    each = [float(b.correct.mean() - a.correct.mean()) for a, b in pairs]
    difference = statistics.fmean(each)
    # As the accuracies, the difference is a mean over seeds, which may have held out more images or fewer; the
    # interval is that of all answers together, laid around it.
    aside = difference - float(second.mean() - first.mean())
    images = [max(-1.0, low + aside), min(1.0, high + aside)]
    seeds = _student_interval(each, min(len(a) for a, _ in pairs), least=-1.0)
    return {
        "choice": choice,
        "n": len({path for part, _ in pairs for path in part.paths}),
        "difference": difference,
        "images_interval": images,
        "seeds_interval": seeds,
        "told_apart": images[0] > 0 and (seeds is None or seeds[0] > 0),
    }


def _shared(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """The rows of the images that both have, in the same order."""
    rows = {path: row for row, path in enumerate(second.paths)}
    both = [(row, rows[path]) for row, path in enumerate(first.paths) if path in rows]
    return first.keep([row for row, _ in both]), second.keep([row for _, row in both])
