"""Judging: how well images of groups that a check had not seen were answered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.intervals import accuracy_interval


def balanced_accuracy(
    correct: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer], groups: Sequence[str]
) -> tuple[float, float, float]:
    """The mean recall of the classes and its 95 % interval over groups, put together from theirs (Zou & Donner 2008).

    >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 0, 1]), ["a", "b", "c", "d"])[0]
    0.5
    """
    recalls, lower, upper = [], 0.0, 0.0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        recall = float(correct[rows].mean())
        low, high, _ = accuracy_interval(correct[rows], [groups[row] for row in rows.tolist()])
        recalls.append(recall)
        lower += (recall - low) ** 2
        upper += (high - recall) ** 2
    mean = sum(recalls) / len(recalls)
    return mean, mean - math.sqrt(lower) / len(recalls), mean + math.sqrt(upper) / len(recalls)
