"""Mahalanobis: how usual an image's channel statistics are, which tells unfamiliar images to a network from scratch.

A network that learnt from a few hundred images knows what tells its classes apart and little else: to its embedding a
leaf may well be a horse. Its first layers see more, namely which colours, edges and textures there are, and how much
of each. So the mean and the deviation of every channel of these layers (Huang and Belongie 2017, arXiv:1703.06868,
call them the style) are compared with the training images' by the distance to the nearest class in units of the
spread within classes (Lee et al. 2018, arXiv:1807.03888). Measured against the embedding: docs/log.md, 2026-11-23.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]
Rows = npt.NDArray[np.int64]

# Where the images of other groups are judged: groups are left out by tenths, not one by one.
FOLDS = 10
# Of the usual deviation: how far a statistic that never varies in training may be off without being unlike anything.
_LEAST_DEVIATION = 0.1
# Of the variance of a statistic: the least along any direction, where classes hold copies of one image.
_LEAST_VARIANCE = 1e-4
_NOWHERE = 1e6  # the centre of a class without images


@dataclasses.dataclass(frozen=True, eq=False)
class Mahalanobis:
    """One normal distribution a class, of one shape; centres are in the space where that shape is a ball."""

    mean: Floats  # (d,)
    weights: Floats  # (d, d): (statistics - mean) @ weights varies by 1 in every direction within classes
    centres: Floats  # (classes, d)

    def similarities(self, statistics: Floats) -> Floats:
        """Similarities float32 (n, classes) of statistics (n, d): 1 / distance, or 1 at a distance below 1."""
        places = (statistics - self.mean) @ self.weights
        distances = np.stack([np.sqrt(((places - centre) ** 2).sum(axis=1)) for centre in self.centres], axis=1)
        return np.asarray(1 / np.maximum(distances, 1), dtype=np.float32)


def fit_mahalanobis(statistics: Floats, labels: Labels, *, classes: int) -> Mahalanobis:
    """Fit it to statistics (n, d); the covariance is shrunk (Ledoit and Wolf 2004, 10.1016/S0047-259X(03)00096-4)."""
    from sklearn.covariance import ledoit_wolf  # a second to import, which predicting does not need

    wide = statistics.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    floor = max(_LEAST_DEVIATION * float(np.sqrt((deviation**2).mean())), float(np.finfo(np.float32).eps))
    deviation = np.sqrt(deviation**2 + floor**2)
    standard = (wide - mean) / deviation
    counts = np.bincount(labels, minlength=classes)
    centres = np.stack([standard[labels == label].sum(axis=0) for label in range(classes)])
    centres /= np.maximum(counts, 1)[:, None]
    covariance, _ = ledoit_wolf(standard - centres[labels], assume_centered=True)
    variances, directions = np.linalg.eigh(covariance)
    whiten = directions / np.sqrt(np.maximum(variances, _LEAST_VARIANCE))
    placed = np.where(counts[:, None] > 0, centres @ whiten, _NOWHERE)
    weights = whiten / deviation[:, None]
    return Mahalanobis(mean.astype(np.float32), weights.astype(np.float32), placed.astype(np.float32))


def held_out_similarity(statistics: Floats, labels: Labels, groups: Rows, judged: Rows, *, classes: int) -> Floats:
    """The similarity (m,) of the judged rows to the nearest class, each judged by groups (n,) other than its own.

    A row whose whole class is left out with its group is skipped, so m may be less than the rows asked for.
    """
    folds = _folds(labels, groups)
    parts = [np.zeros(0, np.float32)]
    for fold in np.unique(folds[judged]):
        rest = folds != fold
        rows = judged[folds[judged] == fold]
        rows = rows[np.isin(labels[rows], labels[rest])]
        if len(rows):
            fitted = fit_mahalanobis(statistics[rest], labels[rest], classes=classes)
            parts.append(fitted.similarities(statistics[rows]).max(axis=1))
    return np.concatenate(parts)


def _folds(labels: Labels, groups: Rows) -> Rows:
    """The tenth (n,) of each row, 0 to 9: groups take turns class by class, so that no class is left out whole."""
    names, first, number = np.unique(groups, return_index=True, return_inverse=True)
    turn = np.empty(len(names), np.int64)
    turn[np.lexsort((names, labels[first]))] = np.arange(len(names))
    return np.asarray(turn[number.ravel()] % FOLDS)
