"""Clusters: which of some images belong together, by the angles of their embeddings, and where nothing stands apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

# The tree of joins holds the similarity of every two images: 2,000 take 32 MB. More join the nearest cluster.
CLUSTERED = 2_000
MOST = 12  # clusters: more are no list that a person works through
# Mean silhouette from which images fall into clusters. Of planted kinds (sequences, things of different datasets,
# diseases) it is .19-.72, of a single kind .14-.62. At .2 hardly any planted ones are joined, and eight images of a
# single kind fall into two; at .3 four classes of generated scenes become one kind (docs/log.md, 2026-11-24).
APART = 0.2
ASKED = 500  # images whose similarities to one another say what is usual


def cluster(unit: Embeddings, usual: tuple[float, float]) -> Numbers:
    """Return the number of each image's cluster, (n,) from 0, for unit vectors (n, d).

    `usual` is what `usual_similarity` says of images that are known to go together: a quarter of them are less alike
    than the first cosine, half than the second.

    The average-linkage tree on 1 - cosine is cut into as many clusters, at most 12, as have the greatest mean
    silhouette (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7); into one where that is below .2, or where even the
    two parts joined last are as alike as half of `usual`. Two images have no silhouette: they go together where they
    are as alike as three quarters.

    >>> cluster(np.array([[1, 0], [0.98, 0.2], [0, 1], [0.2, 0.98]], np.float32), (0.6, 0.7)).tolist()
    [0, 0, 1, 1]
    >>> cluster(np.array([[1, 0], [0.98, 0.2], [0, 1], [0.2, 0.98]], np.float32), (0.0, 0.1)).tolist()
    [0, 0, 0, 0]
    """
    first = unit[:CLUSTERED]
    if len(first) == 1:
        return np.zeros(len(unit), dtype=np.int64)
    numbers = _cut(np.clip(1 - first.astype(np.float64) @ first.T.astype(np.float64), 0, None), usual)
    if len(unit) == len(first):
        return numbers
    centres = np.stack([first[numbers == number].mean(axis=0) for number in range(numbers.max() + 1)])
    return np.concatenate([numbers, (unit[CLUSTERED:] @ centres.T).argmax(axis=1)])


def _cut(distances: npt.NDArray[np.float64], usual: tuple[float, float]) -> Numbers:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method="average")
    together = np.zeros(len(distances), dtype=np.int64)
    quarter, half = usual
    if tree[-1, 2] <= 1 - (quarter if len(distances) == 2 else half):
        return together
    if len(distances) == 2:
        return np.arange(2)
    cuts = [fcluster(tree, count, criterion="maxclust") - 1 for count in range(2, min(MOST, len(distances) - 1) + 1)]
    scores = [silhouette(distances, numbers) for numbers in cuts]
    best = int(np.argmax(scores))
    return np.asarray(cuts[best], dtype=np.int64) if scores[best] >= APART else together


def silhouette(distances: npt.NDArray[np.float64], numbers: npt.NDArray[np.integer]) -> float:
    """Return the mean silhouette, -1 to 1, of clusters numbered from 0; an image alone in its cluster counts as 0.

    >>> silhouette(np.array([[0.0, 1, 4], [1, 0, 4], [4, 4, 0]]), np.array([0, 0, 1]))
    0.5
    """
    rows, sizes = np.arange(len(numbers)), np.bincount(numbers)
    if len(sizes) < 2:
        return 0.0
    totals = distances @ np.eye(len(sizes))[numbers]  # (n, clusters)
    own = totals[rows, numbers] / np.maximum(sizes[numbers] - 1, 1)
    means = totals / sizes
    means[rows, numbers] = np.inf
    other = means.min(axis=1)
    widest = np.maximum(own, other)
    scores = np.where((sizes[numbers] > 1) & (widest > 0), (other - own) / np.where(widest > 0, widest, 1), 0)
    return float(scores.mean())


def usual_similarity(
    unit: Embeddings, labels: npt.NDArray[np.integer], groups: Sequence[str]
) -> tuple[float, float] | None:
    """Return the cosines that a quarter and half of all two images of one class do not reach.

    `unit` (n, d) are unit vectors, `labels` (n,) their classes; two images of one group do not count. None where no
    class has two groups.

    Of more than 500 images so many evenly spread ones are asked.
    """
    asked = np.unique(np.linspace(0, len(unit) - 1, min(len(unit), ASKED)).round().astype(int))
    names = np.array([groups[row] for row in asked.tolist()], dtype=object)
    pairs = (names[:, None] != names[None, :]) & (labels[asked][:, None] == labels[asked][None, :])
    cosines = (unit[asked] @ unit[asked].T)[pairs]
    if not cosines.size:
        return None
    quarter, half = np.quantile(cosines, (0.25, 0.5)).tolist()
    return quarter, half
