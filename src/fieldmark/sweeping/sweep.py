"""Sweeping: one choice of a recipe after another, each with several seeds, and what the choice changes.

    fieldmark sweep photos/ --network course --image-size 75,150,300 --seeds 3

Every training is a normal run in a folder of its own, so that an interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldmark import pipeline, storage
from fieldmark.auditing import inspect
from fieldmark.errors import DatasetError, RecipeError
from fieldmark.evaluation.predictions import read_csv
from fieldmark.images.names import counted
from fieldmark.report.dots import dot_plot
from fieldmark.runs import Run
from fieldmark.storage import guard
from fieldmark.sweeping.plan import Planned, is_finished, plan_sweep, remove_unfinished
from fieldmark.sweeping.remarks import name_best, other_images
from fieldmark.sweeping.table import SPLIT, Answered, against_best, choice_row, image_rows, run_row
from fieldmark.training.progress import Progress

COLUMNS = (
    *("choice", "runs", "accuracy", "sd", "seeds_low", "seeds_high", "images_low", "images_high"),
    *("n", "seconds", "bytes"),
)


def sweep(
    directory: str | Path,
    *,
    validation: str | Path | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    corrections: str | Path | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> dict[str, Any]:
    """Train every combination of the choices with every seed; return one table of what came out.

    `choices` are fields of Recipe; a list (of channels: a list of tuples) means each of its values in turn. The seeds
    are `seed` (0) and those that follow. `corrections` is a table that sets labels right, as in a training. Runs go
    to `out`/<choice>_seed-<n>, by default sweeps/<directory>; there, a finished run of the same recipe and images is
    kept, an unfinished one is trained again. Besides the runs `out` holds sweep.json, sweep.csv (a row a choice),
    images.csv (a row an image) and sweep.png.

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
    found = inspect(
        root,
        plan[0].preprocessing,
        validation=validation,
        group_by=plan[0].recipe.group_by,
        corrections=corrections,
        progress=progress,
    )
    learn = functools.partial(pipeline.train, root, validation=validation, corrections=corrections)
    if not len(found.dataset.rows(SPLIT)) and any(not each.recipe.validation_fraction for each in plan):
        raise DatasetError(
            "without validation images there is nothing to compare the choices by",
            hint="leave out --validation-fraction 0",
        )
    done = {each.folder: is_finished(each, found.dataset.fingerprint) for each in plan}
    finished: list[Planned] = []
    for number, each in enumerate(plan, start=1):
        kept = done[each.folder]
        progress.line(f"{number}/{len(plan)}  {each.folder.name}{'  (kept)' if kept else ''}")
        if not kept and not _trained(each, learn, Progress(quiet=progress.quiet)):
            break
        finished.append(each)
    return _written(folder, finished, planned=len(plan))


def _trained(planned: Planned, learn: Callable[..., Run], progress: Progress) -> bool:
    """Train; whether that came to its end."""
    remove_unfinished(planned.folder)
    run = learn(out=planned.folder, progress=progress, **planned.choices)
    return not run.info["interrupted"]


def _written(folder: Path, finished: Sequence[Planned], *, planned: int) -> dict[str, Any]:
    """Put the finished runs together and write the tables and the plot."""
    interrupted = len(finished) < planned
    by_choice: dict[str, list[Answered]] = {}
    for each in finished:
        part = read_csv(each.folder / "predictions.csv").select(SPLIT)
        by_choice.setdefault(each.choice, []).append((each, part))
    rows = [choice_row(choice, group) for choice, group in by_choice.items()]
    images = image_rows(by_choice)
    against = against_best(rows, by_choice)
    remarks = [*name_best(rows, against), *other_images(rows, by_choice)]
    if interrupted:
        remarks.append(f"interrupted after {len(finished)} of {counted(planned, 'run')}; the same command goes on")
    result = {
        "folder": str(folder),
        "split": SPLIT,
        "choices": rows,
        "against_best": against,
        "runs": [run_row(each, part) for group in by_choice.values() for each, part in group],
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
