"""The learning curve of the linear head: fitted to parts of the training split, whole groups left out.

Nothing of validation is touched. Each part is made of whole groups, and every image is answered by heads that saw none
of its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.learning_curve import Point, learning_curve, not_measured
from fieldmark.training.head import Floats, fitted_answers

FOLDS = 5
# Of each class's groups; an eighth of 50 groups is 6.
PARTS = (0.125, 0.25, 0.5, 1.0)
# Fits grow in time with the images; of more than these a part is drawn, of whole groups.
MOST_IMAGES = 4000


def measure_learning_curve(
    embeddings: Floats,
    labels: npt.NDArray[np.int32],
    groups: Sequence[str],
    *,
    strength: float,
    balanced: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the `learning_curve` of metrics.json for a head on the training images' embeddings (n, d).

    Each of five folds, and of four sizes in each, is another draw of groups; deterministic for one seed.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names, images = np.asarray(groups), len(labels)
    random = np.random.default_rng(seed)
    if images > MOST_IMAGES:
        rows = _part(np.arange(images), labels, names, MOST_IMAGES / images, random)
        embeddings, labels, names = embeddings[rows], labels[rows], names[rows]
    classes = np.unique(labels)
    folds = min(FOLDS, *(len(np.unique(names[labels == label])) for label in classes))
    if folds < 2:
        return not_measured("A class has a single group, so nothing can be left out to measure a learning curve by.")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    sizes: list[list[int]] = [[] for _ in PARTS]
    correct = np.zeros((len(PARTS), len(labels)), dtype=bool)
    answered = np.zeros(len(labels), dtype=bool)
    for inside, outside in splitter.split(embeddings, labels, names):
        if len(np.unique(labels[inside])) < len(classes):
            continue  # a fold that took all of a class away has nothing to say
        answered[outside] = True
        for number, share in enumerate(PARTS):
            rows = _part(inside, labels, names, share, random)
            predicted = fitted_answers(embeddings[rows], labels[rows], embeddings[outside], strength, balanced=balanced)
            correct[number, outside] = classes[predicted] == labels[outside]
            sizes[number].append(len(rows))
    return _curve(correct[:, answered], sizes, names[answered].tolist(), images, seed)


def _curve(
    correct: npt.NDArray[np.bool_], sizes: list[list[int]], groups: list[str], images: int, seed: int
) -> dict[str, Any]:
    points: list[Point] = []
    for row, counts in zip(correct, sizes, strict=True):
        mean = float(np.mean(counts)) if counts else 0.0
        # With few groups an eighth and a quarter are the same images.
        if counts and (not points or mean > 1.2 * points[-1].images):
            points.append(Point(mean, row))
    return learning_curve(points, groups, images=images, seed=seed)


def _part(
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.str_],
    share: float,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw whole groups of each class, that share of them but at least one."""
    kept = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        names = np.unique(groups[own])
        chosen = random.permutation(names)[: max(1, round(share * len(names)))]
        kept.append(own[np.isin(groups[own], chosen)])
    return np.sort(np.concatenate(kept))
