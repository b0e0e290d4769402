"""Trust: panels on whether the numbers mean what they say, what more images would bring, and what is unfamiliar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fieldmark.evaluation.curves import choose_threshold
from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW
from fieldmark.evaluation.intervals import share_of
from fieldmark.evaluation.predictions import Predictions
from fieldmark.report.charts import axis, plot, ticks
from fieldmark.report.context import Context, Data

LEAST_FAMILIAR = 12  # images shown
TENTHS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
CURVE_STEPS = 24
COSTS = ((1, 1), (1, 5), (5, 1), (1, 10), (10, 1))  # of an image of the first class taken for the second; the reverse


def resolve_calibration(context: Context) -> Data:
    """Return how far confidence is from accuracy on the headline split, and how the probabilities were calibrated."""
    contents, split = context.contents, context.contents.split
    numbers = contents.metrics.get(split, {}) if split else {}
    names = ("n", "groups", "ece", "ece_interval", "brier", "brier_interval", "log_loss", "log_loss_interval")
    known = _known(contents.predictions, split)
    bins = [row | {"interval": row.get("accuracy_interval")} for row in numbers.get("reliability") or []]
    return {
        "split": split,
        **{name: numbers.get(name) for name in names},
        "how": _choices_about("calibrat", contents.run.get("choices", [])),
        "confidence": _mean(bins, "confidence"),
        "accuracy": _mean(bins, "accuracy"),
        "bins": bins,
        "chart": _reliability_chart(bins) if bins else None,
        "curves": _two_class_curves(numbers),
        "positive_class": numbers.get("positive_class"),
        "costs": _thresholds(known),
    }


def resolve_learning_curve(context: Context) -> Data:
    """Return accuracy against the number of training images, and what twice as many would bring."""
    found = context.contents.metrics.get("learning_curve") or {}
    points = found.get("points") or []
    names = ("sentence", "images", "exponent", "gain_of_doubling", "gain_interval")
    return {name: found.get(name) for name in names} | {
        "points": points,
        "chart": _growth_chart(found, points) if points else None,
    }


def resolve_unfamiliar(context: Context) -> Data:
    """Return how many images of each split are unlike the training images, and the least familiar ones."""
    contents = context.contents
    data: Data = {
        "how": _choices_about("unfamiliar", contents.run.get("choices", [])),
        "below": UNFAMILIAR_BELOW,
        "splits": [],
        "split": None,
        "images": [],
    }
    if contents.predictions is None or contents.predictions.familiarity is None:
        return data
    held_out = [split for split in ("test", "validation") if split in contents.predictions.splits]
    for split in (*held_out, "train"):
        if len(part := contents.predictions.select(split)):
            data["splits"].append({"split": split} | _unfamiliar(part))
    if held_out:
        data |= {"split": held_out[0], "images": _least_familiar(context, contents.predictions.select(held_out[0]))}
    return data


def other_choices(choices: list[str]) -> list[str]:
    """The sentences on what was chosen in training that none of these panels shows."""
    return [choice for choice in choices if "calibrat" not in choice and "unfamiliar" not in choice]


def _choices_about(word: str, choices: list[str]) -> list[str]:
    return [choice for choice in choices if word in choice]


def _known(predictions: Predictions | None, split: str | None) -> Predictions | None:
    if predictions is None or split is None:
        return None
    part = predictions.select(split)
    return part.keep(np.flatnonzero(part.labels >= 0).tolist())


def _mean(bins: list[Data], what: str) -> float | None:
    images = sum(row["n"] for row in bins)
    return sum(row["n"] * row[what] for row in bins) / images if images else None


def _reliability_chart(bins: list[Data]) -> Data:
    most = max(row["n"] for row in bins)
    points = [
        {
            "x": row["confidence"],
            "y": row["accuracy"],
            "low": row["interval"][0] if row["interval"] else None,
            "high": row["interval"][1] if row["interval"] else None,
            "size": round(2.5 + 5.5 * math.sqrt(row["n"] / most), 1),
        }
        for row in bins
    ]
    confidence, accuracy = axis("says", TENTHS, share=True), axis("is right", TENTHS, share=True)
    return plot("Reliability", confidence, accuracy, points=points, diagonal="as sure as right")


def _two_class_curves(numbers: dict[str, Any]) -> list[Data]:
    """ROC and precision-recall of two classes, each with its area."""
    curves = []
    for key, title, area, x, y in (
        ("roc", "ROC", "auc", "false positives", "true positives"),
        ("precision_recall", "Precision and recall", "average_precision", "recall", "precision"),
    ):
        found = numbers.get(key)
        if not found:
            continue
        line = {"name": "", "kind": "validation", "points": [point[:2] for point in found["points"]]}
        chart = plot(
            title,
            axis(x, TENTHS, share=True),
            axis(y, TENTHS, share=True),
            lines=[line],
            diagonal="guessing" if key == "roc" else "",
        )
        curves.append(
            {"chart": chart, "area": found[area], "interval": found.get(f"{area}_interval"), "name": area}
            | {name: found.get(name) for name in ("n_positive", "n_negative")}
        )
    return curves


def _thresholds(part: Predictions | None) -> Data | None:
    """What costs least at some costs of the two kinds of mistake; None unless images of both classes are known."""
    if part is None or len(part.classes) != 2 or len(np.unique(part.labels)) != 2:
        return None
    found = [choose_threshold(part.probabilities[:, 1], part.labels, *costs) for costs in COSTS]
    rows = [{"costs": list(costs)} | row for costs, row in zip(COSTS, found, strict=True)]
    return {"classes": list(part.classes), "n": len(part), "rows": rows}


def _growth_chart(found: Data, points: list[Data]) -> Data:
    drawn = [
        {"x": row["images"], "y": row["accuracy"], "low": row["interval"][0], "high": row["interval"][1], "size": 4}
        for row in points
    ]
    images, exponent, error = found.get("images"), found.get("exponent"), found.get("error")
    last = 2 * images if images else points[-1]["images"]
    lines, ahead = [], []
    if images and exponent and error:
        odds = error / (1 - error)
        first = points[0]["images"]
        sizes = [first * (last / first) ** (step / CURVE_STEPS) for step in range(CURVE_STEPS + 1)]
        curve = [[size, 1 / (1 + odds * (size / images) ** -exponent)] for size in sizes]
        lines = [{"name": "fitted", "kind": "train", "points": curve}]
        ahead = [min(1.0, 1 - error + gain) for gain in found["gain_interval"]]
    lowest = min([*(row["low"] for row in drawn), *(up for line in lines for _, up in line["points"])])
    return plot(
        "Accuracy",
        axis("training images", ticks(0, last), share=False),
        axis("accuracy", ticks(lowest, 1), share=True),
        points=drawn,
        lines=lines,
        ahead={"x": last, "low": ahead[0], "high": ahead[1]} if ahead else None,
    )


def _unfamiliar(part: Predictions) -> Data:
    flagged = np.asarray(part.unfamiliar, dtype=np.bool_)
    share = share_of(flagged, part.groups)
    known = part.labels >= 0
    return {
        "n": len(part),
        "groups": len(set(part.groups)),
        "unfamiliar": int(flagged.sum()),
        "share": share.value if share else None,
        "interval": [share.low, share.high] if share else None,
        "wrong": int((flagged & known & ~part.correct).sum()),
    }


def _least_familiar(context: Context, part: Predictions) -> list[Data]:
    familiarity = np.asarray(part.familiarity)
    rows = np.argsort(familiarity, kind="stable")[:LEAST_FAMILIAR].tolist()
    images = context.thumbnails([part.paths[row] for row in rows])
    return [
        {
            "path": part.paths[row],
            "label": part.classes[part.labels[row]] if part.labels[row] >= 0 else None,
            "predicted": part.classes[part.predicted[row]],
            "probability": float(part.probabilities[row].max()),
            "familiarity": float(familiarity[row]),
            "unfamiliar": bool(familiarity[row] < UNFAMILIAR_BELOW),
            "thumbnail": image,
        }
        for row, image in zip(rows, images, strict=True)
    ]
