"""Left out: learning again and again, each time without some of the groups, and what is then answered for them.

Only such answers tell how sure a classifier may be, and what more images would bring: for its own training images it
is right anyway. Nothing of validation is touched.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
# (inside, outside, number): what is learnt from the rows inside answers for those outside, as logits float32
# (rows outside, outputs); one output is that of class 1 of two. The number counts the calls.
Learn = Callable[[Rows, Rows, int], Floats]


# Why `make_folds` gives none.
TOO_FEW_GROUPS = "fewer than two classes have images of two groups"

Fold = tuple[Rows, Rows]  # (inside, outside), rising row numbers


@dataclasses.dataclass(frozen=True, eq=False)
class LeftOut:
    """Answers for images of groups that were left out of learning, once for each part of the others."""

    images: tuple[float, ...]  # learnt from in each part, the mean over the folds
    logits: Floats  # (parts, n, outputs); NaN for images that were never left out

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which images were left out (n,)."""
        return np.asarray(np.isfinite(self.logits).all(axis=(0, 2)))


def make_folds(labels: npt.NDArray[np.int32], groups: Sequence[str], most: int, *, seed: int) -> list[Fold]:
    """Return at most so many folds of whole groups, each with every class inside, or none.

    A fold that would take all of a class away gives one of its groups back. So the image or the group that is all there
    is of a class stays inside of every fold, and only what is left of the others is judged. None where fewer than two
    classes would be: of one class alone, whatever answers nothing else is best.

    >>> folds = make_folds(np.array([0, 0, 1, 1, 2], np.int32), ["a", "b", "c", "d", "e"], 5, seed=0)
    >>> len(folds), sorted(row for _, outside in folds for row in outside.tolist())
    (2, [0, 1, 2, 3])
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = np.asarray(groups)
    count = min(most, max(len(np.unique(names[labels == label])) for label in np.unique(labels)))
    if count < 2:
        return []
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # scikit-learn warns of classes with fewer images than folds; here they are known to be judged in few.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        drawn = [_with_every_class(outside, labels, names) for _, outside in splitter.split(labels, labels, names)]
    folds = [fold for fold in drawn if len(fold[1])]
    judged = {int(label) for _, outside in folds for label in np.unique(labels[outside])}
    return folds if len(judged) > 1 else []


def _with_every_class(outside: Rows, labels: npt.NDArray[np.int32], names: npt.NDArray[np.str_]) -> Fold:
    """The fold of these rows outside, less one group of each class that would have none inside."""
    out = np.zeros(len(labels), dtype=bool)
    out[outside] = True
    for label in np.setdiff1d(labels[out], labels[~out]):
        if out[labels == label].all():  # not yet brought back with a group that it shares
            out[names == min(names[labels == label].tolist())] = False
    return np.flatnonzero(~out), np.flatnonzero(out)


def leave_out(
    labels: npt.NDArray[np.int32],
    groups: Sequence[str],
    learn: Learn,
    *,
    folds: Sequence[Fold],
    parts: Sequence[float],
    seed: int,
) -> LeftOut:
    """Learn from all folds but one, for each fold and each part (a share of each class's groups, drawn anew).

    `folds` are those of `make_folds`. Deterministic for one seed, as far as `learn` is.
    """
    names, random, number = np.asarray(groups), np.random.default_rng(seed), 0
    counts: list[list[int]] = [[] for _ in parts]
    found: list[tuple[int, Rows, Floats]] = []
    for inside, outside in folds:
        for part, share in enumerate(parts):
            rows = part_of(inside, labels, names, share, random)
            counts[part].append(len(rows))
            found.append((part, outside, learn(rows, outside, number)))
            number += 1
    outputs = found[0][2].shape[1] if found else 1
    logits = np.full((len(parts), len(labels), outputs), np.nan, np.float32)
    for part, outside, own in found:
        logits[part, outside] = own
    return LeftOut(tuple(float(np.mean(each)) if each else 0.0 for each in counts), logits)


def part_of(
    rows: Rows,
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.str_],
    share: float,
    random: np.random.Generator,
    *,
    least: int = 1,
) -> Rows:
    """Draw whole groups of each class, that share of them but at least so many, or all that there are."""
    kept = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        names = np.unique(groups[own])
        chosen = random.permutation(names)[: max(least, round(share * len(names)))]
        kept.append(own[np.isin(groups[own], chosen)])
    return np.sort(np.concatenate(kept))
