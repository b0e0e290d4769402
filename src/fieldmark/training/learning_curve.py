"""The learning curve: accuracy on groups left out, against the number of images that were learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.calibration import not_judged
from fieldmark.evaluation.learning_curve import Point, learning_curve, not_measured
from fieldmark.training.head import Floats, fitted_logits
from fieldmark.training.left_out import TOO_FEW_GROUPS, LeftOut, Rows, leave_out, make_folds, part_of

FOLDS = 5
# Of each class's groups; an eighth of 50 groups is 6.
PARTS = (0.125, 0.25, 0.5, 1.0)
# Fits grow in time with the images; of more than these a part is drawn, of whole groups: enough of each class for every
# fold, however many images that are.
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
    names, images = np.asarray(groups), len(labels)
    if images > MOST_IMAGES:
        random = np.random.default_rng(seed)
        rows = part_of(np.arange(images), labels, names, MOST_IMAGES / images, random, least=FOLDS)
        embeddings, labels, names = embeddings[rows], labels[rows], names[rows]
    folds = make_folds(labels, names.tolist(), FOLDS, seed=seed)
    if not folds:
        return not_measured(
            f"What more images would bring was not measured: {TOO_FEW_GROUPS}, so nothing can be left out."
        )

    def learn(inside: Rows, outside: Rows, number: int) -> Floats:
        return fitted_logits(embeddings[inside], labels[inside], embeddings[outside], strength, balanced=balanced)

    left_out = leave_out(labels, names.tolist(), learn, folds=folds, parts=PARTS, seed=seed)
    return curve_of(left_out, labels, names.tolist(), images=images, seed=seed)


def curve_of(
    left_out: LeftOut, labels: npt.NDArray[np.int32], groups: Sequence[str], *, images: int, seed: int
) -> dict[str, Any]:
    """Return the `learning_curve` of metrics.json from the answers for images left out; `images` are all there are."""
    rows = np.flatnonzero(left_out.answered)
    points: list[Point] = []
    for mean, logits in zip(left_out.images, left_out.logits[:, rows], strict=True):
        # With few groups an eighth and a quarter are the same images.
        if len(rows) and (not points or mean > 1.2 * points[-1].images):
            points.append(Point(mean, _answers(logits) == labels[rows]))
    curve = learning_curve(points, [groups[int(row)] for row in rows], images=images, seed=seed)
    few = not_judged(labels, rows)
    return curve | {"sentence": f"{curve['sentence']}{few}."} if few and points else curve


def _answers(logits: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(logits.argmax(axis=1) if logits.shape[1] > 1 else logits[:, 0] >= 0, dtype=np.int64)
