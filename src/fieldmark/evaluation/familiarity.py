"""Familiarity: how much an image is like the training images, so that what is like none of them is told.

An image's similarity to a class is the cosine between its embedding and the 5th nearest of the class's training
images or, for networks trained from scratch, what `fieldmark.evaluation.mahalanobis` makes of its first layers; its
similarity to the training set is that to the nearest class. The familiarity, from 0 to 1, is the share of training
images that are less similar to those of other groups than this image is. What it takes goes into the exported graph
(`fieldmark.training.familiarity_graph`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.mahalanobis import Mahalanobis, fit_mahalanobis, held_out_similarity

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]
Rows = npt.NDArray[np.int64]

# Less familiar than 99 of 100 training images: unlike anything in the training set.
UNFAMILIAR_BELOW = 0.01
NEIGHBOURS = 5
# What the bank may add to a file: as many rows, and as many bytes at two a number.
MOST_ROWS, MOST_BYTES = 4096, 8 * 2**20
# Images that a distribution of channel statistics is fitted to: a quarter of a gigabyte for 512 statistics.
MOST_FITTED = 20_000
# Levels of the table between similarity and familiarity; dense where the threshold lies.
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# Rows compared with the bank at a time.
_CHUNK = 512
_SHORTEST = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Bank:
    """The embeddings of the training images that a classifier file remembers."""

    rows: npt.NDArray[np.float16]  # (rows, d), each of length 1, those of one class together
    counts: tuple[int, ...]  # how many rows each class has, in the order of the classes; 0 for none

    def similarities(self, embeddings: Floats) -> Floats:
        """Cosines float32 (n, classes) of embeddings (n, d) to the 5th nearest of each class, -1 to 1."""
        return class_similarities(embeddings, self.rows, self.counts)


@dataclasses.dataclass(frozen=True)
class Table:
    """From the similarity to the nearest class, at most 1, to the familiarity."""

    similarities: tuple[float, ...]  # rising; between them the familiarity is a straight line
    levels: tuple[float, ...]  # the familiarity at each, 0 to 1

    def of(self, similarities: Floats) -> Floats:
        """Familiarity (n,), 0 to 1, of images with similarities (n, classes): what the exported file answers."""
        return np.asarray(np.interp(similarities.max(axis=1), self.similarities, self.levels), dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Familiarity:
    """What it takes to tell the familiarity of an image: whom to compare it with, and what the similarity means."""

    bank: Bank | None  # None: the network has no embedding
    channels: Mahalanobis | None  # None: images are compared by the bank
    table: Table
    note: str  # how it was found, for people

    def to_json(self) -> dict[str, Any]:
        """What the metadata of the classifier says of it."""
        return {
            "compares": "channels" if self.channels else "embeddings",
            "rows": len(self.bank.rows) if self.bank else 0,
            "neighbours": NEIGHBOURS,
            "unfamiliar_below": UNFAMILIAR_BELOW,
            "similarities": list(self.table.similarities),
            "levels": list(self.table.levels),
        }


def fit_familiarity(embeddings: Floats, labels: Labels, groups: Sequence[str], *, classes: int) -> Familiarity | None:
    """Return the bank and table for the training images' embeddings (n, d); None where each class has one image.

    The table comes from images compared with other groups only. Its tail is known no better than there are groups: of
    new images, up to 1 in groups + 1 may be under the threshold rather than 1 in 100. Where no class has two groups,
    fifths of each, in the order given, stand in for groups, and the note says so. Deterministic.
    """
    numbers, held_out, of = _judged_by(labels, groups)
    if not len(held_out):
        return None
    rows = _bank_rows(labels, numbers, embeddings.shape[1])
    bank = _bank(embeddings, labels, rows, classes)
    held_out = held_out[choose_rows(labels[held_out], numbers[held_out], MOST_ROWS)]
    similarity = class_similarities(
        embeddings[held_out], bank.rows, bank.counts, own=numbers[held_out], groups=numbers[rows]
    ).max(axis=1)
    note = (
        f"unfamiliar is what is less like the training images than 99 of 100 of these are like those of {of}, by the "
        f"cosine to the {NEIGHBOURS}th nearest of a class among {len(bank.rows):,} embeddings"
    )
    return Familiarity(bank, None, _table(similarity.astype(np.float64)), note)


def fit_channel_familiarity(
    statistics: Floats, embeddings: Floats | None, labels: Labels, groups: Sequence[str], *, classes: int
) -> Familiarity | None:
    """As `fit_familiarity`, from the channel statistics (n, d) of a network that was trained from scratch.

    The embeddings (n, e), where the network has any, are remembered for those who ask which images are most alike.
    """
    numbers, held_out, of = _judged_by(labels, groups)
    chosen = choose_rows(labels, numbers, MOST_FITTED)
    similarity = held_out_similarity(
        statistics[chosen],
        labels[chosen],
        numbers[chosen],
        np.flatnonzero(np.isin(chosen, held_out)),
        classes=classes,
    )
    if not len(similarity):
        return None
    bank = None
    if embeddings is not None:
        bank = _bank(embeddings, labels, _bank_rows(labels, numbers, embeddings.shape[1]), classes)
    note = (
        f"unfamiliar is what is less like the training images than 99 of 100 of these are like those of {of}, by the "
        f"distance of {statistics.shape[1]} statistics of the first layers' channels to the nearest class "
        "(Mahalanobis): colours, edges and textures, not what is shown"
    )
    fitted = fit_mahalanobis(statistics[chosen], labels[chosen], classes=classes)
    # Twice as far is as much less familiar wherever it begins, so the table is made on a logarithmic scale.
    on_logarithm = _table(np.log(similarity.astype(np.float64)), most=0.0)
    table = Table(tuple(np.exp(on_logarithm.similarities).tolist()), on_logarithm.levels)
    return Familiarity(bank, fitted, table, note)


def bank_rows(labels: Labels, groups: Sequence[str], width: int) -> Rows:
    """Return which training images' embeddings (n, width) a bank holds, in the order of its rows.

    >>> bank_rows(np.array([1, 0, 1]), ["a", "b", "c"], width=2).tolist()
    [1, 0, 2]
    """
    return _bank_rows(labels, _judged_by(labels, groups)[0], width)


def class_similarities(
    embeddings: Floats,
    bank: npt.NDArray[np.float16],
    counts: Sequence[int],
    *,
    own: Rows | None = None,
    groups: Rows | None = None,
) -> Floats:
    """Return cosines float32 (n, classes) of embeddings (n, d) to the 5th nearest row of each class, -1 to 1.

    Of a class with fewer rows the furthest counts, and a class without is at -1. With `own` (n,) and `groups`
    (rows,), rows of an image's own group are left out.
    """
    edges = np.cumsum([0, *counts])
    wide = bank.astype(np.float32)
    parts = []
    for start in range(0, len(embeddings), _CHUNK):
        cosines = unit(embeddings[start : start + _CHUNK]) @ wide.T
        if own is not None and groups is not None:
            cosines[own[start : start + _CHUNK, None] == groups] = -1
        parts.append(np.stack([_kth(cosines[:, a:b]) for a, b in itertools.pairwise(edges)], axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, len(counts)), np.float32)


def choose_rows(labels: Labels, groups: Rows, limit: int) -> Rows:
    """Return at most `limit` rows, rising: as many of each class as can be, of its groups likewise, evenly spread.

    >>> choose_rows(np.array([0] * 8 + [1] * 2), np.array([0] * 6 + [1, 2] + [3, 3]), 6).tolist()
    [0, 5, 6, 7, 8, 9]
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    chosen = []
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for rows, quota in zip(members, _quotas([len(rows) for rows in members], limit), strict=True):
        order = rows[np.argsort(groups[rows], kind="stable")]
        together = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
        for group, count in zip(together, _quotas([len(group) for group in together], quota), strict=True):
            chosen.append(group[np.linspace(0, len(group) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def unit(embeddings: Floats) -> Floats:
    """Return embeddings (n, d) at length 1; those of length 0 stay."""
    length = np.sqrt((embeddings.astype(np.float32) ** 2).sum(axis=1, keepdims=True))
    return np.asarray(embeddings / np.maximum(length, _SHORTEST), dtype=np.float32)


def _judged_by(labels: Labels, groups: Sequence[str]) -> tuple[Rows, Rows, str]:
    """The number of each image's group, the rows that others can judge, and by what, in words."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    held_out, of = _held_out(labels, numbers), "other groups"
    if not len(held_out):
        numbers = _fifths(labels, numbers)
        held_out, of = _held_out(labels, numbers), "other parts of their group (no class has two groups)"
    return numbers, held_out, of


def _bank(embeddings: Floats, labels: Labels, rows: Rows, classes: int) -> Bank:
    counts = tuple(np.bincount(labels[rows], minlength=classes).tolist())
    return Bank(unit(embeddings[rows]).astype(np.float16), counts)


def _bank_rows(labels: Labels, numbers: Rows, width: int) -> Rows:
    rows = choose_rows(labels, numbers, min(MOST_ROWS, MOST_BYTES // (2 * width)))
    return np.asarray(rows[np.argsort(labels[rows], kind="stable")])


def _quotas(sizes: Sequence[int], limit: int) -> list[int]:
    """Share `limit` out as evenly as the sizes allow; what is left over goes to the first."""
    quotas, left = [0] * len(sizes), limit
    open_ = [number for number, size in enumerate(sizes) if size]
    while open_ and left:
        step = max(1, left // len(open_))
        for number in open_:
            given = min(step, sizes[number] - quotas[number], left)
            quotas[number] += given
            left -= given
        open_ = [number for number in open_ if quotas[number] < sizes[number]]
    return quotas


def _held_out(labels: Labels, groups: Rows) -> Rows:
    """Return the rows whose class has images of another group too."""
    pairs = np.unique(np.stack([labels, groups], axis=1), axis=0)
    several = np.bincount(pairs[:, 0]) > 1
    return np.flatnonzero(several[labels])


def _fifths(labels: Labels, groups: Rows) -> Rows:
    """Cut each group of a class into five runs of rows; of fewer than ten rows, into single ones."""
    parts = np.empty_like(groups)
    for number, pair in enumerate(np.unique(np.stack([labels, groups], axis=1), axis=0)):
        rows = np.flatnonzero((labels == pair[0]) & (groups == pair[1]))
        size = len(rows)
        parts[rows] = 10 * number + (np.arange(size) * 5 // size if size >= 10 else np.arange(size))
    return parts


def _kth(cosines: Floats) -> Floats:
    rows = cosines.shape[1]
    if not rows:
        return np.full(len(cosines), -1, np.float32)
    place = max(0, rows - NEIGHBOURS)
    return np.asarray(np.partition(cosines, place, axis=1)[:, place])


def _table(similarity: npt.NDArray[np.float64], most: float = 1.0) -> Table:
    """Return rising similarities, up to the most there can be, and the share of held-out images below each.

    Of n images the least similar stands at 1 / (n + 1): the next image is below it that often. With fewer than 99 the
    threshold of 1 % is therefore below all of them; the line to 0 ends as far below the least as the lower quartile
    is above it.
    """
    ordered = np.sort(similarity)
    ranks = np.arange(1, len(ordered) + 1) / (len(ordered) + 1)
    levels = np.unique([ranks[0], *(level for level in LEVELS if ranks[0] < level < ranks[-1]), ranks[-1]])
    points = np.interp(levels, ranks, ordered)
    end = points[0] - max(np.quantile(ordered, 0.25) - points[0], 1e-3)
    points, levels = np.concatenate([[end], points, [most]]), np.concatenate([[0.0], levels, [1.0]])
    # Alike images stand at the same similarity: a step is drawn as a very steep line, which a graph can divide by. The
    # most there can be stays: where all images are there, they are familiar.
    return Table(tuple((points - 1e-6 * np.arange(len(points))[::-1]).tolist()), tuple(levels.tolist()))
