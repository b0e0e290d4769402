"""Calibration: whether a probability means what it says, and the temperature that mends it.

Of the images that are answered with 80 %, 80 % should be right. Everything here takes arrays and needs no network.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.effective import group_numbers
from fieldmark.evaluation.intervals import accuracy_interval
from fieldmark.evaluation.predictions import Probabilities, answers

Labels = npt.NDArray[np.integer]
Logits = npt.NDArray[np.floating]

CALIBRATION_BINS = 15
MOVES = 1000  # draws of the bins' gaps for the interval of the calibration error
# Probabilities count as at least the step of a 32-bit float: one certain and wrong answer is bad, not
# infinitely so.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
GREATEST_LOSS = -math.log(LEAST_PROBABILITY)
# With the imagined wrong group (see fit_temperature) no fit comes near these; they keep a broken one finite.
TEMPERATURES = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class Temperature:
    """What logits are divided by, and how it was found, for people."""

    value: float
    note: str


def log_losses(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.float64]:
    """Return -ln p(label) in nats of each image (n,). A p below 1.2e-7 counts as 1.2e-7."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(given, LEAST_PROBABILITY, 1)))


def brier_scores(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.float64]:
    """Return the squared distance (n,), 0 to 2, of each image's probabilities from the truth.

    Summed over all classes as Brier (1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2) has it, so for
    two classes it is twice what scikit-learn's `brier_score_loss` gives.
    """
    truth = np.zeros(probabilities.shape)
    truth[np.arange(len(labels)), labels] = 1
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1))


def runner_up(probabilities: Probabilities) -> Labels:
    """Return the class (n,) that each image is answered with second: what a wrong answer's image would mostly be.

    Losses with these as labels are those of wrong answers that may not have been seen. With one class: that class.

    >>> runner_up(np.array([[0.7, 0.1, 0.2]], np.float32))
    array([2])
    """
    return np.asarray(np.argsort(-probabilities, axis=1, kind="stable")[:, min(1, probabilities.shape[1] - 1)])


def calibration_error(probabilities: Probabilities, labels: Labels) -> float | None:
    """Return the expected calibration error (0-1), how far confidence is from accuracy; None without images.

    Images are put into 15 bins of equal width by the probability of their answer; the error is the mean over
    images of |accuracy - mean confidence| of the image's bin (Guo et al. 2017, arXiv:1706.04599).
    """
    bins = reliability(probabilities, labels)
    if not bins:
        return None
    return float(sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(labels))


def calibration_interval(probabilities: Probabilities, labels: Labels, groups: Sequence[str]) -> list[float] | None:
    """Return the 95 % interval (0 to 1) of the calibration error, over groups (n,); None for under two groups.

    Chance alone moves every bin, and the error counts each move as an error: it is biased upward, resamples of it twice
    (Roelofs et al. 2022, arXiv:2012.08668), so that their percentiles lie above the truth. Here each bin's gap moves by
    a normal draw with the variance that it has over groups (at least that of calibrated independent images), 1,000
    times with a fixed seed. The lower bound is the least error, of the same shape, by which so large a one is found in
    2.5 % of the draws (Brocker & Smith 2007, doi:10.1175/WAF993.1, do so for none); it may be 0. The upper bound is as
    far above the error as the lowest 2.5 % of its own draws are below their mean.

    >>> sure = np.array([[0.8, 0.2]] * 100, np.float32)
    >>> [round(bound, 2) for bound in calibration_interval(sure, np.array([0] * 90 + [1] * 10), list(range(100)))]
    [0.02, 0.18]
    """
    right, confidence, bins = _answered(probabilities, labels)
    numbers = group_numbers(groups)
    count = int(numbers.max(initial=-1)) + 1
    if count < 2:
        return None
    gaps, images = np.zeros((2, count, CALIBRATION_BINS))
    np.add.at(gaps, (numbers, bins), right - confidence)
    np.add.at(images, (numbers, bins), 1)
    gap = gaps.sum(axis=0) / len(labels)
    residuals = (gaps - gap * images.sum(axis=1, keepdims=True)) / len(labels)
    covariance = count / (count - 1) * residuals.T @ residuals
    calibrated = np.bincount(bins, confidence * (1 - confidence), CALIBRATION_BINS) / len(labels) ** 2
    covariance += np.diag(np.maximum(0.0, calibrated - np.diag(covariance)))
    return _around(gap, covariance)


