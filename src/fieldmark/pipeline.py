"""Pipeline: the stages in their order. `train` reads as the data flow of the documentation.

folder → scan → read (cache) → groups → split → audit → learn → export → checks → evaluate the exported file → folder
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldmark import export, runs, storage
from fieldmark.checks.table import run_checks
from fieldmark.classifier import load
from fieldmark.embedding import embed, find_backbone, own_embeddings
from fieldmark.errors import ExportError
from fieldmark.evaluating import predictions_of
from fieldmark.evaluation.kinds import analyse_splits
from fieldmark.evaluation.metrics import metrics_of, overfitting
from fieldmark.evaluation.mistakes import mistakes
from fieldmark.evaluation.predictions import Predictions, write_csv
from fieldmark.explanation.vocabulary import imagenet_vocabulary
from fieldmark.grouping import MOST_CHECKED, Grouped, group, splits_itself
from fieldmark.images.audit import Audit, audit_images
from fieldmark.images.cache import cache_folder
from fieldmark.images.cache_limit import DEFAULT_LIMIT_BYTES, limit_cache
from fieldmark.images.dataset import SPLITS
from fieldmark.images.dataset import write_csv as write_dataset
from fieldmark.images.names import printable
from fieldmark.images.read import Images, read
from fieldmark.images.read import Progress as OnProgress
from fieldmark.images.refusals import require_trainable, require_two_classes, require_validation
from fieldmark.images.scan import scan, without_empty_classes
from fieldmark.images.split import choose_validation
from fieldmark.model_file import FORMAT
from fieldmark.networks.table import NETWORKS, spec
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.report.render import render_report
from fieldmark.runs import Run
from fieldmark.training.choices import choose
from fieldmark.training.learn import Learnt, learn_fine_tuned, learn_from_scratch, learn_head
from fieldmark.training.progress import Progress

if TYPE_CHECKING:
    from torch import nn

# The export is checked on this many images of each split, evenly spread.
CHECKED_IMAGES = 32
PACKAGES = ("fieldmark", "numpy", "pillow", "imagecodecs", "onnxruntime", "scikit-learn", "torch", "onnx")


def train(
    directory: str | Path,
    *,
    validation: str | Path | None = None,
    out: str | Path | None = None,
    parent: str | Path = "runs",
    network: str | nn.Module = Recipe.network,
    corrections: str | Path | None = None,
    cache_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    progress: Progress | None = None,
    on_audit: Callable[[Audit], None] = lambda audit: None,
    **choices: Any,
) -> Run:
    """Train a classifier on a folder of folders of images; return its run folder.

    `directory` holds one sub-directory per class, or `train/` and `validation/` [and `test/`] that do; without a
    validation split, one is made: stratified, seeded, whole groups together. The run's folder is `out`, or the
    next free `<directory>-<n>` in `parent`. `network` is a name of NETWORKS, or
    a `torch.nn.Module` that maps float32 (batch, 3, height, width), pixels / 255, to logits (batch, classes), or
    (batch, 1) for two classes. `corrections` is a table that sets labels right (see
    `fieldmark.images.corrections`), by default the dataset's own `corrections.csv`. `choices` are fields of
    `Recipe`. Ctrl-C keeps what was learnt as a valid run.

    Raises FieldmarkError (see `fieldmark.errors`) for whatever the user can mend.

    >>> import tempfile; folder = Path(tempfile.mkdtemp())
    >>> from fieldmark.images.demo import draw_demo
    >>> draw_demo(folder / "faces")
    >>> run = train(folder / "faces", out=folder / "run", network="course", image_size=32, epochs=1)
    >>> sorted(run.metrics)
    ['learning_curve', 'overfitting', 'train', 'validation']
    """
    progress = progress or Progress(quiet=True)
    started = time.perf_counter()
    own = None if isinstance(network, str) else network
    recipe, preprocessing = choose(network, choices)

    # 1) Names only: which images there are, of which class and split.
    with progress.stage("scan"):
        dataset = scan(Path(directory), validation=_path(validation), corrections=_path(corrections))
        require_two_classes(dataset)
        require_validation(dataset, _path(validation))
    run = runs.create(Path(directory), Path(out) if out is not None else None, parent=Path(parent))
    with _removed_if_unfinished(run):
        # 2) Every file is opened once; what cannot be used becomes a problem row.
        with progress.stage("read") as step:
            images = read(dataset, preprocessing, cache_limit_bytes=cache_limit_bytes, on_progress=step)
            images = dataclasses.replace(images, dataset=without_empty_classes(images.dataset))
            require_trainable(images.dataset)
            require_validation(images.dataset, _path(validation))
        # 3) Groups, the split, and all that is worth knowing before training.
        grouped = _grouped(images, recipe, preprocessing, cache_limit_bytes, progress)
        with progress.stage("audit"):
            audit = split_audited(grouped.audit, recipe)
            images = dataclasses.replace(images, dataset=audit.dataset)
        on_audit(audit)
        # 4) Learn: a head on the pretrained backbone (and then the backbone, too), or a whole network from scratch.
        learn = _way_to_learn(own, recipe)
        learnt = learn(images, recipe, preprocessing, folder=run.folder, progress=progress)
        # 5) The file that is deployed, checked against what was learnt.
        with progress.stage("export"):
            weights = _export(learnt, images, recipe, preprocessing, run)
        # 6) What the audit asks, now that the embeddings are there: labels, shortcuts, copies, bad images.
        with progress.stage("check") as step:
            audit = _checked(images, audit, recipe, preprocessing, grouped, step=step)
        # 7) Every number comes from that file's own answers.
        with progress.stage("evaluate") as step:
            predictions = predictions_of(images.dataset, *learnt.answers(run.model, step))
            _write_results(run, predictions, audit, recipe, learnt)
        # 8) The mistakes: their nearest training images, their kinds, and what to photograph next.
        with progress.stage("mistakes") as step:
            storage.write_json(
                run.folder / "mistakes.json", run_mistakes(run, images, predictions, recipe, step, audit)
            )
        seconds = {**progress.seconds, "total": time.perf_counter() - started}
        told = _told(audit, recipe, learnt, table=_path(corrections), weights=weights, seconds=seconds)
        with progress.stage("report"):
            render_report(run.folder, told)
        # 9) Last of all: with run.json the run is finished.
        storage.write_json(run.folder / "run.json", told)
    limit_cache(cache_folder(), cache_limit_bytes)  # embeddings were added since the images were read
    return run


def _path(path: str | Path | None) -> Path | None:
    return Path(path) if path is not None else None


def _way_to_learn(own: nn.Module | None, recipe: Recipe) -> Callable[..., Learnt]:
    if own is None and spec(recipe.network).pretrained:
        return learn_fine_tuned if recipe.fine_tune else learn_head
    return functools.partial(learn_from_scratch, own)


def _grouped(
    images: Images, recipe: Recipe, preprocessing: Preprocessing, cache_limit_bytes: int, progress: Progress
) -> Grouped:
    """The images' groups; near-duplicates are searched where a split is made by them, and no others need the time."""
    if recipe.validation_fraction and splits_itself(images.dataset):
        grouped = group(
            images,
            preprocessing,
            group_by=recipe.group_by,
            threads=recipe.threads,
            progress=progress,
            cache_limit_bytes=cache_limit_bytes,
        )
        # Reading for another image size may tell other sizes of a few formats; the images trained on are these.
        dataset = images.dataset.replace(groups=grouped.audit.groups.names)
        return grouped._replace(audit=dataclasses.replace(grouped.audit, dataset=dataset))
    with progress.stage("audit"):
        return Grouped(audit_images(images, group_by=recipe.group_by))


