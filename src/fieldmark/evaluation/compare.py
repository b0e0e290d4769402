"""Compare: two classifiers on the same images; how sure the difference is, and which images flipped.

The two answer the same images, so that what is hard for one is mostly hard for the other: the difference is known
better than either accuracy. Everything here takes that pairing into account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.intervals import Correct, Share, accuracy_interval, difference_interval
from fieldmark.evaluation.predictions import Predictions


def compare_predictions(first: Predictions, second: Predictions) -> dict[str, Any]:
    """Compare two classifiers' answers to the same images: rows of `first` and `second` belong together.

    The classes may differ; answers and labels are matched by name. Images whose label is not known, or not the same
    on both sides, are left out and counted. Returns {"n", "groups", "a", "b" (accuracy with interval), "difference"
    (b - a, -1 to 1), "difference_interval" (95 %), "mcnemar" (exact p-value with both counts), "agreement", "flips"
    (every image that one of them gets right and the other wrong), "remarks"}. Raises ValueError for rows that do not
    belong together, or none.

    >>> def answers(*shares):
    ...     return Predictions(
    ...         paths=("1", "2"), labels=np.array([0, 1], np.int32), splits=("test",) * 2, groups=("1", "2"),
    ...         probabilities=np.array(shares, np.float32), classes=("cat", "dog"))
    >>> found = compare_predictions(answers([0.9, 0.1], [0.8, 0.2]), answers([0.7, 0.3], [0.4, 0.6]))
    >>> found["difference"], [flip["path"] for flip in found["flips"]], found["mcnemar"]["p_value"]
    (0.5, ['2'], 1.0)
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} images on one side, {len(second)} on the other")
    labels, others = _names(first, first.labels), _names(second, second.labels)
    rows = [row for row, label in enumerate(labels) if label is not None and label == others[row]]
    if not rows:
        raise ValueError("no image with the same label on both sides")
    left_out = len(labels) - len(rows)
    first, second = first.keep(rows), second.keep(rows)
    right_a, right_b = _right(first), _right(second)
    lost, won = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    groups = first.groups
    remarks = [f"left out, because the two disagree on the label or lack it: {left_out}"] if left_out else []
    grouped = len(set(groups)) < len(groups)
    if grouped and lost + won:
        remarks.append(
            "McNemar's p-value takes every image for itself; images of one group stand or fall together, so that the "
            "interval, which is computed over groups, is the one to believe"
        )
    return {
        "n": len(first),
        "groups": len(set(groups)),
        "a": _accuracy(right_a, groups),
        "b": _accuracy(right_b, groups),
        "difference": float(right_b.mean() - right_a.mean()),
        "difference_interval": list(paired_interval(right_a, right_b, groups)),
        "interval_method": "paired, over groups" if grouped else "paired",
        "mcnemar": {"p_value": mcnemar(lost, won), "only_a_right": lost, "only_b_right": won},
        "agreement": float(np.mean([a == b for a, b in zip(_answered(first), _answered(second), strict=True)])),
        "flips": _flips(first, second, right_a, right_b),
        "remarks": remarks,
    }


def mcnemar(lost: int, won: int) -> float:
    """Return the exact two-sided p-value (0-1) of McNemar's test: would chance alone split the flips like this?

    `lost` and `won` images were right with the first classifier only, and with the second only; under chance each
    flip is a fair coin. McNemar 1947, doi:10.1007/BF02295996.

    >>> mcnemar(0, 0), mcnemar(0, 6), mcnemar(5, 5)
    (1.0, 0.03125, 1.0)
    """
    flips = lost + won
    tail = sum(math.comb(flips, count) for count in range(min(lost, won) + 1))
    # Whole numbers first: 2.0 ** 2000 would overflow
    return min(1.0, float(2 * tail / 2**flips)) if flips < 1000 else _mcnemar_of_many(lost, won)


def paired_interval(first: Correct, second: Correct, groups: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of accuracy(second) - accuracy(first) on the same images, for groups not seen before.

    Put together from the intervals of the two accuracies (`accuracy_interval`, over groups) and from how much the two
    move together: Newcombe 1998, method 10 (doi:10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C),
    with the correlation of what groups have right instead of single images (Zou & Donner 2008, doi:10.1002/sim.3095).
    """
    a, b = (Share(float(right.mean()), *accuracy_interval(right, groups)[:2]) for right in (first, second))
    return difference_interval(b, a, correlation=_correlation(first, second, groups))


def _correlation(first: Correct, second: Correct, groups: Sequence[str]) -> float:
    """Correlation (-1 to 1) of both classifiers' surplus of right answers, group by group; 0 where one has no error."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    surplus = [np.bincount(index, weights=right - right.mean(), minlength=len(numbers)) for right in (first, second)]
    size = math.sqrt(float((surplus[0] ** 2).sum() * (surplus[1] ** 2).sum()))
    if not size:
        return 0.0
    found = float((surplus[0] * surplus[1]).sum()) / size
    # A positive correlation shortens the interval, and few groups with errors do not know it well: it is taken one
    # standard error lower, by Fisher's z (doi:10.1093/biomet/10.4.507).
    telling = len(set(index[~(first & second)].tolist()))
    if found <= 0 or telling <= 3:
        return min(found, 0.0)
    return max(0.0, math.tanh(math.atanh(min(found, 0.999999)) - 1 / math.sqrt(telling - 3)))


def _mcnemar_of_many(lost: int, won: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(min(lost, won), lost + won).pvalue)


def _names(predictions: Predictions, labels: npt.NDArray[np.int32]) -> list[str | None]:
    return [predictions.classes[label] if label >= 0 else None for label in labels.tolist()]


def _answered(predictions: Predictions) -> list[str]:
    return [predictions.classes[label] for label in predictions.predicted.tolist()]


def _right(predictions: Predictions) -> Correct:
    return np.asarray(predictions.correct, dtype=np.bool_)


def _accuracy(right: Correct, groups: Sequence[str]) -> dict[str, Any]:
    low, high, _ = accuracy_interval(right, groups)
    return {"accuracy": float(right.mean()), "accuracy_interval": [low, high]}


def _flips(first: Predictions, second: Predictions, right_a: Correct, right_b: Correct) -> list[dict[str, Any]]:
    """Every image that one has right and the other wrong: those that the second lost first, then by path."""
    answers_a, answers_b = _answered(first), _answered(second)
    flips = [
        {
            "path": first.paths[row],
            "label": first.classes[first.labels[row]],
            "a": answers_a[row],
            "a_probability": float(first.probabilities[row].max()),
            "b": answers_b[row],
            "b_probability": float(second.probabilities[row].max()),
            "better": "b" if right_b[row] else "a",
        }
        for row in np.flatnonzero(right_a != right_b).tolist()
    ]
    return sorted(flips, key=lambda flip: (flip["better"], flip["path"]))
