"""Sweeping: one choice of a recipe after another, each with several seeds, and what the choice changes.

    fieldmark sweep photos/ --network course --image-size 75,150,300 --seeds 3

Every training is a normal run in a folder of its own, so that an interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fieldmark import pipeline, runs, storage
from fieldmark.auditing import inspect
from fieldmark.errors import DatasetError, OutputError, RecipeError
from fieldmark.evaluation.compare import paired_interval
from fieldmark.evaluation.intervals import accuracy_interval
from fieldmark.evaluation.metrics import percent
from fieldmark.evaluation.predictions import Predictions, read_csv
from fieldmark.images.scan import counted
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe, option
from fieldmark.report.dots import dot_plot
from fieldmark.runs import Run
from fieldmark.storage import guard
from fieldmark.training.choices import choose
from fieldmark.training.progress import Progress

SPLIT = "validation"
NAMED = 3  # choices that cannot be told from the best
COLUMNS = (
    *("choice", "runs", "accuracy", "sd", "seeds_low", "seeds_high", "images_low", "images_high"),
    *("n", "seconds", "bytes"),
)


@dataclasses.dataclass(frozen=True)
class Planned:
    """One training of a sweep, not done yet."""

    choice: str  # what is varied, in words: "image_size 150"
    choices: dict[str, Any]  # fields of Recipe, the seed among them
    recipe: Recipe  # with the network's defaults filled in
    preprocessing: Preprocessing
    folder: Path


def sweep(
    directory: str | Path,
    *,
    validation: str | Path | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Train every combination of the choices with every seed; return one table of what came out.

    `choices` are fields of Recipe; a list (of channels: a list of tuples) means each of its values in turn. The seeds
    are `seed` (0) and those that follow. Runs go to `out`/<choice>_seed-<n>, by default sweeps/<directory>; there, a
    finished run of the same recipe and images is kept, an unfinished one is trained again. Besides the runs `out`
    holds sweep.json, sweep.csv (a row a choice), images.csv (a row an image) and sweep.png.

    Returns {"choices": [{"choice", "runs", "accuracy" (mean over seeds), "sd", "seeds_interval" (Student's t, of the
    mean; None for one seed), "images_interval" (over groups of images), "n", "seconds", "bytes", ...}], "against_best":
    every other choice with its difference to the best and whether the two can be told apart, "runs", "images": those
    whose answer depends on the choice, "remarks", "interrupted"}. Every value is checked before anything is trained:
    raises RecipeError, DatasetError, and OutputError for a folder that holds another run.
    """
    progress = progress or Progress(quiet=True)
    if seeds < 1:
        raise RecipeError(f"--seeds {seeds}: expected a number from 1", hint="3 says something about chance")
    root = Path(directory)
    folder = Path(out) if out is not None else Path("sweeps") / (root.absolute().name or "sweep")
    plan = plan_sweep(choices, seeds=seeds, folder=folder)
    found = inspect(root, plan[0].preprocessing, validation=validation, group_by=plan[0].recipe.group_by)
    if not len(found.dataset.rows(SPLIT)) and any(not each.recipe.validation_fraction for each in plan):
        raise DatasetError(
            "without validation images there is nothing to compare the choices by",
            hint="leave out --validation-fraction 0",
        )
    done = {each.folder: _finished(each, found.dataset.fingerprint) for each in plan}
    finished, interrupted = [], False
    for number, each in enumerate(plan, start=1):
        kept = done[each.folder]
        progress.line(f"{number}/{len(plan)}  {each.folder.name}{'  (kept)' if kept else ''}")
        if not kept:
            _remove_unfinished(each.folder)
            run = pipeline.train(
                root,
                validation=validation,
                out=each.folder,
                progress=Progress(quiet=progress.quiet),
                **each.choices,
            )
            if run.info["interrupted"]:
                interrupted = True
                break
        finished.append(each)
    return _written(folder, finished, interrupted=interrupted, planned=len(plan))


