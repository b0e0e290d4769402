"""Evaluating: a finished classifier's answers for labelled images, and every number that follows from them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.classifier import Classifier, load
from fieldmark.errors import DatasetError, RecipeError
from fieldmark.evaluation.curves import choose_threshold
from fieldmark.evaluation.metrics import metrics_of
from fieldmark.evaluation.mistakes import mistakes
from fieldmark.evaluation.predictions import Predictions
from fieldmark.images.audit import audit_images
from fieldmark.images.dataset import Dataset
from fieldmark.images.groups import GROUP_RULES
from fieldmark.images.names import some
from fieldmark.images.read import read
from fieldmark.images.scan import scan, split_folders
from fieldmark.runs import run_of
from fieldmark.training.learn import file_answers
from fieldmark.training.progress import Progress


def evaluate(
    classifier: Classifier | str | os.PathLike[str],
    directory: str | Path,
    *,
    corrections: str | Path | None = None,
    costs: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a classifier (loaded, or its file or run) on a folder of class folders, matched by name.

    `corrections` is a table that sets labels right, by default the folder's own `corrections.csv`. `costs` of two
    classes are those of an image of the first taken for the second, and of the reverse.

    Returns one split of metrics.json (`fieldmark.evaluation.metrics.metrics_of`: shares from 0 to 1, each with its n
    and 95 % interval), with "mistakes", the most confident first, "group_rule", "problems", "corrections", "remarks",
    and with `costs` "threshold", what costs least on these images. Raises DatasetError where no folder bears the name
    of a class, or the folder holds splits itself, RecipeError for costs that no threshold can be chosen by,
    ModelFileError for what is no classifier.

    >>> import fieldmark, tempfile; folder = Path(tempfile.mkdtemp())
    >>> from fieldmark.images.demo import draw_demo
    >>> draw_demo(folder / "faces")
    >>> small = {"network": "course", "image_size": 32, "epochs": 1}
    >>> run = fieldmark.train(folder / "faces", out=folder / "run", **small)
    >>> found = evaluate(run.folder, folder / "faces" / "validation")
    >>> found["n"], found["accuracy"] == run.metrics["validation"]["accuracy"]
    (80, True)
    """
    progress = progress or Progress(quiet=True)
    if not isinstance(classifier, Classifier):
        classifier = load(classifier)
    if costs is not None:
        require_costs(costs, classifier.classes)
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
    remarks = [*found.remarks, *_copies_not_searched(classifier)]
    return {
        **numbers,
        "group_rule": {"rule": found.groups.rule, "meaning": found.groups.meaning},
        "mistakes": mistakes(predictions),
        "problems": problems,
        "corrections": [correction.to_json() for correction in found.dataset.corrections],
        "remarks": remarks,
        **({"threshold": threshold_of(predictions, costs)} if costs is not None else {}),
    }


def require_costs(costs: tuple[float, float], classes: tuple[str, ...]) -> None:
    """Raise RecipeError unless there are two classes, and costs of which none is below 0 and one above."""
    if len(classes) != 2:
        raise RecipeError(
            f"costs are stated for two classes; this classifier has {len(classes)}: {some(classes)}",
            hint="leave out --costs; `confusion` in --json counts every kind of mistake",
        )
    if len(costs) != 2 or not all(math.isfinite(cost) and cost >= 0 for cost in costs) or not any(costs):
        raise RecipeError(
            f"costs {', '.join(f'{cost:g}' for cost in costs)}: expected two numbers, none below 0 and one above",
            hint=f"--costs 1,10: 1 for an image of {classes[0]} taken for {classes[1]}, 10 for the reverse",
        )


def threshold_of(predictions: Predictions, costs: tuple[float, float]) -> dict[str, Any]:
    """What `choose_threshold` finds for two classes, with {"positive_class", "costs", "sentence"}.

    The probability of `positive_class`, the second one, is compared with the threshold.
    """
    known = predictions.keep(np.flatnonzero(predictions.labels >= 0).tolist())
    found = choose_threshold(known.probabilities[:, 1], known.labels, *costs)
    first, second = known.classes
    sentence = (
        f"An image of {first} taken for {second} costing {costs[0]:g}, one of {second} taken for {first} {costs[1]:g}: "
        f"to answer {second} from a probability of {found['threshold']:.3f} on costs least, {found['cost']:.3f} an "
        f"image; from 0.5 on {found['cost_at_half']:.3f}. The threshold was chosen on these very {found['n']} images, "
        "so its cost is optimistic: expect more on others."
    )
    absent = [name for label, name in enumerate(known.classes) if not np.any(known.labels == label)]
    if absent:
        sentence += f" No image of {absent[0]} is among them, so that one of the two kinds of mistake cannot be seen."
    return {**found, "positive_class": second, "costs": list(costs), "sentence": sentence}


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
            f"{root}: no folder here is named after a class of the classifier ({some(classes)})",
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
    groups = _audit_of_training(classifier).get("groups")
    rule = groups.get("rule") if isinstance(groups, dict) else None
    # That the names of those images told nothing does not mean that others' do not.
    return rule if isinstance(rule, str) and rule in GROUP_RULES else None


def _audit_of_training(classifier: Classifier) -> dict[str, Any]:
    """audit.json of the run that a classifier belongs to; {} where its file lies alone."""
    run = run_of(classifier.path)
    return run.audit if run and (run.folder / "audit.json").is_file() else {}


def _copies_not_searched(classifier: Classifier) -> list[str]:
    # A training lists near-duplicates only where it made the split, and then by joining them.
    if not _audit_of_training(classifier).get("near_duplicates"):
        return []
    return [
        "the training joined near-duplicates to groups; here they are not searched: each copy among these images "
        "counts for itself, and where there are some the intervals are too narrow"
    ]


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
