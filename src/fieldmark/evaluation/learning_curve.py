"""Learning curve: accuracy against the number of training images, and what twice as many would bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.intervals import share_of, student

Correct = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
# The error of networks falls as a power of the number of images (Hestness et al. 2017, arXiv:1712.00409, find exponents
# of 0.07 to 0.35); 0 is no gain, 1 the rate of a parametric model. Where half or more is wrong it falls more slowly, as
# it cannot be more than all; the odds of a mistake do not (docs/log.md).
EXPONENTS = (0.0, 1.0)
FEW_MISTAKEN = 3  # groups with a mistake
# Of the variance of a gain measured on the images left out: what another draw of as many images adds. Chosen on 137
# doublings; of 50 others 49 came within the interval (17 without; random halves of the same data, pretrained heads).
ANOTHER_DRAW = 0.75


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """What classifiers fitted to this many training images answered for all images, each left out of its own fit."""

    images: float  # training images a fit, the mean over the fits
    correct: Correct  # (n,)


def learning_curve(points: Sequence[Point], groups: Sequence[str], *, images: int, seed: int = 0) -> dict[str, Any]:
    """Return the `learning_curve` of metrics.json from points of rising numbers of images, the groups (n,) of theirs.

    {"points": [{"images", "accuracy", "interval", "n", "groups"}], "exponent", "images", "error",
    "gain_of_doubling", "gain_interval", "sentence"}. The odds of a mistake are taken to fall as a · images^-b, fitted
    by least squares on their logarithm; `error` is theirs at `images`, all that there are, and the gain its fall from
    there to twice as many. Its 95 % interval (it may begin below 0) is that of 1,000 Bayesian resamples of the groups
    (Rubin 1981, doi:10.1214/aos/1176345338), the same for all points, widened by what one draw of images scatters.
    """
    rows: list[dict[str, Any]] = []
    for point in points:
        share = share_of(point.correct, groups)
        if share is None:
            return not_measured("No images were left out, so the learning curve cannot be told.")
        interval = [share.low, share.high]
        n, distinct = len(groups), len(set(groups))
        rows.append({"images": point.images, "accuracy": share.value, "interval": interval, "n": n, "groups": distinct})
    if len(points) < 2:
        return not_measured("Too few groups to fit a learning curve to.") | {"points": rows}
    sizes = np.array([point.images for point in points])
    weights = _resamples(groups, seed)
    wrong = np.stack([~point.correct for point in points], axis=1).astype(np.float64)
    # Half a wrong answer more in one more, so that no mistakes in the sample do not mean none ever.
    errors = (weights @ wrong + 0.5) / (weights.sum(axis=1, keepdims=True) + 1)
    gains, exponents, here = _gains(sizes, errors, images)
    gain, interval = float(gains[0]), _interval(gains, wrong, groups)
    if len({group for group, row in zip(groups, wrong, strict=True) if row[-1]}) < FEW_MISTAKEN:
        # Resamples of hardly any mistake are all alike: what is not known is how many there are beyond these groups.
        most = (1 - rows[-1]["interval"][0]) * (1 - 2.0 ** -EXPONENTS[-1])
        interval = [min(interval[0], 0.0), max(interval[1], most)]
    return {
        "points": rows,
        "exponent": float(exponents[0]),
        "images": images,
        "error": float(here[0]),
        "gain_of_doubling": gain,
        "gain_interval": interval,
        "sentence": _sentence(gain, interval, images),
    }


def not_measured(sentence: str) -> dict[str, Any]:
    """Return a learning curve without numbers, and why there are none."""
    return {
        "points": [],
        "exponent": None,
        "images": None,
        "error": None,
        "gain_of_doubling": None,
        "gain_interval": None,
        "sentence": sentence,
    }


def _resamples(groups: Sequence[str], seed: int) -> Floats:
    """Return weights (1 + RESAMPLES, n): all 1 first, then one exponential draw a group each."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    draws = np.random.default_rng(seed).exponential(size=(RESAMPLES, int(numbers.max()) + 1))
    return np.concatenate([np.ones((1, len(numbers))), draws[:, numbers]])


def _gains(sizes: Floats, errors: Floats, images: int) -> tuple[Floats, Floats, Floats]:
    """Return, for each row of errors (resamples, points), the fall by doubling, its exponent, and the error before."""
    x = np.log(sizes)
    logits = np.log(errors / (1 - errors))
    # Least squares over the slope within EXPONENTS is the free slope, cut off at their ends.
    slopes = ((logits - logits.mean(axis=1, keepdims=True)) @ (x - x.mean())) / ((x - x.mean()) ** 2).sum()
    exponents = np.clip(-slopes, EXPONENTS[0], EXPONENTS[-1])
    here = logits.mean(axis=1) - exponents * (np.log(images) - x.mean())
    there = here - exponents * np.log(2)
    return _share(here) - _share(there), exponents, _share(here)


def _share(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _interval(gains: Floats, wrong: Floats, groups: Sequence[str]) -> list[float]:
    """Return the gain's interval: how unsure the fit is (resamples; the gain itself first), and the draws of images.

    A gain is of one draw of images over another, which resamples of the groups left out do not show: they keep the
    classifiers as they are. The last two points are one such gain. Its scatter over groups is more than that of all
    mistakes only where the smaller point missed whole kinds; then that of all mistakes counts.
    """
    gain, (low, high) = float(gains[0]), np.quantile(gains[1:], [0.025, 0.975])
    scatter = min(_variance(wrong[:, -2] - wrong[:, -1], groups), _variance(wrong[:, -1], groups))
    if wrong[:, -1].any():  # classifiers that make the very same mistakes are known to the grain of one answer at best
        scatter = max(scatter, 1.0 / len(wrong) ** 2)
    draw = student(len(set(groups))) * np.sqrt(ANOTHER_DRAW * scatter)
    below, above = np.hypot(max(0.0, gain - low), draw), np.hypot(max(0.0, high - gain), draw)
    return [max(-1.0, float(gain - below)), min(1.0, float(gain + above))]


def _variance(values: Floats, groups: Sequence[str]) -> float:
    """Return the variance of the mean of values (n,), over groups."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    sums = np.bincount(numbers, weights=values - values.mean())
    return float((sums**2).sum()) / len(values) ** 2


def _sentence(gain: float, interval: Sequence[float], images: int) -> str:
    low, high = (100 * bound for bound in interval)
    facts = (
        f"Twice the images ({2 * images:,} for {images:,}) would bring about +{100 * gain:.1f} points of accuracy "
        f"(95 % interval {low:.1f} to {high:.1f})"
    ).replace("-", "−")
    if high < 0.5:
        return f"{facts}: more images of the same kind are hardly worth the work."
    if low > 0.5:
        return f"{facts}: more images are worth the work."
    return f"{facts}."