def plan_sweep(choices: Mapping[str, Any], *, seeds: int, folder: Path) -> list[Planned]:
    """Every training of a sweep, each recipe checked. Raises RecipeError, also for two that would be the same.

    >>> plan = plan_sweep({"network": "course", "image_size": [75, 150]}, seeds=2, folder=Path("out"))
    >>> [each.folder.name for each in plan]
    ['image-size-75_seed-0', 'image-size-75_seed-1', 'image-size-150_seed-0', 'image-size-150_seed-1']
    """
    varied = {name: list(values) for name, values in choices.items() if isinstance(values, list)}
    fixed = {name: value for name, value in choices.items() if name not in varied}
    for name, values in varied.items():
        if not values:
            raise RecipeError(f"{option(name)}: no value to try")
        if name in ("seed", "group_by"):
            raise RecipeError(f"{option(name)}: one value at a time", hint="--seeds 3 trains with three seeds")
    first_seed = fixed.pop("seed", 0)
    plan = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        several = {name: value for name, value in chosen.items() if len(varied[name]) > 1}
        for seed in range(first_seed, first_seed + seeds):
            own = {**fixed, **chosen, "seed": seed}
            network = own.pop("network", Recipe.network)
            recipe, preprocessing = choose(network, own)
            words = ", ".join(f"{name} {_shown(value)}" for name, value in several.items()) or "as given"
            parts = [f"{option(name)[2:]}-{_shown(value)}" for name, value in several.items()] + [f"seed-{seed}"]
            place = folder / re.sub(r"[^\w.-]+", "-", "_".join(parts))
            plan.append(Planned(words, {"network": network, **own}, recipe, preprocessing, place))
    if len({each.folder for each in plan}) < len(plan):
        raise RecipeError("a value is named twice", hint="name every value once")
    return plan


