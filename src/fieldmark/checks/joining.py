"""Joining: which near-duplicates a split keeps together, so that copies never chain a whole class into one group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Copy
from fieldmark.images.audit import given_classes
from fieldmark.images.dataset import Dataset
from fieldmark.images.groups import Groups, join_groups, root_of

Labels = npt.NDArray[np.integer]

# Chosen on the training splits of three datasets with planted copies (docs/decisions/0013-copies-in-groups.md).
SURE = 0.95  # likeness from which a pair joins any two groups
FEW = 2  # pictures: below SURE a pair joins a group of at most so many to another, and never two large ones
HARMLESS = 10  # pictures: a group of at most so many may hold most of a class, which then is a small one


def join_copies(
    groups: Groups,
    hashes: Sequence[str],
    labels: Labels,
    copies: Sequence[Copy],
    classes: Sequence[str],
) -> tuple[Groups, list[str]]:
    """Return the groups with near-duplicates joined, and sentences on what was left apart.

    All describe the same n images; `labels` below 0 are of images that no split is made of, and `copies` are rows of
    the others. The likest pairs are joined first. A class that could no longer stand on both sides of a split keeps its
    less sure pairs apart, or else all of them. What is left apart can be found as a leak. Neither the order of images
    nor that of pairs matters.
    """
    ranked = sorted(copies, key=lambda copy: (-copy.likeness, *sorted((hashes[copy.i], hashes[copy.j]))))
    least = np.zeros(len(classes))  # likeness that a pair of images of each class needs to join
    while True:
        allowed = [copy for copy in ranked if copy.likeness >= least[labels[[copy.i, copy.j]]].max(initial=0)]
        joined = join_groups(groups, _safe(groups, labels, allowed))
        chained = [label for label in _chained(groups.names, joined.names, labels) if least[label] <= 1]
        if not chained:
            return joined, _left_apart(joined.names, labels, ranked, classes, least)
        least[chained] = np.where(least[chained] == 0, SURE, 2)


def join_within(
    dataset: Dataset, groups: Groups, copies: Sequence[Copy], inside: npt.NDArray[np.bool_]
) -> tuple[Groups, list[str]]:
    """`join_copies` among those images of a dataset that `inside` (n,) marks, by the classes of their folders.

    So a corrected label moves no image to the other side, unless a corrected class could not be split then.
    """
    pairs = [copy for copy in copies if inside[copy.i] and inside[copy.j]]
    names, given = np.unique(given_classes(dataset), return_inverse=True)
    joined = join_copies(groups, dataset.hashes, np.where(inside, given, -1), pairs, names.tolist())
    labels = np.where(inside, dataset.labels, -1)
    if _chained(groups.names, joined[0].names, labels):
        return join_copies(groups, dataset.hashes, labels, pairs, dataset.classes)
    return joined


def joined_groups(context: Context) -> Sequence[str]:
    """The group of each image (n,), with the near-duplicates of those that are trained on joined as for a split."""
    dataset = context.dataset
    if context.joined or not context.copies:
        return dataset.groups
    inside = np.isin(np.arange(len(dataset)), context.training())
    return join_within(dataset, context.audit.groups, context.copies, inside)[0].names


def _left_apart(
    names: Sequence[str],
    labels: Labels,
    ranked: Sequence[Copy],
    classes: Sequence[str],
    least: npt.NDArray[np.float64],
) -> list[str]:
    """A sentence on each class of which a pair was withheld, and is not joined by way of others."""
    apart = [copy for copy in ranked if names[copy.i] != names[copy.j]]
    withheld = {label for copy in apart for label in labels[[copy.i, copy.j]].tolist() if copy.likeness < least[label]}
    return [
        f"with all its near-duplicates joined {classes[label]} could not stand on both sides of the split, so that "
        f"{'only the likest' if least[label] <= 1 else 'none'} of them are kept on one side: validation may show what "
        "training shows"
        for label in sorted(withheld)
    ]


class _Part(NamedTuple):
    """What a group holds."""

    pictures: int  # the frames of a sequence are so many; copies of one picture are one
    images: Counter[int]  # of each class


def _safe(groups: Groups, labels: Labels, ranked: Sequence[Copy]) -> list[tuple[int, int]]:
    # Pairs of rows, the likest first, without those below SURE that would make too large a group.
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups.names))}
    of_group: list[Counter[int]] = [Counter() for _ in numbers]
    for name, label in zip(groups.names, labels.tolist(), strict=True):
        if label >= 0:
            of_group[numbers[name]][label] += 1
    frames = Counter(name for name, said in zip(groups.names, groups.by_name, strict=True) if said is not None)
    parts = [_Part(max(1, frames[name]), of_group[number]) for name, number in numbers.items()]
    total = sum(of_group, Counter[int]())
    parents = list(range(len(numbers)))
    pairs = []
    for copy in ranked:
        one, other = (root_of(parents, numbers[groups.names[row]]) for row in (copy.i, copy.j))
        if one == other or (copy.likeness < SURE and _too_large(parts[one], parts[other], total)):
            continue
        parents[other] = one
        parts[one] = _Part(parts[one].pictures + parts[other].pictures, parts[one].images + parts[other].images)
        pairs.append((copy.i, copy.j))
    return pairs


def _too_large(one: _Part, other: _Part, total: Counter[int]) -> bool:
    """Whether both are large, or their union has most of a class that neither of them had most of."""
    if min(one.pictures, other.pictures) > FEW:
        return True
    most = [label for label in one.images | other.images if 2 * (one.images + other.images)[label] > total[label]]
    news = [label for label in most if 2 * max(one.images[label], other.images[label]) <= total[label]]
    return bool(news) and one.pictures + other.pictures > HARMLESS


def _chained(before: Sequence[str], after: Sequence[str], labels: Labels) -> list[int]:
    """Classes that could stand on both sides of a split and no longer can."""
    were, are = (_counts(names, labels) for names in (before, after))
    return [
        label
        for label in were
        if were[label][0] >= 2 > are[label][0]
        or (_splits(*were[label], len(were)) and not _splits(*are[label], len(were)))
    ]


def _splits(groups: int, own: int, classes: int) -> bool:
    # Of the groups that a class shares each other class can hold one where it is, being all that it has on that side;
    # so of as many as there are classes one is free (`fieldmark.images.split`).
    return groups >= 2 and (own >= 1 or groups >= classes)


def _counts(names: Sequence[str], labels: Labels) -> dict[int, tuple[int, int]]:
    """Of each class, how many groups it is in, and in how many of these no other class is."""
    classes: dict[str, set[int]] = defaultdict(set)
    for name, label in zip(names, labels.tolist(), strict=True):
        if label >= 0:
            classes[name].add(label)
    inside = Counter(label for found in classes.values() for label in found)
    own = Counter(min(found) for found in classes.values() if len(found) == 1)
    return {label: (count, own[label]) for label, count in inside.items()}