def split_audited(found: Audit, recipe: Recipe) -> Audit:
    """The audit with a validation split: the folder's own, or one made of whole groups of the training images.

    A leak into a test split goes with its training image: held out, that is not trained on, nor is its group.
    """
    dataset = found.dataset
    if len(dataset.rows("validation")):
        return found
    rows = np.flatnonzero(np.isin(dataset.splits, ("train", "")))
    chosen = np.zeros(len(rows), dtype=bool)
    if recipe.validation_fraction:
        chosen = choose_validation(
            [dataset.groups[row] for row in rows],
            dataset.labels[rows],
            fraction=recipe.validation_fraction,
            seed=recipe.seed,
            classes=dataset.classes,
        )
    splits = dataset.splits.copy()
    splits[rows] = np.where(chosen, "validation", "train")
    trained = {path for path, split in zip(dataset.paths, splits.tolist(), strict=True) if split == "train"}
    leaks = tuple(leak for leak in found.leaks if leak.train in trained)
    return dataclasses.replace(found, dataset=dataset.replace(splits=splits), leaks=leaks)


def _checked(
    images: Images, found: Audit, recipe: Recipe, preprocessing: Preprocessing, grouped: Grouped, *, step: OnProgress
) -> Audit:
    """The audit with the answers of those checks that take about a second of a training of a thousand images.

    Near-duplicates inside of a split take several; those between splits, which make numbers too good, are searched,
    where not all of them were found for the split already. With a network from scratch what needs the backbone's
    embeddings is asked only where the split needed them, too: they take several seconds.
    """
    if len(found.dataset) > MOST_CHECKED:
        return found
    hint = f"`fieldmark audit {shlex.quote(printable(str(found.dataset.root)))}` asks it"
    embeddings, why, without = grouped.embeddings, "it takes longer than the training", {"near_duplicates"}
    if embeddings is None and _on_backbone(recipe):
        embeddings = embed(images, find_backbone(preprocessing), threads=recipe.threads, on_progress=step)
    elif embeddings is None:
        why = "this network is trained from scratch, and the pretrained backbone would have to see every image"
    return run_checks(images, found, embeddings, not_run=why, hint=hint, without=without, copies=grouped.copies)


