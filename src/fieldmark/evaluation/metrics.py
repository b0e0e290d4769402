"""Metrics: how good a classifier is on one split, each number with its n and how well it is known.

Every value is a plain number that JSON knows; None stands where there is nothing to measure, such as the
precision of a class that was never answered. Intervals are 95 % and take into account that images of one
group stand or fall together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.predictions import Predictions, Probabilities, answers

Interval = tuple[float, float]
Correct = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

CALIBRATION_BINS = 15
# The normal distribution's 97.5 % point.
_Z = 1.959963984540054
# Probabilities count as at least the step of a 32-bit float: one certain and wrong answer is bad, not
# infinitely so.
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


def split_metrics(
    probabilities: Probabilities,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Return one split of `metrics.json` from probabilities (n, classes) and labels (n,).

    Rows without a known label (-1) are left out of every number, so `n` counts the others.
    `accuracy_interval` and `interval_method` come from `accuracy_interval`; `balanced_accuracy` is the mean
    recall of the classes that have images; `log_loss` is in nats; `ece` as in `calibration_error`; rows of
    `confusion` are the true classes, columns the answers. For two classes `positive_class` is the second.
    """
    known = np.flatnonzero(labels >= 0)
    probabilities, labels = probabilities[known], labels[known]
    groups = [groups[row] for row in known.tolist()]
    predicted = answers(probabilities)
    low, high, method = accuracy_interval(predicted == labels, groups)
    confusion = confusion_matrix(labels, predicted, classes=len(classes))
    per_class = class_metrics(confusion)
    recalls = [row["recall"] for row in per_class if row["recall"] is not None]
    result = {
        "n": len(labels),
        "groups": len(set(groups)),
        "accuracy": _ratio(np.trace(confusion), len(labels)),
        "accuracy_interval": [low, high],
        "interval_method": method,
        "balanced_accuracy": _ratio(sum(recalls), len(recalls)),
        "log_loss": log_loss(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
        "per_class": dict(zip(classes, per_class, strict=True)),
        "confusion": confusion.tolist(),
        "classes": list(classes),
    }
    return result | ({"positive_class": classes[1]} if len(classes) == 2 else {})


def wilson(successes: float, n: float) -> Interval:
    """Return Wilson's 95 % interval of a share (doi:10.1080/01621459.1927.10502953); (0, 1) for n = 0.

    Honest at the ends too: nothing wrong among 256 does not mean that nothing can go wrong.

    >>> low, high = wilson(256, 256)
    >>> round(low, 4), high
    (0.9852, 1.0)
    """
    if n <= 0:
        return 0.0, 1.0
    share = successes / n
    middle = share + _Z**2 / (2 * n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + _Z**2 / n), (middle + half) / (1 + _Z**2 / n)
    # At the ends one bound is 0 or 1 by algebra; floating point misses it by a hair.
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def accuracy_interval(correct: Correct, groups: Sequence[str]) -> tuple[float, float, str]:
    """Return (low, high, method) of the share of correct answers, for images of groups not seen before.

    Where every group is one image: "wilson". Else "wilson over groups": Wilson's interval with the effective
    number of images n / (1 + (m - 1) r), where m is the mean group size that an image sees and r, from 0 to
    1, how much alike the answers of a group are (Kish's design effect). r is estimated from the groups that
    have the rarer of right and wrong, and from one imagined group that stands or falls as a whole (r = 1). So
    with every answer right nothing is known of r, and n becomes the number of groups.

    Measured on beta-binomial models, 1,200 draws each (4-200 groups, accuracy .65-.99, r .02-.9): it covers
    the truth in 92-100 %, in the mean 96 %. A percentile bootstrap over groups (10-100 groups, accuracy
    .80-.99, r .02-.6) covered it in 27-96 %, worst where the accuracy is high and groups are few: what did
    not happen in the sample, it cannot draw.
    """
    right, sizes = _by_group(correct, groups)
    total, n = int(right.sum()), len(correct)
    if n == len(sizes):
        return *wilson(total, n), "wilson"
    seen_size = float((sizes**2).sum() / n)
    effective = n / (1 + (seen_size - 1) * _likeness(right, sizes, seen_size))
    return *wilson(total / n * effective, effective), "wilson over groups"


def confusion_matrix(labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], *, classes: int) -> Counts:
    """Return counts (classes, classes): row = true class, column = answer."""
    pairs = labels.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_metrics(confusion: Counts) -> list[dict[str, Any]]:
    """Return {"n", "precision", "recall", "f1"} of each class; None where there is nothing to divide by."""
    rows = []
    for label, right in enumerate(np.diagonal(confusion).tolist()):
        images, answered = int(confusion[label].sum()), int(confusion[:, label].sum())
        rows.append(
            {
                "n": images,
                "precision": _ratio(right, answered),
                "recall": _ratio(right, images),
                "f1": _ratio(2 * right, images + answered),
            }
        )
    return rows


