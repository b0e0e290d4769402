"""Calibration: whether a probability means what it says, and the temperature that mends it.

Of the images that are answered with 80 %, 80 % should be right. Everything here takes arrays and needs no network.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.predictions import Probabilities, answers

Labels = npt.NDArray[np.integer]
Logits = npt.NDArray[np.floating]

CALIBRATION_BINS = 15
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


def calibration_error(probabilities: Probabilities, labels: Labels) -> float | None:
    """Return the expected calibration error (0-1), how far confidence is from accuracy; None without images.

    Images are put into 15 bins of equal width by the probability of their answer; the error is the mean over
    images of |accuracy - mean confidence| of the image's bin (Guo et al. 2017, arXiv:1706.04599).
    """
    bins = reliability(probabilities, labels)
    if not bins:
        return None
    return float(sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(labels))


def reliability(
    probabilities: Probabilities, labels: Labels, groups: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return {"low", "high", "n", "groups", "confidence", "accuracy"} of each of the 15 bins that hold images.

    >>> reliability(np.array([[0.9, 0.1], [0.9, 0.1]], np.float32), np.array([0, 1]))[0]["accuracy"]
    0.5
    """
    names = np.arange(len(labels)) if groups is None else np.asarray(groups)
    predicted = answers(probabilities)
    confidence = probabilities[np.arange(len(labels)), predicted].astype(np.float64)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
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
                "accuracy": float((predicted == labels)[inside].mean()),
            }
        )
    return rows


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
