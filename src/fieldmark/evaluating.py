"""Evaluating: a finished classifier's answers for labelled images, and every number that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.classifier import Classifier, load
from fieldmark.errors import DatasetError
from fieldmark.evaluation.metrics import metrics_of
from fieldmark.evaluation.mistakes import mistakes
from fieldmark.evaluation.predictions import Predictions
from fieldmark.images.audit import audit_images
from fieldmark.images.dataset import Dataset
from fieldmark.images.groups import GROUP_RULES
from fieldmark.images.read import read
from fieldmark.images.scan import scan, split_folders
from fieldmark.runs import Run
from fieldmark.training.learn import file_answers
from fieldmark.training.progress import Progress


def evaluate(
    classifier: Classifier | str | Path,
    directory: str | Path,
    *,
    corrections: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a classifier on a folder of class folders, matched by name; one split of metrics.json, and mistakes.

    Raises DatasetError where no folder bears the name of a class, or the folder holds splits itself.
    """
    progress = progress or Progress(quiet=True)
    if not isinstance(classifier, Classifier):
        classifier = load(classifier)
    dataset = scan_labelled(
        Path(directory), classifier.classes, corrections=Path(corrections) if corrections is not None else None
    )
    with progress.stage("read") as step:
        images = read(dataset, classifier.preprocessing, on_progress=step)
    found = audit_images(images, known_rule=recorded_rule(classifier))
    with progress.stage("evaluate") as step:
        predictions = predictions_of(found.dataset, *file_answers(classifier, images, step))
    numbers = metrics_of(predictions)
    problems = [problem.to_json() for problem in found.dataset.problems]
    remarks = list(found.remarks)
    return {
        **numbers,
        "group_rule": {"rule": found.groups.rule, "meaning": found.groups.meaning},
        "mistakes": mistakes(predictions),
        "problems": problems,
        "corrections": [correction.to_json() for correction in found.dataset.corrections],
        "remarks": remarks,
    }


def scan_labelled(root: Path, classes: tuple[str, ...], *, corrections: Path | None = None) -> Dataset:
    """The images of a folder of class folders, matched by name to the classes of a classifier.

    Raises DatasetError where no folder bears the name of a class, or the folder holds splits itself.
    """
    if splits := split_folders(root):
        raise DatasetError(
            f"{root}: holds the splits {', '.join(split for split, _ in splits)}; expected class folders",
            hint=f"name one of them, such as {splits[-1][1]}",
        )
    dataset = scan(root, classes=classes, corrections=corrections)
    if not len(dataset):
        raise DatasetError(
            f"{root}: no folder here is named after a class of the classifier ({', '.join(classes)})",
            hint="name each folder exactly as its class was named in training",
        )
    return dataset


def recorded_rule(classifier: Classifier) -> str | None:
    """The rule by which a classifier's training found groups; None where it found none, or nothing tells it.

    A rule that the user gave stands in the file itself, one that was found in the run that the file lies in.
    """
    given = classifier.metadata.get("recipe", {}).get("group_by")
    if given is not None:
        return str(given)
    run = Run(classifier.path.parent)
    if not (run.folder / "audit.json").is_file():
        return None
    rule = run.audit.get("groups", {}).get("rule")
    # That the names of those images told nothing does not mean that others' do not.
    return rule if rule in GROUP_RULES else None


def predictions_of(
    dataset: Dataset, probabilities: npt.NDArray[np.float32], familiarity: npt.NDArray[np.float32] | None
) -> Predictions:
    """Put the answers for all images of a dataset beside its columns: probabilities (n, classes), familiarity (n,)."""
    return Predictions(
        paths=dataset.paths,
        labels=dataset.labels,
        probabilities=probabilities,
        splits=tuple(str(split) for split in dataset.splits),
        groups=dataset.groups,
        classes=dataset.classes,
        familiarity=familiarity,
    )