def log_loss(probabilities: Probabilities, labels: npt.NDArray[np.integer]) -> float | None:
    """Return the mean of -ln p(label) in nats; None without images. A p below 1.2e-7 counts as 1.2e-7."""
    if not len(labels):
        return None
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(given, _LEAST_PROBABILITY, 1)).mean())


def calibration_error(probabilities: Probabilities, labels: npt.NDArray[np.integer]) -> float | None:
    """Return the expected calibration error (0-1), how far confidence is from accuracy; None without images.

    Images are put into 15 bins of equal width by the probability of their answer; the error is the mean over
    images of |accuracy - mean confidence| of the image's bin (Guo et al. 2017, arXiv:1706.04599).
    """
    if not len(labels):
        return None
    predicted = answers(probabilities)
    confidence = probabilities[np.arange(len(labels)), predicted].astype(np.float64)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    surplus = np.bincount(bins, weights=confidence - (predicted == labels), minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(labels))


def overfitting(train: Predictions, validation: Predictions) -> dict[str, Any]:
    """Return {"gap", "gap_interval", "sentence"}: accuracy on train minus accuracy on validation (-1 to 1).

    The interval is put together from those of the two accuracies (Newcombe 1998, method 10; Zou & Donner
    2008, doi:10.1002/sim.3095), so it keeps their caution. Without images on one side, gap and interval are
    None. Images without a known label are left out.
    """
    train, validation = _with_labels(train), _with_labels(validation)
    if not len(train) or not len(validation):
        side = "validation" if len(train) else "training"
        return {
            "gap": None,
            "gap_interval": None,
            "sentence": f"No {side} images, so overfitting cannot be told.",
        }
    on_train, on_validation = float(train.correct.mean()), float(validation.correct.mean())
    train_low, train_high, _ = accuracy_interval(train.correct, train.groups)
    low, high, _ = accuracy_interval(validation.correct, validation.groups)
    gap = on_train - on_validation
    interval = [
        gap - math.hypot(on_train - train_low, high - on_validation),
        gap + math.hypot(train_high - on_train, on_validation - low),
    ]
    grouped = len(set(validation.groups)) < len(validation)
    sentence = _gap_sentence(on_train, on_validation, interval, grouped=grouped)
    return {"gap": gap, "gap_interval": interval, "sentence": sentence}


def percent(share: float) -> str:
    """Return a share (0-1) as people read it; never 100 % or 0 % for what is not.

    >>> percent(0.9921875), percent(0.99999), percent(1.0)
    ('99.2 %', '99.999 %', '100 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    digits = 1
    while digits < 6 and round(share, digits + 2) in (0, 1):
        digits += 1
    return f"{100 * share:.{digits}f} %"


def _by_group(correct: Correct, groups: Sequence[str]) -> tuple[Counts, Counts]:
    """Return, for each group, how many answers are right and how many images there are."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups], dtype=np.int64)
    sizes = np.bincount(index, minlength=len(numbers))
    return np.bincount(index[correct], minlength=len(numbers)).astype(np.int64), sizes.astype(np.int64)


def _likeness(right: Counts, sizes: Counts, seen_size: float) -> float:
    n, share = int(sizes.sum()), float(right.sum() / sizes.sum())
    telling = int(min((right < sizes).sum(), (right > 0).sum()))
    if not telling or len(sizes) == 1:
        return 1.0
    # How much more the accuracy varies from group to group than it would if the images were independent.
    between = len(sizes) / (len(sizes) - 1) * float(((right - share * sizes) ** 2).sum()) / n**2
    design_effect = between / (share * (1 - share) / n)
    likeness = min(max((design_effect - 1) / (seen_size - 1), 0.0), 1.0)
    return (telling * likeness + 1) / (telling + 1)


def _with_labels(predictions: Predictions) -> Predictions:
    return predictions.keep(np.flatnonzero(predictions.labels >= 0).tolist())


def _gap_sentence(train: float, validation: float, interval: list[float], *, grouped: bool) -> str:
    low, high = (100 * bound for bound in interval)
    points = 100 * (train - validation)
    facts = (
        f"Right on {percent(train)} of the training and {percent(validation)} of the validation images: "
        f"a gap of {points:.1f} points (95 % interval {low:.1f} to {high:.1f})"
    ).replace("-", "−")
    few = "groups" if grouped else "images"
    if low > 0:
        part = "Much" if points >= 10 else "Part"
        return f"{facts}. {part} of what was learnt holds for the training images only."
    if high < 0:
        return f"{facts}. The validation images are the easier ones: do not expect as much of others."
    if high < 5:
        return f"{facts}. No sign of overfitting."
    if points < 1:
        return f"{facts}. No sign of overfitting, as far as so few {few} can show."
    return f"{facts}. That may be chance: too few {few} to tell whether it overfits."


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
