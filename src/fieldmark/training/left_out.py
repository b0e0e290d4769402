"""Left out: learning again and again, each time without some of the groups, and what is then answered for them.

Only such answers tell how sure a classifier may be, and what more images would bring: for its own training images it
is right anyway. Nothing of validation is touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
# (inside, outside, number): what is learnt from the rows inside answers for those outside, as logits float32
# (rows outside, outputs); one output is that of class 1 of two. The number counts the calls.
Learn = Callable[[Rows, Rows, int], Floats]


@dataclasses.dataclass(frozen=True, eq=False)
class LeftOut:
    """Answers for images of groups that were left out of learning, once for each part of the others."""

    folds: int
    images: tuple[float, ...]  # learnt from in each part, the mean over the folds
    logits: Floats  # (parts, n, outputs); NaN for images that were never left out

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which images were left out (n,)."""
        return np.asarray(np.isfinite(self.logits).all(axis=(0, 2)))


def fold_count(labels: npt.NDArray[np.int32], groups: Sequence[str], most: int) -> int:
    """How many folds can be made of whole groups so that each may hold every class: at most so many, 1 for none."""
    names = np.asarray(groups)
    return min(most, *(len(np.unique(names[labels == label])) for label in np.unique(labels)))


def leave_out(
    labels: npt.NDArray[np.int32],
    groups: Sequence[str],
    learn: Learn,
    *,
    folds: int,
    parts: Sequence[float],
    seed: int,
) -> LeftOut:
    """Learn from all folds but one, for each fold and each part (a share of each class's groups, drawn anew).

    `folds` is at least 2, see `fold_count`. Deterministic for one seed, as far as `learn` is.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names, random, number = np.asarray(groups), np.random.default_rng(seed), 0
    counts: list[list[int]] = [[] for _ in parts]
    found: list[tuple[int, Rows, Floats]] = []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    for inside, outside in splitter.split(labels, labels, names):
        if len(np.unique(labels[inside])) < len(np.unique(labels)):
            continue  # a fold that took all of a class away has nothing to say
        for part, share in enumerate(parts):
            rows = part_of(inside, labels, names, share, random)
            counts[part].append(len(rows))
            found.append((part, outside, learn(rows, outside, number)))
            number += 1
    outputs = found[0][2].shape[1] if found else 1
    logits = np.full((len(parts), len(labels), outputs), np.nan, np.float32)
    for part, outside, own in found:
        logits[part, outside] = own
    return LeftOut(folds, tuple(float(np.mean(each)) if each else 0.0 for each in counts), logits)


def part_of(
    rows: Rows,
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.str_],
    share: float,
    random: np.random.Generator,
) -> Rows:
    """Draw whole groups of each class, that share of them but at least one."""
    kept = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        names = np.unique(groups[own])
        chosen = random.permutation(names)[: max(1, round(share * len(names)))]
        kept.append(own[np.isin(groups[own], chosen)])
    return np.sort(np.concatenate(kept))