def _shown(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _finished(planned: Planned, fingerprint: str) -> bool:
    """Whether the run is there already. Raises OutputError if its folder holds a finished run of something else."""
    file = planned.folder / "run.json"
    if not file.is_file():
        return False
    run = Run(planned.folder)
    info = run.info
    recipe = Recipe.from_json(run.recipe)
    if info.get("interrupted"):
        return False
    if recipe != planned.recipe or info.get("dataset_fingerprint") != fingerprint:
        what = "another recipe" if recipe != planned.recipe else "other images"
        raise OutputError(
            f"{planned.folder}: holds a finished run of {what}; it is not overwritten",
            hint="choose another --out for this sweep",
        )
    return True


def _remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted training left, and nothing else."""
    if not folder.exists():
        return
    foreign = (
        sorted(path.name for path in folder.iterdir() if path.name not in runs.FILES) if folder.is_dir() else ["?"]
    )
    # A file that was being written when the process was killed: storage's own temporary name
    foreign = [name for name in foreign if not (name.startswith(".") and name.endswith(".tmp"))]
    if foreign:
        raise OutputError(
            f"{folder}: holds {foreign[0]}, which no training wrote", hint="move it, or choose another --out"
        )
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise storage.cannot_write(folder, error) from error


def _written(folder: Path, finished: Sequence[Planned], *, interrupted: bool, planned: int) -> dict[str, Any]:
    """Put the finished runs together and write the tables and the plot."""
    by_choice: dict[str, list[tuple[Planned, Predictions]]] = {}
    for each in finished:
        part = read_csv(each.folder / "predictions.csv").select(SPLIT)
        by_choice.setdefault(each.choice, []).append((each, part))
    rows = [_choice_row(choice, group) for choice, group in by_choice.items()]
    images = _images(by_choice)
    against = _against_best(rows, by_choice)
    remarks = [*_best(rows, against), *_other_images(rows, by_choice)]
    if interrupted:
        remarks.append(f"interrupted after {len(finished)} of {counted(planned, 'run')}; the same command goes on")
    result = {
        "folder": str(folder),
        "split": SPLIT,
        "choices": rows,
        "against_best": against,
        "runs": [_run_row(each, part) for group in by_choice.values() for each, part in group],
        "images": [image for image in images if image["differs"]],
        "remarks": remarks,
        "interrupted": interrupted,
    }
    storage.make_folder(folder)
    storage.write_json(folder / "sweep.json", result)
    storage.write_text(folder / "sweep.csv", _csv(COLUMNS, [_table_row(row) for row in rows]))
    header = ("path", "label", *(row["choice"] for row in rows))
    shares = [(image["path"], image["label"], *image["right"].values()) for image in images]
    storage.write_text(folder / "images.csv", _csv(header, shares))
    if rows:
        storage.write_picture(folder / "sweep.png", dot_plot(rows, title=f"accuracy on {SPLIT}"))
    return result


def _choice_row(choice: str, group: Sequence[tuple[Planned, Predictions]]) -> dict[str, Any]:
    accuracies = [float(part.correct.mean()) for _, part in group]
    correct = np.concatenate([part.correct for _, part in group])
    # The same image in the runs of several seeds is one image: its answers belong to one group
    low, high, _ = accuracy_interval(correct, [name for _, part in group for name in part.groups])
    infos = [Run(each.folder).info for each, _ in group]
    mean = statistics.fmean(accuracies)
    return {
        "choice": choice,
        "runs": len(group),
        "accuracies": accuracies,
        "accuracy": mean,
        "sd": statistics.stdev(accuracies) if len(group) > 1 else None,
        "seeds_interval": _student_interval(accuracies),
        "images_interval": [low, high],
        "n": len(group[0][1]),
        "seconds": statistics.fmean(info["seconds"]["total"] for info in infos),
        "bytes": max((each.folder / "model.onnx").stat().st_size for each, _ in group),
    }


def _student_interval(values: Sequence[float], *, least: float = 0.0) -> list[float] | None:
    """95 % interval of the mean of a few runs, by Student's t (doi:10.1093/biomet/6.1.1), kept within `least` and 1."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return [max(least, mean - half), min(1.0, mean + half)]


def _run_row(planned: Planned, part: Predictions) -> dict[str, Any]:
    return {
        "folder": str(planned.folder),
        "choice": planned.choice,
        "seed": planned.recipe.seed,
        "accuracy": float(part.correct.mean()),
        "n": len(part),
    }


def _images(by_choice: Mapping[str, Sequence[tuple[Planned, Predictions]]]) -> list[dict[str, Any]]:
    """For each image the share of runs that have it right, choice by choice; those that differ most come first."""
    right: dict[str, dict[str, list[bool]]] = {}
    labels = {}
    for choice, group in by_choice.items():
        for _, part in group:
            for path, label, correct in zip(part.paths, part.labels.tolist(), part.correct.tolist(), strict=True):
                right.setdefault(path, {}).setdefault(choice, []).append(correct)
                labels[path] = part.classes[label]
    images = []
    for path, per_choice in right.items():
        # With a split of its own, each seed holds out other images
        shares = {
            choice: statistics.fmean(per_choice[choice]) if choice in per_choice else None for choice in by_choice
        }
        told = [share for share in shares.values() if share is not None]
        spread = max(told) - min(told)
        images.append({"path": path, "label": labels[path], "right": shares, "spread": spread, "differs": spread > 0})
    return sorted(images, key=lambda image: (-image["spread"], image["path"]))


def _against_best(
    rows: Sequence[dict[str, Any]], by_choice: Mapping[str, Sequence[tuple[Planned, Predictions]]]
) -> list[dict[str, Any]]:
    """Each other choice against the most accurate one, on the images that both answered with the same seed.

    {"choice", "n" (images that both answered), "difference" (best minus this, mean over seeds), "images_interval"
    (paired, over groups), "seeds_interval" (of the differences seed by seed; None for one seed), "told_apart": neither
    interval holds 0}. Differences are -1 to 1 and None where no image is shared.
    """
    ranked = sorted(rows, key=lambda row: -row["accuracy"])
    return [_difference(row["choice"], by_choice[row["choice"]], by_choice[ranked[0]["choice"]]) for row in ranked[1:]]


def _difference(
    choice: str, one: Sequence[tuple[Planned, Predictions]], best: Sequence[tuple[Planned, Predictions]]
) -> dict[str, Any]:
    of_seed = {planned.recipe.seed: part for planned, part in best}
    pairs = [_shared(part, of_seed[planned.recipe.seed]) for planned, part in one if planned.recipe.seed in of_seed]
    pairs = [(first, second) for first, second in pairs if len(first)]
    if not pairs:
        unknown = {"difference": None, "images_interval": None, "seeds_interval": None}
        return {"choice": choice, "n": 0, **unknown, "told_apart": False}
    first, second = (np.concatenate([pair[side].correct for pair in pairs]) for side in (0, 1))
    # The same image in the runs of several seeds is one image: its answers belong to one group
    low, high = paired_interval(first, second, [name for pair in pairs for name in pair[0].groups])
    each = [float(b.correct.mean() - a.correct.mean()) for a, b in pairs]
    difference = statistics.fmean(each)
    # As the accuracies, the difference is a mean over seeds, which may have held out more images or fewer; the
    # interval is that of all answers together, laid around it.
    aside = difference - float(second.mean() - first.mean())
    images = [max(-1.0, low + aside), min(1.0, high + aside)]
    seeds = _student_interval(each, least=-1.0)
    return {
        "choice": choice,
        "n": len({path for part, _ in pairs for path in part.paths}),
        "difference": difference,
        "images_interval": images,
        "seeds_interval": seeds,
        "told_apart": images[0] > 0 and (seeds is None or seeds[0] > 0),
    }


def _shared(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """The rows of the images that both have, in the same order."""
    rows = {path: row for row, path in enumerate(second.paths)}
    both = [(row, rows[path]) for row, path in enumerate(first.paths) if path in rows]
    return first.keep([row for row, _ in both]), second.keep([row for _, row in both])


def _best(rows: Sequence[dict[str, Any]], against: Sequence[dict[str, Any]]) -> list[str]:
    """Which choice was best, and from which others it cannot be told apart."""
    if len(rows) < 2:
        return []
    accuracy = {row["choice"]: percent(row["accuracy"]) for row in rows}
    ranked = sorted(rows, key=lambda row: -row["accuracy"])
    best = ranked[0]["choice"]
    unsure = [each for each in against if not each["told_apart"]]
    if not unsure:
        return [
            f"{best} was best ({accuracy[best]}), and was chosen on these images: on others expect a little less; "
            f"{_spoken(against[0])}"
        ]
    names = [f"{each['choice']} ({accuracy[each['choice']]})" for each in unsure[:NAMED]]
    if len(unsure) > NAMED:
        names.append(f"{len(unsure) - NAMED} more")
    # Choices of one accuracy are level, though their images may not be quite the same
    level = unsure[0]["choice"] in {row["choice"] for row in rows if row["accuracy"] == ranked[0]["accuracy"]}
    most = f"({accuracy[best]})" if level else f"has the most right answers ({accuracy[best]}), but"
    return [f"{best} {most} cannot be told apart from {_listed(names)}; {_spoken(unsure[0])}"]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _spoken(each: Mapping[str, Any]) -> str:
    """How much worse a choice was, in words."""
    if each["difference"] is None:
        return f"it shares no images with {each['choice']}"
    spans = [
        f"{100 * each[name][0]:+.1f} to {100 * each[name][1]:+.1f} {what}"
        for name, what in (("images_interval", "over the images"), ("seeds_interval", "over the seeds"))
        if each[name]
    ]
    return (
        f"the difference to {each['choice']} on the {counted(each['n'], 'image')} that both held out is "
        f"{100 * each['difference']:+.1f} points (95 % intervals: {', '.join(spans)})"
    )


def _other_images(
    rows: Sequence[dict[str, Any]], by_choice: Mapping[str, Sequence[tuple[Planned, Predictions]]]
) -> list[str]:
    """Where choices or seeds were not measured on the same images."""
    remarks = []
    if len({row["n"] for row in rows}) > 1:
        remarks.append("the choices were measured on different numbers of images")
    if any(len({frozenset(part.paths) for _, part in group}) > 1 for group in by_choice.values()):
        remarks.append(
            f"each seed splits anew and holds out other {SPLIT} images, so that the sd over seeds is also that of the "
            f"images; with a {SPLIT}/ folder it would be that of the training alone"
        )
    return remarks


def _table_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    seeds = row["seeds_interval"] or ("", "")
    sd = "" if row["sd"] is None else row["sd"]
    numbers = (row["n"], round(row["seconds"], 3), row["bytes"])
    return row["choice"], row["runs"], row["accuracy"], sd, *seeds, *row["images_interval"], *numbers


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in (header, *rows):
        writer.writerow([guard(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in row])
    return text.getvalue()
