"""Learn: the ways to learn, each ending in a graph to export and in the network's own answers to check it by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldmark import export
from fieldmark.classifier import Classifier, load
from fieldmark.embedding import Backbone, embed, find_backbone
from fieldmark.errors import missing_extra
from fieldmark.images.names import counted
from fieldmark.images.read import Images
from fieldmark.images.read import Progress as OnProgress
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.runtime import BATCH
from fieldmark.training.choices import StepChoices
from fieldmark.training.familiar import FindFamiliar, familiar, familiar_by_channels, familiar_by_itself
from fieldmark.training.head import Head, fit_head
from fieldmark.training.history import epoch_line, remarks, write_history
from fieldmark.training.learning_curve import measure_learning_curve
from fieldmark.training.left_out import Rows
from fieldmark.training.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from fieldmark.training.cross_fit import Make, Start

Probabilities = npt.NDArray[np.float32]
# Probabilities (n, classes) and familiarity (n,), None where the file does not tell it.
Answers = tuple[Probabilities, npt.NDArray[np.float32] | None]


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What learning hands to the export."""

    graph: Any  # onnx.ModelProto
    network_answers: Callable[[Rows], Probabilities]  # of the network itself, before any export
    answers: Callable[[Path, OnProgress], Answers]  # of the exported file, for all images
    notes: tuple[str, ...] = ()  # sentences that a reader of the numbers has to know
    choices: tuple[str, ...] = ()  # sentences on what was chosen while learning, and how
    interrupted: bool = False
    hardware: dict[str, str] = dataclasses.field(default_factory=lambda: {"device": "cpu"})  # what it learnt on
    measures: dict[str, Any] = dataclasses.field(default_factory=dict)  # for the metadata of the file
    learning_curve: dict[str, Any] = dataclasses.field(default_factory=dict)  # for metrics.json


def learn_head(
    images: Images,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    progress: Progress,
) -> Learnt:
    """Fit a linear head on the pretrained backbone's embeddings of the train split.

    Writes a history.csv without epochs into `folder`. Returns the graph of backbone and head, with the answers for all
    images from their cached embeddings. Raises MissingExtraError without onnx, or where the backbone still has to be
    converted and torch is not installed.
    """
    fitted = _fitted(images, recipe, preprocessing, progress)
    head, embeddings = fitted.head, fitted.embeddings
    dataset, rows = images.dataset, images.dataset.rows("train")
    with progress.stage("learning curve"):
        curve = measure_learning_curve(
            embeddings[rows],
            dataset.labels[rows],
            [dataset.groups[row] for row in rows],
            strength=head.strength,
            balanced=recipe.class_weights == "balanced",
            seed=recipe.seed,
        )
    write_history(folder / "history.csv", ())  # fitted in one go: a header and no row
    told = familiar(export.with_head(fitted.backbone.load(), head.weights, head.bias), embeddings[rows], dataset)
    return Learnt(
        graph=told.graph,
        network_answers=lambda rows: head.probabilities(embeddings[rows]),
        # The exported file's first nodes are those that made the embeddings, to the bit (on a GPU: nearly), so its
        # answers are what its last nodes make of them; the export is checked on whole images all the same.
        answers=lambda model, step: export.head_answers(model, embeddings),
        choices=(head.note, head.calibration, told.note, *fitted.said),
        measures={"temperature": head.temperature, "familiarity": told.table},
        learning_curve=curve,
        hardware=fitted.hardware,
    )


@dataclasses.dataclass(frozen=True)
class _Fitted:
    backbone: Backbone
    embeddings: npt.NDArray[np.float32]  # (n, d), of all images
    head: Head
    said: tuple[str, ...]
    hardware: dict[str, str]


def _fitted(images: Images, recipe: Recipe, preprocessing: Preprocessing, progress: Progress) -> _Fitted:
    """The frozen backbone, what it sees in every image, and the head fitted to that of the train split."""
    with progress.stage("prepare the backbone"):
        backbone = find_backbone(preprocessing)
    with progress.stage("embed") as step:
        embeddings, said, hardware = _embeddings(images, backbone, recipe, preprocessing, step)
    with progress.stage("fit the head"):
        head = _fit_head(embeddings, images.dataset.rows("train"), images, recipe)
    return _Fitted(backbone, embeddings, head, said, hardware)


def _fit_head(embeddings: npt.NDArray[np.float32], rows: Rows, images: Images, recipe: Recipe) -> Head:
    """A head fitted to the embeddings of these rows."""
    dataset = images.dataset
    return fit_head(
        embeddings[rows],
        dataset.labels[rows],
        [dataset.groups[row] for row in rows],
        softmax=recipe.softmax,
        balanced=recipe.class_weights == "balanced",
        seed=recipe.seed,
    )


