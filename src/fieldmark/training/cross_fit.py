"""Cross-fit: a network trained again without some of the groups, several times, and its answers for those.

A head on a frozen backbone is fitted in moments and always cross-fitted. A network trained by steps takes a training
for each fold and part, so that it is done where it is asked for (`Recipe.folds`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from fieldmark.errors import RecipeError, TrainingError
from fieldmark.evaluation.calibration import Temperature, calibrate
from fieldmark.evaluation.learning_curve import not_measured
from fieldmark.images.read import Images
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.training.choices import StepChoices
from fieldmark.training.device import find_device
from fieldmark.training.fit import fit, with_enough_epochs
from fieldmark.training.learning_curve import curve_of
from fieldmark.training.left_out import TOO_FEW_GROUPS, Floats, Fold, LeftOut, Rows, leave_out, make_folds
from fieldmark.training.network import network_logits
from fieldmark.training.progress import Progress

# Of each class's groups: the points of the learning curve.
PARTS = (0.25, 0.5, 1.0)
ADVISED_FOLDS = 3  # to whoever has not asked for any


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """A network before its training, and the groups of its weights that have their own share of the learning rate."""

    network: nn.Module
    groups: Sequence[dict[str, Any]] | None = None


Make = Callable[[Rows, int], Start]  # from the rows that it will be trained on, and a seed


@dataclasses.dataclass(frozen=True)
class CrossFitted:
    """What groups left out have told of a network trained by steps."""

    temperature: Temperature
    learning_curve: dict[str, Any]


def told_by_folds(
    make: Make, images: Images, recipe: Recipe, preprocessing: Preprocessing, progress: Progress, *, interrupted: bool
) -> CrossFitted:
    """Cross-fit as the recipe says, and calibrate by it; Ctrl-C leaves that out and keeps what was learnt."""
    if not recipe.folds:
        return _without_folds(f"that takes trainings with groups left out, which --folds {ADVISED_FOLDS} would do")
    if interrupted:
        return _without_folds("the training was interrupted before groups were left out")
    dataset, rows = images.dataset, images.dataset.rows("train")
    labels, groups = dataset.labels[rows], [dataset.groups[row] for row in rows]
    folds = make_folds(labels, groups, recipe.folds, seed=recipe.seed)
    if not folds:
        return _without_folds(f"{TOO_FEW_GROUPS}, so nothing could be left out")
    progress.line("training again with groups left out, to calibrate the probabilities; Ctrl-C leaves this out")
    try:
        with progress.stage("leave groups out", unit="trainings") as step:
            left_out = cross_fit(make, images, recipe, preprocessing, folds=folds, on_training=step)
    except KeyboardInterrupt:
        progress.line("stopping: what was learnt is being written; Ctrl-C again discards it")
        return _without_folds("the trainings with groups left out were interrupted")
    except TrainingError as error:  # the classifier is there; it is only not calibrated
        return _without_folds(f"with groups left out {error}")
    return CrossFitted(
        calibrate(left_out.logits[-1], labels, groups),
        curve_of(left_out, labels, groups, images=len(rows), seed=recipe.seed),
    )


def _without_folds(reason: str) -> CrossFitted:
    return CrossFitted(
        Temperature(1.0, f"probabilities are as the network gives them, not calibrated: {reason}"),
        not_measured(f"What more images would bring was not measured: {reason}."),
    )


def cross_fit(
    make: Make,
    images: Images,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    folds: Sequence[Fold],
    on_training: Callable[[int, int], None],
) -> LeftOut:
    """Train on all folds of the train split but one, for each fold and part; with folds of `make_folds`.

    Each training has another seed, and the epochs that a training of so few images would have. The weights of its last
    epoch answer: nothing is left to choose a better one by. Raises KeyboardInterrupt when it is stopped.
    """
    dataset, rows = images.dataset, images.dataset.rows("train")
    groups = [dataset.groups[row] for row in rows]
    device = find_device(recipe.device)

    def learn(inside: Rows, outside: Rows, number: int) -> Floats:
        on_training(number, len(folds) * len(PARTS))
        seed = (recipe.seed + 1 + number) % 2**63
        part = _only(images, rows[inside])
        choices = with_enough_epochs(dataclasses.replace(StepChoices.of(recipe), keep="last", seed=seed), part)
        start = make(rows[inside], seed)
        if fit(start.network, part, choices, preprocessing, device=device, groups=start.groups).interrupted:
            raise KeyboardInterrupt
        return network_logits(start.network, preprocessing, images, rows[outside])

    return leave_out(dataset.labels[rows], groups, learn, folds=folds, parts=PARTS, seed=recipe.seed)


def copied(network: nn.Module) -> nn.Module:
    """A copy with weights of its own. Raises RecipeError where the network does not allow that."""
    try:
        return copy.deepcopy(network)
    except (RuntimeError, TypeError) as error:
        raise RecipeError(
            f"folds: {type(network).__name__} cannot be copied, so it cannot be trained again: {error}",
            hint="leave folds out",
        ) from error


def _only(images: Images, rows: Rows) -> Images:
    """The images with a train split of these rows, and no other split."""
    splits = np.full_like(images.dataset.splits, "")
    splits[rows] = "train"
    return dataclasses.replace(images, dataset=images.dataset.replace(splits=splits))
