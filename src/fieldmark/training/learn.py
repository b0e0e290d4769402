"""Learn: the two ways to learn, each ending in a graph to export and in the network's own answers to check it by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldmark import export
from fieldmark.classifier import Classifier, load
from fieldmark.embedding import embed, find_backbone
from fieldmark.errors import missing_extra
from fieldmark.evaluation.familiarity import fit_familiarity
from fieldmark.evaluation.learning_curve import not_measured
from fieldmark.images.dataset import Dataset
from fieldmark.images.read import Images
from fieldmark.images.read import Progress as OnProgress
from fieldmark.images.scan import counted
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.runtime import open_session
from fieldmark.training.choices import StepChoices
from fieldmark.training.head import fit_head
from fieldmark.training.history import epoch_line, remarks, write_history
from fieldmark.training.learning_curve import measure_learning_curve
from fieldmark.training.progress import Progress

if TYPE_CHECKING:
    from torch import nn

Rows = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]
# Probabilities (n, classes) and familiarity (n,), None where the file does not tell it.
Answers = tuple[Probabilities, npt.NDArray[np.float32] | None]

# Images whose pixels are held in memory at a time while the exported file answers.
CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What learning hands to the export."""

    graph: Any  # onnx.ModelProto
    network_answers: Callable[[Rows], Probabilities]  # of the network itself, before any export
    answers: Callable[[Path, OnProgress], Answers]  # of the exported file, for all images
    notes: tuple[str, ...] = ()  # sentences that a reader of the numbers has to know
    choices: tuple[str, ...] = ()  # sentences on what was chosen while learning, and how
    interrupted: bool = False
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
    """Fit a linear head on the pretrained backbone's embeddings of the train split."""
    with progress.stage("prepare the backbone"):
        backbone = find_backbone(preprocessing)
    with progress.stage("embed") as step:
        embeddings = embed(images, backbone, threads=recipe.threads, on_progress=step)
    dataset = images.dataset
    rows = dataset.rows("train")
    with progress.stage("fit the head"):
        head = fit_head(
            embeddings[rows],
            dataset.labels[rows],
            [dataset.groups[row] for row in rows],
            softmax=recipe.softmax,
            balanced=recipe.class_weights == "balanced",
            seed=recipe.seed,
        )
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
    graph = export.with_head(backbone.load(), head.weights, head.bias)
    graph, familiarity, note = _familiar(graph, embeddings[rows], dataset, rows)
    return Learnt(
        graph=graph,
        network_answers=lambda rows: head.probabilities(embeddings[rows]),
        # The exported file's first nodes are those that made the embeddings, to the bit, so its answers are what
        # its last nodes make of them; the export is checked on whole images all the same.
        answers=lambda model, step: export.head_answers(model, embeddings),
        choices=(head.note, head.calibration, note),
        measures={"temperature": head.temperature, "familiarity": familiarity},
        learning_curve=curve,
    )


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
        from fieldmark.training.fit import fit
        from fieldmark.training.network import limited_threads, make_network, network_answers
    except ImportError as error:
        raise missing_extra(f"training the network {recipe.network}", error) from error
    network = make_network(own, recipe, preprocessing, classes=len(images.dataset.classes))
    with progress.stage("train", unit="steps") as step, limited_threads(recipe.threads) as threads:
        history = fit(
            network,
            images,
            StepChoices.of(recipe),
            preprocessing,
            folder=folder,
            on_epoch=lambda epoch: progress.line(epoch_line(epoch, recipe.epochs)),
            on_step=step,
        )
    if history.interrupted:
        progress.line("stopping: what was learnt is being written; Ctrl-C again discards it")
    with progress.stage("familiarity") as step:
        graph, familiarity, note = _own_familiarity(export.network_graph(network, preprocessing), images, recipe, step)
    return Learnt(
        graph=graph,
        network_answers=lambda rows: network_answers(network, preprocessing, images.pixels(rows)),
        answers=lambda model, step: file_answers(load(model, threads=recipe.threads), images, step),
        notes=tuple(remarks(history, recipe)),
        choices=(
            f"trained on {counted(threads, 'thread')}; another number may change the last bits",
            "probabilities are as the network gives them: to calibrate them on groups left out, it would have to be "
            "trained again for each fold",
            note,
        ),
        measures={"temperature": 1.0, "familiarity": familiarity},
        learning_curve=not_measured(
            "A learning curve of a network trained from scratch takes a training for each point: train with fewer "
            "images and compare."
        ),
        interrupted=history.interrupted,
    )


def file_answers(classifier: Classifier, images: Images, step: OnProgress) -> Answers:
    """A classifier's answers for all images of a dataset, from their cached pixels."""
    parts = []
    for start in range(0, len(images.dataset), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(images.dataset)))
        parts.append(classifier.answers(images.pixels(rows)))
        step(int(rows[-1]) + 1, len(images.dataset))
    familiarity = [part for _, part in parts if part is not None]
    return np.concatenate([part for part, _ in parts]), np.concatenate(familiarity) if familiarity else None


def _own_familiarity(graph: Any, images: Images, recipe: Recipe, step: OnProgress) -> tuple[Any, Any, str]:
    """As `_familiar`, from the graph's own embedding of the train split."""
    if all(output.name != export.EMBEDDING for output in graph.graph.output):
        return graph, None, "an own network does not tell its features apart, so it cannot tell unfamiliar images"
    rows, session = images.dataset.rows("train"), open_session(graph.SerializeToString(), threads=recipe.threads)
    parts = []
    for start in range(0, len(rows), CHUNK):
        pixels = images.pixels(rows[start : start + CHUNK])
        parts.append(session.run([export.EMBEDDING], {export.INPUT: pixels})[0])
        step(min(start + CHUNK, len(rows)), len(rows))
    return _familiar(graph, np.concatenate(parts), images.dataset, rows)


def _familiar(graph: Any, embeddings: npt.NDArray[np.float32], dataset: Dataset, rows: Rows) -> tuple[Any, Any, str]:
    """The graph with what it takes to tell familiarity, that as JSON, and a sentence on it."""
    groups = [dataset.groups[row] for row in rows]
    found = fit_familiarity(embeddings, dataset.labels[rows], groups, classes=len(dataset.classes))
    if found is None:
        return graph, None, "each class has one training image, so what is unlike them cannot be told"
    return export.with_familiarity(graph, found), found.to_json(), found.note
