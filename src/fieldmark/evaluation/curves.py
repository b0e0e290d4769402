"""Curves of two classes: what each threshold on the positive class's probability would answer, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.effective import effective_interval, group_numbers, standing_whole

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

# A curve of more points is no smoother on a screen.
MOST_POINTS = 200
# Areas near 1 vary as a share of so many times the images (of the smaller class; of the positive one) would; of less,
# the intervals were wider than they need be (docs/decisions/0007-intervals-over-groups.md).
IMAGES_OF_AUC, IMAGES_OF_AVERAGE_PRECISION = 4, 2


def roc(scores: Scores, labels: Labels, groups: Sequence[str]) -> dict[str, Any] | None:
    """Return {"auc", "auc_interval", "n_positive", "n_negative", "points"} for scores (n,) and labels 0 or 1 (n,).

    A point is [false positive rate, true positive rate, threshold], at most 200; from the threshold on, the
    positive class is answered. `auc_interval` holds 95 %, with groups as what varies (DeLong 1988,
    doi:10.2307/2531595; over clusters Obuchowski 1997, doi:10.2307/2533958), as that of a share of as many images as
    would vary as much (see `effective`); None where a class has images of one group only, which cannot tell how much
    groups of it vary. None where a class has no images.

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


def precision_recall(scores: Scores, labels: Labels, groups: Sequence[str]) -> dict[str, Any] | None:
    """Return {"average_precision", "average_precision_interval", "n_positive", "n_negative", "points"}, as `roc`.

    A point is [recall, precision, threshold], at most 200. The average is that of the precision at each step of the
    recall, as scikit-learn's. Its interval holds 95 %, over groups: a share's (Boyd, Eng & Page 2013,
    doi:10.1007/978-3-642-40994-3_29, find bootstraps too narrow) of as many images as would vary as much, by the
    infinitesimal jackknife; None as in `roc`. None without images of the positive class.

    >>> found = precision_recall(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]), list("abcd"))
    >>> round(found["average_precision"], 4), [round(bound, 2) for bound in found["average_precision_interval"]]
    (0.8333, [0.17, 0.99])
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
        "average_precision_interval": _average_interval(average, np.asarray(scores, np.float64), labels, groups),
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
    """Return the area under the ROC curve with its interval."""
    positive = labels == 1
    # Of each image: the share of the other class that it is rightly above (or below), ties a half.
    right = np.where(positive, _above(scores[~positive], scores), 1 - _above(scores[positive], scores))
    area = float(right[positive].mean())
    numbers = group_numbers(groups)
    if _fewest(numbers, positive) < 2:
        return area, None
    sums = np.stack([_sums(right - area, numbers, of_class) / of_class.sum() for of_class in (positive, ~positive)])
    of_each = [len(np.unique(numbers[of_class])) for of_class in (positive, ~positive)]
    # Each class's groups for themselves, as there may be few of one; a group of both counts between them, too.
    parts = [count / (count - 1) * float((row**2).sum()) for count, row in zip(of_each, sums, strict=True)]
    count = sums.shape[1]
    variance = sum(parts) + 2 * count / (count - 1) * float((sums[0] * sums[1]).sum())
    # Satterthwaite 1946, doi:10.2307/3002019: how many degrees of freedom two such parts have together
    spread = sum(part**2 / (count - 1) for count, part in zip(of_each, parts, strict=True))
    interval = effective_interval(
        min(area, 1.0),
        variance,
        images=int(min(positive.sum(), (~positive).sum())),
        each=IMAGES_OF_AUC,
        whole=min(standing_whole(numbers[positive]), standing_whole(numbers[~positive])),
        telling=_telling(numbers, positive, right < 1),
        freedom=min(count - 1, round(sum(parts) ** 2 / spread)) if spread else min(of_each) - 1,
    )
    return area, list(interval)


def _average_interval(average: float, scores: Floats, labels: Labels, groups: Sequence[str]) -> list[float] | None:
    """Return the interval of the average precision; None where a class has fewer than two groups."""
    numbers, positive = group_numbers(groups), labels == 1
    if _fewest(numbers, positive) < 2:
        return None
    thresholds, true, false = _counts(scores, labels)
    at, every = np.searchsorted(-thresholds, -scores), true + false
    # What one image more adds to the sum of precisions: its own, and what it changes in those of all at or below it.
    new = np.diff(true, prepend=0.0)
    gains, losses = (np.cumsum(row[::-1])[::-1] for row in (new / every, new * true / every**2))
    precision = (true / every)[at]
    influence = (positive * (precision - average + gains[at]) - losses[at]) / positive.sum()
    sums = np.bincount(numbers, weights=influence)
    count = len(sums)
    # A positive image with another above it, or another with a positive one below it
    wrong = np.where(positive, precision < 1, scores >= scores[positive].min())
    interval = effective_interval(
        min(average, 1.0),
        count / (count - 1) * float((sums**2).sum()),
        images=int(positive.sum()),
        each=IMAGES_OF_AVERAGE_PRECISION,
        whole=min(standing_whole(numbers[positive]), standing_whole(numbers[~positive])),
        telling=_telling(numbers, positive, wrong),
        freedom=count - 1,
    )
    return list(interval)


def _above(others: Floats, scores: Floats) -> Floats:
    """Return for each score (n,) the share of the others that it is above, ties a half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(ranks / 2 / len(others))


def _sums(values: Floats, numbers: Labels, of_class: npt.NDArray[np.bool_]) -> Floats:
    return np.asarray(np.bincount(numbers, weights=values * of_class), np.float64)


def _fewest(numbers: Labels, positive: npt.NDArray[np.bool_]) -> int:
    """Return how many groups the class has that has fewer."""
    return min(len(np.unique(numbers[of_class])) for of_class in (positive, ~positive))


def _telling(numbers: Labels, positive: npt.NDArray[np.bool_], wrong: npt.NDArray[np.bool_]) -> int:
    """Return how many groups have a wrong image, of the class where fewer have: one image can be below many others."""
    return _fewest(numbers[wrong], positive[wrong])


def _thinned(points: Floats) -> Floats:
    """Return at most 199 of the points, evenly spread, the first and the last among them."""
    if len(points) < MOST_POINTS:
        return points
    return np.asarray(points[np.linspace(0, len(points) - 1, MOST_POINTS - 1).round().astype(int)])
