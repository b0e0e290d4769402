"""Metrics: how good a classifier is on one split, each number with its n and how well it is known.

Every value is a plain number that JSON knows; None stands where there is nothing to measure, such as the
precision of a class that was never answered. Intervals are 95 % and take into account that images of one
group stand or fall together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.calibration import (
    GREATEST_LOSS,
    brier_scores,
    calibration_error,
    calibration_interval,
    log_losses,
    reliability,
    runner_up,
)
from fieldmark.evaluation.curves import precision_recall, roc
from fieldmark.evaluation.effective import group_numbers, ratio_of
from fieldmark.evaluation.intervals import (
    Correct,
    Share,
    accuracy_interval,
    difference_interval,
    mean_interval,
    mean_of,
    share_of,
)
from fieldmark.evaluation.predictions import Predictions, Probabilities, answers

Counts = npt.NDArray[np.int64]


def metrics_of(predictions: Predictions) -> dict[str, Any]:
    """Return one split of `metrics.json` from its predictions: `split_metrics`, and how many are unfamiliar."""
    numbers = split_metrics(predictions.probabilities, predictions.labels, predictions.groups, predictions.classes)
    known = _with_labels(predictions)
    return numbers | {"unfamiliar": None if known.unfamiliar is None else int(known.unfamiliar.sum())}


def split_metrics(
    probabilities: Probabilities,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Return one split of `metrics.json` from probabilities (n, classes) and labels (n,).

    Rows without a known label (-1) are left out of every number, so `n` counts the others.
    `accuracy_interval` and `interval_method` come from `accuracy_interval`; `balanced_accuracy` is the mean
    recall of the classes that have images; `log_loss` is in nats; `brier` from 0 to 2; `ece` as in
    `calibration_error`, from the bins of `reliability`; rows of `confusion` are the true classes, columns the
    answers. For two classes `positive_class` is the second, with `roc` and `precision_recall` (see `curves`). What
    ends in `_interval` holds 95 %.
    """
    known = np.flatnonzero(labels >= 0)
    probabilities, labels = probabilities[known], labels[known]
    groups = [groups[row] for row in known.tolist()]
    predicted = answers(probabilities)
    low, high, method = accuracy_interval(predicted == labels, groups)
    confusion = confusion_matrix(labels, predicted, classes=len(classes))
    shares = _recalls(labels, predicted, groups, len(classes))
    balanced = mean_of([share for share in shares if share is not None])
    per_class, numbers = class_metrics(confusion), group_numbers(groups)
    for label, row in enumerate(per_class):
        row |= _class_intervals(labels == label, predicted == label, numbers, shares[label])
    result = {
        "n": len(labels),
        "groups": len(set(groups)),
        "accuracy": _ratio(np.trace(confusion), len(labels)),
        "accuracy_interval": [low, high],
        "interval_method": method,
        "balanced_accuracy": balanced.value if balanced else None,
        "balanced_accuracy_interval": [balanced.low, balanced.high] if balanced else None,
        **_losses(probabilities, labels, groups),
        "ece": calibration_error(probabilities, labels),
        "ece_interval": calibration_interval(probabilities, labels, groups),
        "reliability": reliability(probabilities, labels, groups),
        "per_class": dict(zip(classes, per_class, strict=True)),
        "confusion": confusion.tolist(),
        "classes": list(classes),
    }
    if len(classes) != 2:
        return result
    return result | {
        "positive_class": classes[1],
        "roc": roc(probabilities[:, 1], labels, groups),
        "precision_recall": precision_recall(probabilities[:, 1], labels, groups),
    }


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


def overfitting(train: Predictions, validation: Predictions) -> dict[str, Any]:
    """Return {"gap", "gap_interval", "sentence"}: accuracy on train minus accuracy on validation (-1 to 1).

    The interval is put together from those of the two accuracies (Newcombe 1998, method 10; Zou & Donner
    2008, doi:10.1002/sim.3095), so it keeps their caution. Without images on one side, gap and interval are
    None. Images without a known label are left out.
    """
    train, validation = _with_labels(train), _with_labels(validation)
    on_train, on_validation = share_of(train.correct, train.groups), share_of(validation.correct, validation.groups)
    if on_train is None or on_validation is None:
        side = "validation" if on_train else "training"
        return {
            "gap": None,
            "gap_interval": None,
            "sentence": f"No {side} images, so overfitting cannot be told.",
        }
    interval = list(difference_interval(on_train, on_validation))
    grouped = len(set(validation.groups)) < len(validation)
    sentence = _gap_sentence(on_train.value, on_validation.value, interval, grouped=grouped)
    return {"gap": on_train.value - on_validation.value, "gap_interval": interval, "sentence": sentence}


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


def _recalls(
    labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], groups: Sequence[str], classes: int
) -> list[Share | None]:
    """Return the recall of each class with its interval over the groups that hold images of it."""
    recalls = []
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        recalls.append(share_of(predicted[rows] == label, [groups[row] for row in rows.tolist()]))
    return recalls


def _losses(
    probabilities: Probabilities, labels: npt.NDArray[np.integer], groups: Sequence[str]
) -> dict[str, float | list[float] | None]:
    """Return the mean log loss and Brier score with their intervals."""
    # A wrong answer is seldom, and costs far more than a right one: as much as each image's runner-up would
    wrong = runner_up(probabilities)
    found: dict[str, float | list[float] | None] = {}
    for name, loss, most in (("log_loss", log_losses, GREATEST_LOSS), ("brier", brier_scores, 2.0)):
        values, imagined = loss(probabilities, labels), _mean(loss(probabilities, wrong))
        found[name] = _mean(values)
        found[f"{name}_interval"] = mean_interval(values, groups, least=0.0, most=most, imagined=imagined)
    return found


def _class_intervals(
    of_class: Correct, answered: Correct, numbers: npt.NDArray[np.int64], recall: Share | None
) -> dict[str, Any]:
    """Return what a class's row has beside its counts; intervals are None where there are no images.

    `of_class` (n,) are its images, `answered` (n,) those answered as it, `numbers` (n,) their groups'.
    """
    precision = ratio_of(of_class & answered, answered, numbers)
    both = ratio_of(of_class & answered, of_class | answered, numbers)
    return {
        "groups": len(np.unique(numbers[of_class])),
        "precision_interval": [precision.low, precision.high] if precision else None,
        "recall_interval": [recall.low, recall.high] if recall else None,
        # F1 rises with the share of the images of either kind that are of both, and so do its bounds
        "f1_interval": [_f1_of(both.low), _f1_of(both.high)] if both else None,
    }


def _f1_of(both: float) -> float:
    """Return F1 from Jaccard's index: of the images that are of a class or answered as it, the share that are both."""
    return 2 * both / (1 + both)


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


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