def _around(gap: npt.NDArray[np.float64], covariance: npt.NDArray[np.float64]) -> list[float]:
    """Return the interval of the sum of |gap| (bins,), whose estimate varies with this covariance (bins, bins)."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # the same for any order of groups
    moves = np.random.default_rng(0).normal(size=(MOVES, len(gap))) @ root
    error, own = float(np.abs(gap).sum()), np.abs(gap + moves).sum(axis=1)
    shares = np.linspace(0, 1, 65).tolist()
    # The more of the gap is true the more is found; all of it is enough
    found = bisect.bisect_left(shares[:-1], error, key=lambda share: _most(np.abs(share * gap + moves).sum(axis=1)))
    low = shares[found] * error
    return [low, float(min(1.0, error + max(0.0, own.mean() - np.quantile(own, 0.025))))]


def _most(errors: npt.NDArray[np.float64]) -> float:
    return float(np.quantile(errors, 0.975))


def reliability(
    probabilities: Probabilities, labels: Labels, groups: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return what each of the 15 bins that hold images has: how sure the answers are, and how many are right.

    {"low", "high", "n", "groups", "confidence", "accuracy", "accuracy_interval" (95 %, over groups)}

    >>> reliability(np.array([[0.9, 0.1], [0.9, 0.1]], np.float32), np.array([0, 1]))[0]["accuracy"]
    0.5
    """
    names = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups)
    right, confidence, bins = _answered(probabilities, labels)
    rows = []
    for number in np.unique(bins).tolist():
        inside = bins == number
        rows.append(
            {
                "low": number / CALIBRATION_BINS,
                "high": (number + 1) / CALIBRATION_BINS,
                "n": int(inside.sum()),
                "groups": len(np.unique(names[inside])),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(right[inside].mean()),
                "accuracy_interval": list(accuracy_interval(right[inside], names[inside].tolist())[:2]),
            }
        )
    return rows


def _answered(
    probabilities: Probabilities, labels: Labels
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return of each image (n,) whether its answer is right, how sure it is, and in which bin that is."""
    predicted = answers(probabilities)
    confidence = probabilities[np.arange(len(labels)), predicted].astype(np.float64)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    return np.asarray(predicted == labels), confidence, bins


def fit_temperature(logits: Logits, labels: Labels, groups: Sequence[str]) -> float:
    """Return the temperature of least log loss for logits (n, outputs) of images that the fit has not seen.

    One output is that of class 1 of two. Dividing by one number leaves every answer as it is (Guo et al. 2017,
    arXiv:1706.04599). Where all images are right, the least loss would be at 0: certainty, which a few groups cannot
    show. So half a group more is imagined that is wrong as a whole (as Platt 1999 does with images; a half is
    Jeffreys' prior): of G groups all right, the temperature says about 0.5 in G + 1 wrong.

    >>> sure_and_right = np.array([[20.0], [-20.0]] * 50)
    >>> round(fit_temperature(sure_and_right, np.array([1, 0] * 50), [str(row) for row in range(100)]), 2)
    3.77
    """
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    logits = logits.astype(np.float64)
    imagined = 0.5 / (len(set(groups)) + 1)
    given = logits[np.arange(len(labels)), labels]
    others = (logits.sum(axis=1) - given) / (logits.shape[1] - 1)
    wanted = (1 - imagined) * given + imagined * others

    def loss(log_inverse: float) -> float:
        scaled = logits * np.exp(log_inverse)
        return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - wanted * np.exp(log_inverse)))

    coldest, hottest = TEMPERATURES
    return float(np.exp(-_least(loss, -np.log(hottest), -np.log(coldest))))


def calibrate(left_out: Logits, labels: Labels, groups: Sequence[str]) -> Temperature:
    """Return the temperature for logits (n, outputs) of images left out, NaN where none were made: see fit_temperature.

    >>> calibrate(np.full((2, 1), np.nan), np.array([0, 1]), ["a", "b"]).value
    1.0
    """
    rows = np.flatnonzero(np.isfinite(left_out).all(axis=1))
    if not len(rows):
        return Temperature(1.0, "no fold held every class, so the probabilities were not calibrated")
    own = [groups[int(row)] for row in rows]
    value = fit_temperature(left_out[rows], labels[rows], own)
    return Temperature(
        value,
        f"probabilities calibrated with temperature {value:.3f} ({'less' if value > 1 else 'more'} sure than fitted), "
        f"on the answers for {len(rows)} training images of {len(set(own))} groups, each group left out of its own fit"
        + not_judged(labels, rows, before="; "),
    )


def not_judged(labels: Labels, rows: npt.NDArray[np.integer], *, before: str = " ") -> str:
    """Return how many classes have no image among `rows`, those left out of a fit; "" for none.

    >>> not_judged(np.array([0, 0, 1, 1, 2]), np.arange(4))
    ' 1 of 3 classes could not be judged: their few images are in every fit'
    """
    classes, judged = len(np.unique(labels)), len(np.unique(labels[rows]))
    if classes == judged:
        return ""
    return f"{before}{classes - judged} of {classes} classes could not be judged: their few images are in every fit"


def _least(function: Any, low: float, high: float) -> float:
    """Return where a function with one valley is least, by golden sections, to 1e-4."""
    share = (np.sqrt(5) - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-4:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = function(right)
    return float((low + high) / 2)
