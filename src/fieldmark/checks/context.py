"""Context: what a check may look at, and what all of them share: which images to judge, and folds of whole groups."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fieldmark.images.audit import Audit
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Copy:
    """Two images, rows i < j of the dataset, that show one picture."""

    i: int
    j: int
    likeness: float  # 0-1: how well the details agree where one lies over the other
    similarity: float  # -1 to 1: cosine of the embeddings


@dataclasses.dataclass(frozen=True)
class Context:
    """A dataset that was read and audited, its embeddings (n, d) and near-duplicates where they are to be had."""

    images: Images
    audit: Audit
    embeddings: Floats | None = None
    copies: tuple[Copy, ...] | None = None
    joined: bool = False  # whether the dataset's groups hold these copies already, as where a split is made by them

    @property
    def dataset(self) -> Dataset:
        """The audited dataset, with its groups."""
        return self.audit.dataset

    def training(self) -> Rows:
        """The rows that a classifier would learn from: the training split, or all where there are no splits."""
        rows = self.dataset.rows("train")
        return rows if len(rows) else np.arange(len(self.dataset))


def deal_folds(groups: Sequence[str], labels: npt.NDArray[np.integer], count: int = FOLDS) -> Rows:
    """Return a fold 0..count-1 for each image (n,): whole groups, each class's groups dealt out evenly.

    A group belongs to the class that most of its images have. The order of images does not matter.

    >>> deal_folds(["a", "a", "b", "c"], np.array([0, 0, 0, 1]), 2).tolist()
    [1, 1, 0, 0]
    """
    votes: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(groups, labels.tolist(), strict=True):
        votes[group][label] += 1
    classes: dict[int, list[str]] = defaultdict(list)
    for group, counts in votes.items():
        classes[min(counts, key=lambda label: (-counts[label], label))].append(group)
    folds: dict[str, int] = {}
    dealt = 0
    for label in sorted(classes):
        for group in sorted(classes[label], key=lambda name: hashlib.sha256(name.encode("utf-8", "replace")).digest()):
            folds[group] = dealt % count
            dealt += 1
    return np.array([folds[group] for group in groups], dtype=np.int64)


def groups_of_classes(groups: Sequence[str], labels: npt.NDArray[np.integer], classes: int) -> npt.NDArray[np.int64]:
    """How many groups each class has images in, (classes,)."""
    pairs = set(zip(groups, labels.tolist(), strict=True))
    return np.bincount(np.array([label for _, label in pairs], dtype=np.int64), minlength=classes)
