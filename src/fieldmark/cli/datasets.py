"""Datasets: the commands that look at images with their classes, before any classifier is there; and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldmark.cli.options import Corrections, Folder, Json, Quiet, Strict, Validation
from fieldmark.cli.output import PROBLEM, show
from fieldmark.cli.recipe_options import meaning


def audit(
    *,
    directory: Folder,
    validation: Validation = None,
    group_by: Annotated[str | None, typer.Option(help=meaning("group_by"))] = None,
    corrections: Corrections = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what needs embeddings: near-duplicates, wrong labels.")
    ] = False,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Say what is wrong with a dataset: files, copies, leaks, labels, shortcuts, image quality. No training."""
    from fieldmark import auditing
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    found = auditing.audit(
        directory,
        validation=validation,
        group_by=group_by,
        corrections=corrections,
        quick=quick,
        progress=Progress(quiet=quiet),
    ).to_json()
    show(as_json, found, text.check_lines(found))
    return PROBLEM if strict and text.unusable(found["problems"]) else 0


def samples(
    *,
    directory: Folder,
    out: Annotated[Path, typer.Option(help="The picture to write (.png or .jpg).")],
    per_class: Annotated[int, typer.Option(help="Images of each class.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Another number shows other images.")] = 0,
    corrections: Corrections = None,
    as_json: Json = False,
) -> None:
    """Show random images of every class as one picture."""
    from fieldmark import auditing
    from fieldmark.report import text

    shown = auditing.samples(directory, out, per_class=per_class, seed=seed, corrections=corrections)
    show(as_json, shown, text.samples_lines(shown))


def demo(
    out: Annotated[Path, typer.Option(help="The folder to work in.")] = Path("demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a dataset of happy and sad faces with a few planted faults, audit it, and train on it."""
    from fieldmark import pipeline
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    progress = Progress(quiet=quiet)
    faces = out / "faces"
    if not faces.exists():
        _draw(faces)
    progress.line(f"the demo dataset: {faces}")
    run = pipeline.train(
        faces,
        parent=out / "runs",
        progress=progress,
        on_audit=lambda found: progress.lines(text.audit_lines(found.to_json())),
    )
    show(
        as_json,
        {**run.metrics, "run": str(run.folder)},
        [*text.run_lines(run.folder), *text.next_steps(faces, run.folder)],
    )


def _draw(faces: Path) -> None:
    from fieldmark.images.demo import draw_demo
    from fieldmark.storage import atomic_folder

    # Whole or not at all, so that an interrupted drawing is not taken for the dataset.
    with atomic_folder(faces) as folder:
        draw_demo(folder)