def learn_fine_tuned(
    images: Images,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    progress: Progress,
) -> Learnt:
    """Fit a linear head, then train it together with the backbone. Raises MissingExtraError without torch."""
    try:
        from fieldmark.training.cross_fit import Start
        from fieldmark.training.fine_tune import parameter_groups, with_fitted_head
    except ImportError as error:
        raise missing_extra("fine-tuning", error) from error
    fitted = _fitted(images, recipe, preprocessing, progress)

    def start(head: Head) -> Start:
        network = with_fitted_head((preprocessing.height, preprocessing.width), head)
        return Start(network, parameter_groups(network))

    def make(rows: Rows, seed: int) -> Start:
        return start(_fit_head(fitted.embeddings, rows, images, dataclasses.replace(recipe, seed=seed)))

    learnt = _trained(
        start(fitted.head), make, familiar_by_itself, images, recipe, preprocessing, folder=folder, progress=progress
    )
    said = f"fine-tuned from a linear head on the frozen backbone: {fitted.head.note}"
    return dataclasses.replace(learnt, choices=(said, *learnt.choices))


def _embeddings(
    images: Images, backbone: Backbone, recipe: Recipe, preprocessing: Preprocessing, step: OnProgress
) -> tuple[npt.NDArray[np.float32], tuple[str, ...], dict[str, str]]:
    """The embeddings (n, d), what is to be said about them, and what computed them: a GPU only if it was asked for."""
    if recipe.device != "cuda":
        return embed(images, backbone, threads=recipe.threads, on_progress=step), (), {"device": "cpu"}
    try:
        from fieldmark.training.device import describe, find_device
        from fieldmark.training.embed_device import TOLERANCE, embed_on_device
    except ImportError as error:
        raise missing_extra("embedding on a GPU", error) from error
    device = find_device(recipe.device)
    name = describe(device).get("gpu", device.type)
    said = (
        f"embeddings come from {name}, within {TOLERANCE:g} of the exported file's; "
        "so do the numbers that are computed from them"
    )
    return embed_on_device(images, preprocessing, device, on_progress=step), (said,), describe(device)


def learn_from_scratch(
    own: nn.Module | None,
    images: Images,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    progress: Progress,
) -> Learnt:
    """Train a network of NETWORKS, or the caller's own, on the train split. Raises MissingExtraError without torch."""
    try:
        from fieldmark.training.cross_fit import Start, copied
        from fieldmark.training.network import make_network
    except ImportError as error:
        raise missing_extra(f"training the network {recipe.network}", error) from error
    classes = len(images.dataset.classes)
    network = make_network(own, recipe, preprocessing, classes=classes)
    untrained = copied(own) if own is not None and recipe.folds else None

    def make(rows: Rows, seed: int) -> Start:
        if untrained is not None:
            return Start(copied(untrained))
        return Start(make_network(None, dataclasses.replace(recipe, seed=seed), preprocessing, classes=classes))

    return _trained(
        Start(network), make, familiar_by_channels, images, recipe, preprocessing, folder=folder, progress=progress
    )


def _trained(
    start: Start,
    make: Make,
    find_familiar: FindFamiliar,
    images: Images,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    folder: Path,
    progress: Progress,
) -> Learnt:
    """Train a network by steps on the train split; `make` makes those that are trained without some groups."""
    from fieldmark.training.cross_fit import told_by_folds
    from fieldmark.training.device import describe, find_device, how_it_trains
    from fieldmark.training.fit import fit, with_enough_epochs
    from fieldmark.training.network import limited_threads, network_answers

    network, device = start.network, find_device(recipe.device)
    choices = with_enough_epochs(StepChoices.of(recipe), images)
    with limited_threads(recipe.threads) as threads:
        with progress.stage("train", unit="steps") as step:
            history = fit(
                network,
                images,
                choices,
                preprocessing,
                folder=folder,
                device=device,
                groups=start.groups,
                on_epoch=lambda epoch: progress.line(epoch_line(epoch, choices.epochs)),
                on_step=step,
            )
        if history.interrupted:
            progress.line("stopping: what was learnt is being written; Ctrl-C again discards it")
        found = told_by_folds(make, images, recipe, preprocessing, progress, interrupted=history.interrupted)
    with progress.stage("familiarity") as step:
        graph = export.network_graph(network, preprocessing, temperature=found.temperature.value)
        told = find_familiar(graph, images, threads=recipe.threads, step=step)
    return Learnt(
        graph=told.graph,
        network_answers=lambda rows: network_answers(
            network, preprocessing, images.pixels(rows), temperature=found.temperature.value
        ),
        answers=lambda model, step: file_answers(load(model, threads=recipe.threads), images, step),
        notes=tuple(remarks(history, choices)),
        choices=(how_it_trains(network, device, counted(threads, "thread")), found.temperature.note, told.note),
        measures={"temperature": found.temperature.value, "familiarity": told.table},
        learning_curve=found.learning_curve,
        interrupted=history.interrupted,
        hardware=describe(device),
    )


def file_answers(classifier: Classifier, images: Images, step: OnProgress) -> Answers:
    """A classifier's answers for all images of a dataset, from their cached pixels."""
    rows = np.arange(len(images.dataset))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    parts = []
    for part in classifier.answer_batches(batches, prepare=images.pixels):
        parts.append(part)
        step(min(len(parts) * BATCH, len(rows)), len(rows))
    return classifier.joined(parts)
