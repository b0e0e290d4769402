"""Curves of two classes: what each threshold on the positive class's probability would answer, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

# A curve of more points is no smoother on a screen.
MOST_POINTS = 200
_Z = 1.959963984540054


def roc(scores: Scores, labels: Labels, groups: Sequence[str]) -> dict[str, Any] | None:
    """Return {"auc", "auc_interval", "n_positive", "n_negative", "points"} for scores (n,) and labels 0 or 1 (n,).

    A point is [false positive rate, true positive rate, threshold], at most 200; from the threshold on, the
    positive class is answered. `auc_interval` holds 95 %, with groups as what varies (DeLong 1988,
    doi:10.2307/2531595; over clusters Obuchowski 1997, doi:10.2307/2533958), on the logit scale; None where nothing
    varies, as when the AUC is 1, or a class has images of one group only, which cannot tell how much groups of it
    vary. None where a class has no images.

    >>> roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]), list("abcd"))["auc"]
    0.75
    """
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        return None
    thresholds, true, false = _counts(scores, labels)
    area, low_high = _area(np.asarray(scores, np.float64), labels, groups)
    points = np.stack([false / negatives, true / positives, thresholds], axis=1)
    start = [[0.0, 0.0, None]]  # nothing is answered with the positive class
    return {
        "auc": area,
        "auc_interval": low_high,
        "n_positive": positives,
        "n_negative": negatives,
        "points": start + _thinned(points).tolist(),
    }


def precision_recall(scores: Scores, labels: Labels) -> dict[str, Any] | None:
    """Return {"average_precision", "n_positive", "n_negative", "points"}; None without images of the positive class.

    A point is [recall, precision, threshold], at most 200. The average is that of the precision at each step of the
    recall, as scikit-learn's.

    >>> round(precision_recall(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))["average_precision"], 4)
    0.8333
    """
    positives = int((labels == 1).sum())
    if not positives:
        return None
    thresholds, true, false = _counts(scores, labels)
    recall, precision = true / positives, true / (true + false)
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    points = np.stack([recall, precision, thresholds], axis=1)
    return {
        "average_precision": average,
        "n_positive": positives,
        "n_negative": len(labels) - positives,
        "points": _thinned(points).tolist(),
    }


def choose_threshold(
    probabilities: Scores, labels: Labels, cost_false_positive: float, cost_false_negative: float
) -> dict[str, Any]:
    """Return the threshold on the positive class's probability (n,) that costs least on these images.

    {"threshold", "cost" a image, "cost_at_half", "false_positives", "false_negatives", "n", "calibrated_threshold"}:
    the last is what perfectly calibrated probabilities would be cut at, and of equally cheap thresholds the one
    nearest to it is taken. Without images it is taken as it is. Labels are 0 or 1. Raises ValueError for a cost
    that is negative, or two of 0.

    >>> chosen = choose_threshold(np.array([0.2, 0.4, 0.6, 0.9]), np.array([0, 1, 0, 1]), 1, 10)
    >>> chosen["threshold"], chosen["false_positives"], chosen["false_negatives"]
    (0.3, 1, 0)
    """
    if min(cost_false_positive, cost_false_negative) < 0 or not cost_false_positive + cost_false_negative > 0:
        raise ValueError(f"costs {cost_false_positive}, {cost_false_negative}: expected none below 0, one above")
    calibrated = cost_false_positive / (cost_false_positive + cost_false_negative)
    # Between two neighbouring scores every threshold answers alike; the middle is the furthest from both.
    known = np.unique(np.asarray(probabilities, np.float64))
    candidates = np.concatenate([[0.0], (known[1:] + known[:-1]) / 2, [calibrated, 0.5, 1.0]])
    ordered_negative, ordered_positive = (np.sort(np.asarray(probabilities)[labels == label]) for label in (0, 1))
    false_positives = len(ordered_negative) - np.searchsorted(ordered_negative, candidates, side="left")
    false_negatives = np.searchsorted(ordered_positive, candidates, side="left")
    costs = cost_false_positive * false_positives + cost_false_negative * false_negatives
    best = int(np.lexsort((np.abs(candidates - calibrated), costs))[0])
    n = len(labels)
    return {
        "threshold": round(float(candidates[best]), 6),
        "cost": float(costs[best] / n) if n else None,
        "cost_at_half": float(costs[-2] / n) if n else None,
        "false_positives": int(false_positives[best]),
        "false_negatives": int(false_negatives[best]),
        "n": n,
        "calibrated_threshold": calibrated,
    }


def _counts(scores: Scores, labels: Labels) -> tuple[Floats, Floats, Floats]:
    """Return the thresholds from high to low, and how many of each class are at or above each."""
    order = np.argsort(-scores, kind="stable")
    ordered, positive = np.asarray(scores, np.float64)[order], labels[order] == 1
    # Images with the same score are answered together.
    last = np.flatnonzero(np.diff(ordered, append=-np.inf))
    return ordered[last], np.cumsum(positive)[last].astype(np.float64), np.cumsum(~positive)[last].astype(np.float64)


def _area(scores: Floats, labels: Labels, groups: Sequence[str]) -> tuple[float, list[float] | None]:
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    # Of each image: the share of the other class that it is rightly above (or below), ties a half.
    above = (np.searchsorted(negative, scores, "left") + np.searchsorted(negative, scores, "right")) / 2 / len(negative)
    below = 1 - (np.searchsorted(positive, scores, "left") + np.searchsorted(positive, scores, "right")) / 2 / len(
        positive
    )
    area = float(above[labels == 1].mean())
    parts = np.where(labels == 1, (above - area) / len(positive), (below - area) / len(negative))
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(numbers.ravel(), weights=parts)
    fewest = min(len(np.unique(numbers.ravel()[labels == label])) for label in (0, 1))
    if fewest < 2 or not 0 < area < 1 or np.allclose(sums, 0, atol=1e-12):
        return area, None
    deviation = math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum()))
    middle, half = math.log(area / (1 - area)), _Z * deviation / (area * (1 - area))
    return area, [1 / (1 + math.exp(min(half - middle, 700.0))), 1 / (1 + math.exp(max(-half - middle, -700.0)))]


def _thinned(points: Floats) -> Floats:
    """Return at most 199 of the points, evenly spread, the first and the last among them."""
    if len(points) < MOST_POINTS:
        return points
    return np.asarray(points[np.linspace(0, len(points) - 1, MOST_POINTS - 1).round().astype(int)])
