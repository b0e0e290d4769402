"""Effective n: intervals of shares of which no plain count of images is the whole, 95 %, over groups.

Precision is the share of the images that the answers pick: how many of them a group has depends on its class, so that
groups of other classes, with one wrong answer each, are not groups that are always wrong. F1 and the areas under
curves are shares of such a kind, too. Their variance is that of a linearised ratio over groups (Taylor), and says how
many independent images would vary as much: the effective n, of which Wilson's interval is taken (Korn & Graubard
1998, Survey Methodology 24:193; Kish 1965). What was tried stands in docs/decisions/0007-intervals-over-groups.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.intervals import Correct, Interval, Share, Z, share_of, student, wilson

Numbers = npt.NDArray[np.integer]

# Few groups that tell (with a mistake) know badly how much images of a group are alike: half a group more is imagined
# that says they stand or fall as a whole. None gave coverage from .87 on, a quarter .92, a half .93 (decision 7).
IMAGINED_GROUPS = 0.5


def ratio_of(hits: Correct, among: Correct, numbers: Numbers) -> Share | None:
    """Return the share of `hits` (n,) among the images picked by `among` (n,), with its interval over groups.

    `numbers` (n,) are those of the images' groups, as `group_numbers` gives them.

    Precision is the share of right answers among the answers of a class. None where no image is picked. Where every
    image is its own group: Wilson's interval; where all picked are of one group: that of `share_of`.

    >>> answered = np.array([True, True, True, False] * 5)
    >>> right = answered & (np.arange(20) > 1)
    >>> precision = ratio_of(right, answered, np.arange(20) // 4)
    >>> round(precision.value, 2), round(precision.low, 2), round(precision.high, 2)
    (0.87, 0.33, 0.99)
    """
    picked = np.flatnonzero(among)
    if not len(picked):
        return None
    sizes = np.bincount(numbers[picked]).astype(np.float64)
    count, answering = int(numbers.max()) + 1, int((sizes > 0).sum())
    if count == len(numbers) or answering == 1:
        return share_of(hits[picked], [str(number) for number in numbers[picked].tolist()])
    right = np.bincount(numbers[np.flatnonzero(hits & among)], minlength=len(sizes))
    share = float(right.sum() / sizes.sum())
    variance = count / (count - 1) * float(((right - share * sizes) ** 2).sum()) / len(picked) ** 2
    telling = int((right < sizes).sum()) if share >= 0.5 else int((right > 0).sum())
    whole = standing_whole(numbers[picked])
    low, high = effective_interval(
        share, variance, images=len(picked), whole=whole, telling=telling, freedom=answering - 1
    )
    return Share(share, low, high)


def effective_interval(
    share: float, variance: float, *, images: float, whole: float, telling: int, freedom: float, each: int = 1
) -> Interval:
    """Return Wilson's interval (0 to 1) of a share with the n that its variance stands for.

    n is at most `each` times the number of images (an area under a curve varies less than a share of as many images)
    and, the fewer groups were `telling`, the nearer to `each` times `whole`: how many images would tell as much, if
    each group stood or fell as a whole. Of the share 0 or 1, n is `whole`. Student's t with `freedom` is in it.

    >>> low, high = effective_interval(0.9, 0.003, images=120, whole=12, telling=8, freedom=11)
    >>> round(low, 3), round(high, 3)
    (0.71, 0.971)
    """
    if share in (0, 1):
        return wilson(share * whole, whole)
    design = max(1.0, variance * each * images / (share * (1 - share)))
    imagined = IMAGINED_GROUPS / (IMAGINED_GROUPS + telling)
    design = (1 - imagined) * design + imagined * max(design, images / whole)
    n = each * images / design * (Z / student(max(1, round(freedom)))) ** 2
    return wilson(share * n, n)


def standing_whole(numbers: Numbers) -> float:
    """Return how many images tell as much as these, with the numbers of their groups, if groups stood or fell whole.

    Kish's effective number of groups: (sum of sizes)² / sum of squared sizes.

    >>> standing_whole(np.array([0, 0, 1, 1])), standing_whole(np.array([0, 0, 0, 1]))
    (2.0, 1.6)
    """
    sizes = np.bincount(numbers).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def group_numbers(groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the number (n,) of each image's group, from 0 on."""
    return np.asarray(np.unique(np.asarray(groups), return_inverse=True)[1].ravel(), dtype=np.int64)
