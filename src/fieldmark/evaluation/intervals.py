"""Intervals: how well a share is known, 95 %, where the images of one group stand or fall together.

Images in groups (frames of one sequence, copies of one photo) are not that many independent trials. How much alike
the answers of a group are, r from 0 to 1, is not known either, and ten groups say little about it. So both the
accuracy and r are treated as unknown, and the interval is that of the accuracy over all that r may be.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

# The normal distribution's 97.5 % point.
Z = 1.959963984540054
# Points of the grid over the logit of the accuracy and over r. Twice as many move a bound by less than 0.0005.
_ACCURACIES, _LIKENESSES = 81, 16
# How likely it is held beforehand that images of a group are no more alike than any others, r = 0 (decision 7).
_INDEPENDENT = 0.1
# Logits beyond this are 0 or 1 for any number of images that a person has.
_FURTHEST_LOGIT = 14.0
# Of the posterior: the interval's bounds, and between them where the observed share mostly lies.
_QUANTILES = (0.025, 0.2, 0.8, 0.975)
# Groups imagined to have a loss that is seldom: losses in n groups that are all small do not mean that none is large.
_IMAGINED_LOSS = 0.1
# Of few groups the skewness would reach much too far: it counts at most as this, divided by the t statistic.
_MOST_SKEWED = 0.6
# What the first look leaves out of the second: less than this share of the greatest density.
_NEGLIGIBLE = 1e-5


@dataclasses.dataclass(frozen=True)
class Share:
    """A share with its 95 % interval, all from 0 to 1."""

    value: float
    low: float
    high: float


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
    middle = share + Z**2 / (2 * n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)
    # At the ends one bound is 0 or 1 by algebra; floating point misses it by a hair.
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def accuracy_interval(correct: Correct, groups: Sequence[str]) -> tuple[float, float, str]:
    """Return (low, high, method) of the share of correct answers, for images of groups not seen before.

    Where every group is one image: "wilson". Else "beta-binomial over groups": see `grouped_intervals`.

    >>> low, high, method = accuracy_interval(np.ones(200, bool), [str(row // 10) for row in range(200)])
    >>> round(low, 2), high, method
    (0.84, 1.0, 'beta-binomial over groups')
    """
    right, sizes = by_group(correct, groups)
    if len(correct) == len(sizes):
        return *wilson(int(right.sum()), len(correct)), "wilson"
    ((low, high),) = grouped_intervals(right[None], sizes).tolist()
    return low, high, "beta-binomial over groups"


def share_of(correct: Correct, groups: Sequence[str]) -> Share | None:
    """Return the share of correct answers with its interval; None without images."""
    if not len(correct):
        return None
    low, high, _ = accuracy_interval(correct, groups)
    return Share(float(correct.mean()), low, high)


def grouped_intervals(right: Counts, sizes: Counts) -> Floats:
    """Return 95 % intervals (evaluations, 2) of the accuracy, from `right` answers (evaluations, groups) of `sizes`.

    The accuracy of a group is a draw of a beta distribution with mean m and likeness r (0: groups differ by chance
    only; 1: a group is right or wrong as a whole), its right answers a binomial draw of that (beta-binomial model,
    Skellam 1948). The interval holds the middle 95 % of m's posterior, with Jeffreys' prior on m; r is held to
    be 0 with probability .1 beforehand, else all r to be equally likely; integrated on a grid. With every answer right
    (or wrong) nothing is known of r, and each group counts as one image: Wilson's interval of them. The accuracy of a
    group is taken not to depend on its size; where the observed share speaks against that, as it lies outside of the
    middle 60 % of the posterior, the interval is widened by that of the linearised ratio (see `mean_interval`).
    """
    nodes = _blocks(int(sizes.max(initial=1)))
    tallies = _tally(right, nodes), _tally(sizes - right, nodes), _tally(sizes[None], nodes)
    bounds, uneven = np.empty((len(right), 2)), sizes.min() < sizes.max()
    for row, share in enumerate(right.sum(axis=1) / sizes.sum()):
        if share in (0, 1):
            bounds[row] = wilson(share * len(sizes), len(sizes))
            continue
        low, from_, to, high = _posterior(tallies[0][row], tallies[1][row], tallies[2][0], nodes)
        if uneven and not from_ <= share <= to:  # large groups seem to fare otherwise than small ones
            of_images = _linearised(right[row], sizes)
            low, high = min(low, of_images[0]), max(high, of_images[1])
        bounds[row] = min(low, share), max(high, share)
    return bounds


def _linearised(right: Counts, sizes: Counts) -> Interval:
    """Return the interval of the share as a ratio of sums over groups, whatever a group's accuracy depends on."""
    share, groups = float(right.sum() / sizes.sum()), len(sizes)
    spread = math.sqrt(groups / (groups - 1) * float(((right - share * sizes) ** 2).sum()))
    half = student(groups - 1) * spread / float(sizes.sum())
    return max(0.0, share - half), min(1.0, share + half)


def mean_of(shares: Sequence[Share]) -> Share | None:
    """Return the mean of independent shares, such as the recalls of the classes; None of none.

    The interval is put together from theirs (MOVER: Zou & Donner 2008, doi:10.1002/sim.3095), so it keeps their
    caution; shares of the same groups are not independent, and for these it is too wide or too narrow.

    >>> mean_of([Share(0.5, 0.25, 0.75), Share(1.0, 0.75, 1.0)])
    Share(value=0.75, low=0.5732233047033631, high=0.875)
    """
    if not shares:
        return None
    value = math.fsum(share.value for share in shares) / len(shares)
    below = math.hypot(*(share.value - share.low for share in shares)) / len(shares)
    above = math.hypot(*(share.high - share.value for share in shares)) / len(shares)
    return Share(value, value - below, value + above)


def difference_interval(one: Share, other: Share, *, correlation: float = 0.0) -> Interval:
    """Return the 95 % interval of `one` minus `other` (-1 to 1) from their own intervals.

    Newcombe 1998, method 10 for independent shares, and with `correlation` (-1 to 1) for two shares of the same
    images (doi:10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C).

    >>> low, high = difference_interval(Share(0.8, *wilson(56, 70)), Share(0.6, *wilson(48, 80)))
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    difference = one.value - other.value
    below = _combined(one.value - one.low, other.high - other.value, correlation)
    above = _combined(one.high - one.value, other.value - other.low, correlation)
    return max(-1.0, difference - below), min(1.0, difference + above)


def mean_interval(
    values: Floats,
    groups: Sequence[str],
    *,
    least: float = -math.inf,
    most: float = math.inf,
    imagined: float | None = None,
) -> list[float] | None:
    """Return the 95 % interval of the mean of values (n,) such as losses, over groups (n,); None for under 2 groups.

    `least` is what no value can be below, `most` what none can be above, `imagined` a value that is seldom and may
    not have been seen: a tenth of a group more is imagined to have it. None where all values are alike and
    nothing is imagined.

    Student's t with groups - 1 degrees of freedom on the groups' sums (the linearised ratio estimator), by Hall's
    cubic transformation, as a few large losses make the mean's distribution skewed (Hall 1992,
    doi:10.1111/j.2517-6161.1992.tb01872.x). The tenth was chosen by coverage (decision 7).

    >>> low, high = mean_interval(np.array([0.0] * 27 + [1.0] * 3), [str(row) for row in range(30)])
    >>> round(low, 3), round(high, 3)
    (0.014, 0.255)
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    count = int(numbers.max(initial=-1)) + 1
    if count < 2:
        return None
    seen, weights = float(values.mean()), np.ones(count + 1)
    weights[-1] = 0.0 if imagined is None else _IMAGINED_LOSS
    images = np.append(np.bincount(numbers), len(values) / count)  # the imagined group is as large as the others
    totals = np.append(np.bincount(numbers, weights=values), (imagined or 0.0) * images[-1])
    mean, whole = float((weights * totals).sum() / (weights * images).sum()), float(weights.sum())
    deviations = totals - mean * images
    square, cube = (float((weights * deviations**power).sum()) / whole for power in (2, 3))
    if square <= 1e-24 * (1 + mean**2):
        return None
    deviation = math.sqrt(square * whole / (whole - 1)) * whole / float((weights * images).sum())
    reach = student(count - 1) / math.sqrt(whole)
    low, high = (mean - deviation * _unskewed(t, cube / square**1.5, whole) for t in (reach, -reach))
    return [max(least, min(low, seen)), min(most, max(high, seen))]


def _unskewed(t: float, skewness: float, count: float) -> float:
    """Return where Hall's cubic transformation of a mean's t statistic is t, both divided by the root of the count."""
    if skewness * t < 0:  # the side that it lengthens
        skewness = math.copysign(min(abs(skewness), _MOST_SKEWED / abs(t)), skewness)
    if abs(skewness) < 1e-9:
        return t
    return 3 / skewness * (float(np.cbrt(1 + skewness * (t - skewness / (6 * count)))) - 1)


def student(freedom: int) -> float:
    """Return the 97.5 % point of Student's t (Cornish and Fisher's series; within 1 % from 3 degrees of freedom on).

    >>> [round(student(freedom), 2) for freedom in (1, 2, 5, 100)]
    [12.71, 4.3, 2.57, 1.98]
    """
    if freedom <= 2:
        return (12.706, 4.303)[freedom - 1]
    z = Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def by_group(correct: Correct, groups: Sequence[str]) -> tuple[Counts, Counts]:
    """Return, for each group in order of appearance, how many answers are right and how many images there are."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups], dtype=np.int64)
    sizes = np.bincount(index, minlength=len(numbers))
    return np.bincount(index[correct], minlength=len(numbers)).astype(np.int64), sizes.astype(np.int64)


def _combined(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _blocks(largest: int) -> Counts:
    """Return edges that cut 0..largest: single numbers up to 64, then blocks of about 3 %, over which ln is flat."""
    edges = [*range(min(largest, 64) + 1)]
    while edges[-1] < largest:
        edges.append(min(largest, edges[-1] + edges[-1] // 32))
    return np.array(edges, dtype=np.int64)


def _tally(counts: Counts, edges: Counts) -> Floats:
    """Return (evaluations, blocks): over the numbers i of a block, how many groups have a count above i, summed."""
    inside = np.clip(counts[:, :, None] - edges[:-1], 0, np.diff(edges))
    return np.asarray(inside.sum(axis=1), dtype=np.float64)


def _posterior(right: Floats, wrong: Floats, all_: Floats, edges: Counts) -> list[float]:
    """Return _QUANTILES of the accuracy; a first look at a wide grid says where to look closely."""
    middle = (edges[:-1] + edges[1:] - 1) / 2
    logits, roots = np.linspace(-_FURTHEST_LOGIT, _FURTHEST_LOGIT, 141), _midpoints(0.0, 1.0)
    density = _density(right, wrong, all_, middle, logits, roots)
    logits = np.linspace(*_support(logits, density.max(axis=1)), _ACCURACIES)
    roots = _midpoints(*_support(roots, density[:, 1:].max(axis=0), most=1.0))
    over_accuracy = _density(right, wrong, all_, middle, logits, roots).sum(axis=1)
    steps = np.concatenate([[0.0], np.cumsum((over_accuracy[1:] + over_accuracy[:-1]) / 2)])
    return [float(1 / (1 + np.exp(-logit))) for logit in np.interp(_QUANTILES, steps / steps[-1], logits)]


def _density(right: Floats, wrong: Floats, all_: Floats, i: Floats, logits: Floats, roots: Floats) -> Floats:
    """Return the posterior (logits, 1 + roots) up to a factor, that of r = 0 first.

    The roots, evenly spaced, are those of r, so that small r are seen well.

    A group of n with k right has the likelihood Π(i < k) (m (1 - r) + i r) · Π(i < n - k) ((1 - m)(1 - r) + i r)
    / Π(i < n) (1 - r + i r), which needs no gamma function and holds at r = 0 too.
    """
    # What each r stands for: dr = 2 √r d√r.
    weights = np.concatenate([[_INDEPENDENT], (1 - _INDEPENDENT) * 2 * roots * (roots[1] - roots[0])])
    r, mean = np.concatenate([[0.0], roots**2]), 1 / (1 + np.exp(-logits))
    # 1 - mean, written so that it keeps its digits near 1.
    rest = 1 / (1 + np.exp(logits))
    steps = i[:, None, None] * r
    log = np.tensordot(right, np.log(mean[:, None] * (1 - r) + steps), 1)
    log += np.tensordot(wrong, np.log(rest[:, None] * (1 - r) + steps), 1)
    log -= np.tensordot(all_, np.log(1 - r + i[:, None] * r), 1)
    # Jeffreys' prior of m, written for its logit.
    log += (np.log(mean * rest) / 2)[:, None] + np.log(weights)
    return np.asarray(np.exp(log - log.max()))


def _support(points: Floats, density: Floats, *, most: float = _FURTHEST_LOGIT) -> Interval:
    """Return the range of the evenly spaced points whose density counts, one step wider on both sides."""
    kept = np.flatnonzero(density > _NEGLIGIBLE * density.max())
    step = points[1] - points[0]
    least = 0.0 if most == 1.0 else -most
    return max(least, points[kept[0]] - step), min(most, points[kept[-1]] + step)


def _midpoints(low: float, high: float) -> Floats:
    return np.asarray(low + (high - low) * (np.arange(_LIKENESSES) + 0.5) / _LIKENESSES)