def _on_backbone(recipe: Recipe) -> bool:
    return recipe.network in NETWORKS and NETWORKS[recipe.network].pretrained


def _export(learnt: Learnt, images: Images, recipe: Recipe, preprocessing: Preprocessing, run: Run) -> str:
    """Write model.onnx and check it against what was learnt; return the SHA-256 of its weights."""
    dataset = images.dataset
    weights = export.write_model(
        learnt.graph,
        run.model,
        {
            "format": FORMAT,
            "classes": list(dataset.classes),
            "positive_class": dataset.classes[1] if len(dataset.classes) == 2 else None,
            "preprocessing": preprocessing.to_json(),
            "recipe": recipe.to_json(),
            "dataset_fingerprint": dataset.fingerprint,
            "versions": _versions(),
            **learnt.measures,
        },
    )
    rows = np.concatenate([_spread(dataset.rows(split), CHECKED_IMAGES) for split in SPLITS])
    try:
        classifier = load(run.model, threads=recipe.threads)
        export.check(learnt.network_answers(rows), classifier.probabilities(images.pixels(rows)))
    except ExportError:
        run.model.unlink()
        raise
    return weights


def _spread(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most `count` of the rows, evenly spread, the first and the last among them."""
    if len(rows) <= count:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])


def _write_results(run: Run, predictions: Predictions, found: Audit, recipe: Recipe, learnt: Learnt) -> None:
    """Write what was chosen, what was seen, what was answered, and the numbers."""
    metrics: dict[str, Any] = {}
    for split in ("validation", "test", "train"):
        part = predictions.select(split)
        if len(part.paths):
            metrics[split] = metrics_of(part)
    metrics["overfitting"] = overfitting(predictions.select("train"), predictions.select("validation"))
    metrics["learning_curve"] = learnt.learning_curve
    storage.write_json(run.folder / "recipe.json", recipe.to_json())
    write_dataset(run.folder / "dataset.csv", found.dataset)
    storage.write_json(run.folder / "audit.json", found.to_json())
    write_csv(run.folder / "predictions.csv", predictions)
    storage.write_json(run.folder / "metrics.json", metrics)


def run_mistakes(
    run: Run, images: Images, predictions: Predictions, recipe: Recipe, step: OnProgress, found: Audit
) -> dict[str, Any]:
    """The content of mistakes.json: of validation, or of test where there is none; `others` has that of test, too."""
    splits = [name for name in ("validation", "test") if name in predictions.splits] or ["validation"]
    embeddings, vocabulary = None, None
    # The embeddings of a network from scratch cost a second pass over all images: only where there are mistakes.
    if any(mistakes(predictions.select(split)) for split in splits):
        classifier = load(run.model, threads=recipe.threads)
        if _on_backbone(recipe) and not recipe.fine_tune:
            backbone = find_backbone(classifier.preprocessing)
            embeddings = embed(images, backbone, threads=recipe.threads, on_progress=step)
            vocabulary = imagenet_vocabulary()
        else:
            embeddings = own_embeddings(classifier, images)
    doubted = {row["path"] for row in found.suspected_labels if row["accused"]}
    first, *others = analyse_splits(predictions, embeddings, splits=splits, vocabulary=vocabulary, suspected=doubted)
    return {**first, "others": others}


def _told(
    found: Audit, recipe: Recipe, learnt: Learnt, *, table: Path | None, weights: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "fieldmark": metadata.version("fieldmark"),
        "command": _command(sys.argv),
        "root": str(found.dataset.root.absolute()),
        "network": recipe.network,
        "seed": recipe.seed,
        "classes": list(found.dataset.classes),
        "dataset_fingerprint": found.dataset.fingerprint,
        "corrections": [correction.to_json() for correction in found.dataset.corrections],
        "corrections_table": str(table.absolute()) if table else None,  # None: the dataset's own, if any
        "model_sha256": weights,
        "versions": _versions(),
        "hardware": {**_hardware(), **learnt.hardware},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "notes": [*learnt.notes, *found.remarks],
        "choices": list(learnt.choices),
        "interrupted": learnt.interrupted,
    }


def _command(argv: list[str]) -> str | None:
    """The command line, if it is one of Fieldmark's: `fieldmark ...`, fieldmark.exe, or `python -m fieldmark ...`."""
    program = Path(argv[0])
    ours = program.stem == "fieldmark" or (program.name == "__main__.py" and program.parent.name == "fieldmark")
    return shlex.join(["fieldmark", *argv[1:]]) if ours else None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _hardware() -> dict[str, Any]:
    return {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}


@contextlib.contextmanager
def _removed_if_unfinished(run: Run) -> Iterator[None]:
    """Leave no folder behind when a training fails before it has made anything."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            (run.folder / "checkpoints").rmdir()  # only if empty: nothing was learnt that could be kept
            (run.folder / "history.csv").unlink(missing_ok=True)
            run.folder.rmdir()
        raise
