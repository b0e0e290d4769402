"""Training: the commands that fit classifiers, and the networks they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fieldmark.cli.options import Corrections, Folder, Json, Quiet, Strict, Validation
from fieldmark.cli.output import INTERRUPTED, PROBLEM, show
from fieldmark.cli.recipe_options import METAVARS, meaning, numbers, recipe_options, sweep_options


@recipe_options
def train(
    *,
    directory: Folder,
    validation: Validation = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; otherwise runs/<directory>-<n>.")] = None,
    corrections: Corrections = None,
    cache_limit: Annotated[float, typer.Option(help="The cache may hold this much, in GB.")] = 20.0,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
    **choices: Any,
) -> int:
    """Train a classifier on a folder of folders of images."""
    from fieldmark import pipeline
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    progress = Progress(quiet=quiet)
    run = pipeline.train(
        directory,
        validation=validation,
        out=out,
        corrections=corrections,
        cache_limit_bytes=_gigabytes(cache_limit),
        progress=progress,
        on_audit=lambda found: progress.lines(text.audit_lines(found.to_json(), brief=True)),
        **choices,
    )
    show(
        as_json,
        {**run.metrics, "run": str(run.folder), "seconds": run.info["seconds"]},
        text.run_lines(run.folder),
    )
    if run.info["interrupted"]:
        return INTERRUPTED
    return PROBLEM if strict and text.unusable(run.audit["problems"]) else 0


def _gigabytes(number: float) -> int:
    """Bytes of a --cache-limit."""
    if not 0 <= number < 1e9:
        raise typer.BadParameter(f"--cache-limit {number}: expected a number of GB, such as 20")
    return int(number * 1e9)


@sweep_options
def sweep(
    *,
    directory: Folder,
    seeds: Annotated[int, typer.Option(help="Trainings of every choice, each with a seed of its own.", min=1)] = 3,
    validation: Validation = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder; otherwise sweeps/<directory>.")] = None,
    corrections: Corrections = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **choices: Any,
) -> int:
    """Train with every combination of choices (values between commas) and say what the choice changes.

    A sweep that was interrupted goes on where it stopped when the same command is given again.
    """
    from fieldmark.report import lines
    from fieldmark.sweeping import sweep as sweeping
    from fieldmark.training.progress import Progress

    found = sweeping.sweep(
        directory,
        validation=validation,
        seeds=seeds,
        out=out,
        corrections=corrections,
        progress=Progress(quiet=quiet),
        **choices,
    )
    show(as_json, found, lines.sweep_lines(found))
    return INTERRUPTED if found["interrupted"] else 0


def summary(
    *,
    network: Annotated[str, typer.Option(help="Which network.", metavar=METAVARS["network"])] = "course",
    image_size: Annotated[int | None, typer.Option(help=meaning("image_size"))] = None,
    channels: Annotated[str | None, typer.Option(help=meaning("channels"), metavar=METAVARS["channels"])] = None,
    classes: Annotated[int, typer.Option(help="How many classes the network tells apart.", min=2)] = 2,
    softmax: Annotated[bool, typer.Option("--softmax", help=meaning("softmax"))] = False,
    as_json: Json = False,
) -> None:
    """Print the journey of the shapes through a network, layer by layer, with its parameters."""
    from fieldmark.report import text
    from fieldmark.training.choices import choose
    from fieldmark.training.journey import network_summary

    choices = {"image_size": image_size, "channels": numbers(channels), "softmax": softmax}
    recipe, preprocessing = choose(network, choices)
    layers = network_summary(recipe, preprocessing, classes=classes)
    show(as_json, layers, text.summary_lines(layers))
