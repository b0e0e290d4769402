"""Answering: the commands that use a finished classifier: predict, measure, explain, compare, serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fieldmark.cli.options import Corrections, Images, Json, Quiet, RunOrModel, Strict, given
from fieldmark.cli.output import PROBLEM, remark, show, write
from fieldmark.errors import RecipeError, missing_extra


def predict(
    *,
    classifier: RunOrModel,
    paths: Images,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also the folders inside of folders.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the answers as CSV.")] = False,
    strict: Strict = False,
    as_json: Json = False,
) -> int:
    """Classify images; answers come in the order given, one line each (with --json: one JSON object a line)."""
    from fieldmark.classifier import load
    from fieldmark.images.listing import list_images
    from fieldmark.report import text

    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json: one of them at a time")
    loaded = load(classifier)
    as_line = text.prediction_writer(loaded.classes, "json" if as_json else "csv" if as_csv else "text")
    count = problems = 0
    for prediction in loaded.stream(list_images(paths, recursive=recursive)):
        write(as_line(prediction.to_json(), prediction.detail))
        count += 1
        problems += prediction.problem is not None
    if problems:
        remark(f"{problems} of {count} files could not be used")
    if not count:
        remark("error: no image was found there\nhint: --recursive looks into the folders inside of folders, too")
    return PROBLEM if problems == count or (strict and problems) else 0


def evaluate(
    *,
    classifier: RunOrModel,
    directory: Annotated[Path, typer.Argument(callback=given, help="A directory with one sub-directory per class.")],
    corrections: Corrections = None,
    costs: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Of two classes: what an image of the first taken for the second costs, and the reverse, as in 1,10;"
            " says from which probability on the second should be answered.",
        ),
    ] = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Measure a classifier on labelled images."""
    from fieldmark import evaluating
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    numbers = evaluating.evaluate(
        classifier, directory, corrections=corrections, costs=_costs(costs), progress=Progress(quiet=quiet)
    )
    show(as_json, numbers, text.evaluation_lines(numbers))
    return PROBLEM if strict and text.unusable(numbers["problems"]) else 0


def _costs(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RecipeError(
            f"--costs {text}: expected two numbers with a comma between",
            hint="an example: --costs 1,10, where an image of the second class taken for the first is ten times as bad",
        ) from error
    return first, second


def explain(
    *,
    classifier: RunOrModel,
    images: Images,
    out: Annotated[Path, typer.Option(help="The new folder for the pictures and explain.json.")],
    label: Annotated[str | None, typer.Option(help="The class to explain. Default: the answer of each image.")] = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Show what a classifier looks at in images: overlays, occlusion, and the feature maps after every layer."""
    from fieldmark.explanation import explain as explanation
    from fieldmark.images.listing import list_images
    from fieldmark.report import lines
    from fieldmark.training.progress import Progress

    with Progress(quiet=quiet).stage("explain") as step:
        found = explanation.explain(classifier, list_images(images), out=out, label=label, on_progress=step)
    show(as_json, found, lines.explain_lines(found, out))
    if not found["images"]:
        remark("error: no image was found there\nhint: name images, or a folder that holds some")
    problems = sum(image["problem"] is not None for image in found["images"])
    return PROBLEM if problems == len(found["images"]) or (strict and problems) else 0


def compare(
    *,
    first: Annotated[Path, typer.Argument(callback=given, metavar="A", help="A run folder, or its model.onnx.")],
    second: Annotated[Path, typer.Argument(callback=given, metavar="B", help="Another one.")],
    directory: Annotated[
        Path | None,
        typer.Argument(callback=given, metavar="[DIR]", help="Class folders. Default: what both runs held out."),
    ] = None,
    corrections: Corrections = None,
    out: Annotated[Path | None, typer.Option(help="A folder for compare.json and flips.png.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare two classifiers on the same images: which is better, how sure that is, and which images flipped."""
    from fieldmark.comparing import compare as comparing
    from fieldmark.report import lines
    from fieldmark.training.progress import Progress

    found = comparing.compare(
        first, second, directory, corrections=corrections, out=out, progress=Progress(quiet=quiet)
    )
    show(as_json, found, lines.compare_lines(found))


def serve(
    *,
    classifier: RunOrModel,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for every network card.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 for any free one.", min=0, max=65_535)] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name under which others reach the server (name or name:port); may be repeated."),
    ] = None,
    https: Annotated[
        bool, typer.Option("--https", help="Others come by HTTPS, through a proxy, to the first name of --allow-host.")
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Answer images on a web page and over HTTP, until Ctrl-C.

    Prints the address with its token once it answers. FIELDMARK_TOKEN sets a token of your own, for scripts.
    """
    try:
        from fieldmark.serving import serve as serving
    except ImportError as error:
        raise missing_extra("fieldmark serve", error, extra="serve") from error

    serving.serve(
        classifier,
        host=host,
        port=port,
        allowed_hosts=allow_host or (),
        https=https,
        token=os.environ.get("FIELDMARK_TOKEN"),
        open_browser=open_browser,
        on_ready=lambda address: write(f"{address}\n"),
        on_warning=remark,
    )
