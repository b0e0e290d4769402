"""The command line: one short function a command; each imports its stage inside, so that `--help` is quick.

Results go to stdout (as JSON with --json), progress and remarks to stderr.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldmark.errors import OutputError, missing_extra
from fieldmark.networks.table import NETWORKS
from fieldmark.recipe import BY_NETWORK, CHOICES, Recipe, option

app = typer.Typer(
    help="Turn a folder of folders of images into a classifier you can trust, and show what it looks at.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
)

Json = Annotated[bool, typer.Option("--json", help="Print the result, and nothing else, as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if any file had a problem.")]
Folder = Annotated[
    Path, typer.Argument(help="The directory with one sub-directory per class, or train/ and validation/.")
]
Corrections = Annotated[
    Path | None,
    typer.Option(help="A CSV (path,label) that sets labels right; otherwise corrections.csv in the directory."),
]
RunOrModel = Annotated[Path, typer.Argument(help="A run folder, or its model.onnx.")]
Validation = Annotated[Path | None, typer.Option(help="Another directory of class folders, to validate on.")]

PROBLEM = 3  # the exit code for --strict, and for nothing usable


def _help(field: str) -> str:
    """The help of a recipe's field: its meaning, its choices or unit, where its default comes from."""
    found = next(each for each in dataclasses.fields(Recipe) if each.name == field)
    meaning: str = found.metadata["meaning"]
    unit = found.metadata["unit"]
    text = meaning[0].upper() + meaning[1:] + (f" ({unit})" if unit else "") + "."
    return f"{text} Default: the network's." if field in BY_NETWORK else text


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """Numbers between commas, as --channels takes them."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text}: expected whole numbers between commas, such as 16,32,64") from None


def _several(field: dataclasses.Field[Any]) -> Callable[[str | None], Any]:
    """A reader for one option of a sweep: a list between commas (channels: between slashes), or the default."""
    read: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "bool": _yes_or_no,
        "tuple[int, ...]": _numbers,
    }
    kind = str(field.type).removesuffix(" | None")
    separator = "/" if field.name == "channels" else ","

    def values(text: str | None) -> Any:
        if text is None:
            return field.default
        # A regular expression may hold commas itself
        parts = [text] if field.name == "group_by" else text.split(separator)
        try:
            found = [read.get(kind, str)(part.strip()) for part in parts]
        except ValueError:
            wanted = "yes or no" if kind == "bool" else f"values ({kind})"
            raise typer.BadParameter(f"{option(field.name)} {text}: expected {wanted} between commas") from None
        return found if len(found) > 1 else found[0]

    return values


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError(text)
    return text.lower() == "yes"


def _sweep_parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    """The command-line option of one field of Recipe that takes several values."""
    several = "16,32/16,32,64" if field.name == "channels" else "yes,no" if field.name == "softmax" else "A,B,..."
    declared = typer.Option(
        option(field.name),
        help=_help(field.name),
        metavar="TEXT" if field.name == "group_by" else "N" if field.name == "seed" else several,
        callback=_several(field),
    )
    annotation = Annotated[str | None, declared]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _recipe_parameter(field: dataclasses.Field[Any]) -> inspect.Parameter:
    """The command-line option of one field of Recipe."""
    kind = str | None if field.name == "channels" else _KINDS[str(field.type)]
    metavars = {"channels": "16,32,64", "network": "|".join(NETWORKS)}
    metavar = metavars.get(field.name) or "|".join(CHOICES.get(field.name, ())) or None
    callback = _numbers if field.name == "channels" else None
    declared = typer.Option(option(field.name), help=_help(field.name), metavar=metavar, callback=callback)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=Annotated[kind, declared],
    )


_KINDS: dict[str, Any] = {
    "bool": bool,
    "str": str,
    "str | None": str | None,
    "int": int,
    "int | None": int | None,
    "float": float,
    "float | None": float | None,
}


def _show(as_json: bool, result: Any, lines: list[str]) -> None:
    """Print a result on stdout: as one JSON object, or as lines for people."""
    _write(json.dumps(result, allow_nan=False) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


def _write(text: str) -> None:
    """Write to stdout at once. A reader who has left ends the command quietly; a full disk is said in words."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            raise typer.Exit(0) from error
        raise OutputError(f"cannot write the result to stdout: {error.strerror}") from error


def _gigabytes(number: float) -> int:
    """Bytes of a --cache-limit."""
    if not 0 <= number < 1e9:
        raise typer.BadParameter(f"--cache-limit {number}: expected a number of GB, such as 20")
    return int(number * 1e9)


def recipe_options(
    command: Callable[..., Any], parameter: Callable[[dataclasses.Field[Any]], inspect.Parameter] = _recipe_parameter
) -> Callable[..., Any]:
    """Give a command one option for each field of Recipe, passed on as keyword arguments."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    fields = [parameter(field) for field in dataclasses.fields(Recipe)]

    @functools.wraps(command)
    def run(**arguments: Any) -> Any:
        return command(**arguments)

    run.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *fields)}
    return run


@app.command()
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
    _show(
        as_json,
        {**run.metrics, "run": str(run.folder), "seconds": run.info["seconds"]},
        text.run_lines(run.folder),
    )
    if run.info["interrupted"]:
        return 130
    return PROBLEM if strict and text.unusable(run.audit["problems"]) else 0


@app.command()
def predict(
    *,
    classifier: RunOrModel,
    paths: Annotated[list[str], typer.Argument(help="Images, folders, patterns in quotes, or - for paths on stdin.")],
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
    write = text.prediction_writer(loaded.classes, "json" if as_json else "csv" if as_csv else "text")
    count = problems = 0
    for prediction in loaded.stream(list_images(paths, recursive=recursive)):
        _write(write(prediction.to_json(), prediction.detail))
        count += 1
        problems += prediction.problem is not None
    if problems:
        sys.stderr.write(f"{problems} of {count} files could not be used\n")
    if not count:
        sys.stderr.write(
            "error: no image was found there\nhint: --recursive looks into the folders inside of folders, too\n"
        )
    return PROBLEM if problems == count or (strict and problems) else 0


@app.command()
def evaluate(
    *,
    classifier: RunOrModel,
    directory: Annotated[Path, typer.Argument(help="A directory with one sub-directory per class.")],
    corrections: Corrections = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Measure a classifier on labelled images."""
    from fieldmark import pipeline
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    numbers = pipeline.evaluate(classifier, directory, corrections=corrections, progress=Progress(quiet=quiet))
    _show(as_json, numbers, text.evaluation_lines(numbers))
    return PROBLEM if strict and text.unusable(numbers["problems"]) else 0


@app.command()
def audit(
    *,
    directory: Folder,
    validation: Validation = None,
    group_by: Annotated[str | None, typer.Option(help=_help("group_by"))] = None,
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
    _show(as_json, found, text.check_lines(found))
    return PROBLEM if strict and text.unusable(found["problems"]) else 0


@app.command()
def explain(
    *,
    classifier: RunOrModel,
    images: Annotated[list[str], typer.Argument(help="Images, folders, patterns in quotes, or - for paths on stdin.")],
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
    _show(as_json, found, lines.explain_lines(found, out))
    if not found["images"]:
        sys.stderr.write("error: no image was found there\nhint: name images, or a folder that holds some\n")
    problems = sum(image["problem"] is not None for image in found["images"])
    return PROBLEM if problems == len(found["images"]) or (strict and problems) else 0


@app.command()
def compare(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help="A run folder, or its model.onnx.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Class folders. Default: what both runs held out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for compare.json and flips.png.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare two classifiers on the same images: which is better, how sure that is, and which images flipped."""
    from fieldmark import comparing
    from fieldmark.report import lines
    from fieldmark.training.progress import Progress

    found = comparing.compare(first, second, directory, out=out, progress=Progress(quiet=quiet))
    _show(as_json, found, lines.compare_lines(found))


@app.command()
@functools.partial(recipe_options, parameter=_sweep_parameter)
def sweep(
    *,
    directory: Folder,
    seeds: Annotated[int, typer.Option(help="Trainings of every choice, each with a seed of its own.", min=1)] = 3,
    validation: Validation = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder; otherwise sweeps/<directory>.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **choices: Any,
) -> int:
    """Train with every combination of choices (values between commas) and say what the choice changes.

    A sweep that was interrupted goes on where it stopped when the same command is given again.
    """
    from fieldmark import sweeping
    from fieldmark.report import lines
    from fieldmark.training.progress import Progress

    found = sweeping.sweep(
        directory, validation=validation, seeds=seeds, out=out, progress=Progress(quiet=quiet), **choices
    )
    _show(as_json, found, lines.sweep_lines(found))
    return 130 if found["interrupted"] else 0


@app.command()
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
        on_ready=lambda address: _write(f"{address}\n"),
        on_warning=lambda line: sys.stderr.write(f"{line}\n"),
    )


@app.command()
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
    from fieldmark import pipeline
    from fieldmark.report import text

    shown = pipeline.samples(directory, out, per_class=per_class, seed=seed, corrections=corrections)
    _show(as_json, shown, text.samples_lines(shown))


@app.command()
def summary(
    *,
    network: Annotated[str, typer.Option(help="Which network.", metavar="|".join(NETWORKS))] = "course",
    image_size: Annotated[int | None, typer.Option(help=_help("image_size"))] = None,
    channels: Annotated[str | None, typer.Option(help=_help("channels"), metavar="16,32,64")] = None,
    classes: Annotated[int, typer.Option(help="How many classes the network tells apart.", min=2)] = 2,
    softmax: Annotated[bool, typer.Option("--softmax", help=_help("softmax"))] = False,
    as_json: Json = False,
) -> None:
    """Print the journey of the shapes through a network, layer by layer, with its parameters."""
    from fieldmark.report import text
    from fieldmark.training.choices import choose
    from fieldmark.training.journey import network_summary

    choices = {"image_size": image_size, "channels": _numbers(channels), "softmax": softmax}
    recipe, preprocessing = choose(network, choices)
    layers = network_summary(recipe, preprocessing, classes=classes)
    _show(as_json, layers, text.summary_lines(layers))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to work in.")] = Path("demo"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a dataset of happy and sad faces with a few planted faults, audit it, and train on it."""
    from fieldmark import pipeline, storage
    from fieldmark.images.demo import draw_demo
    from fieldmark.report import text
    from fieldmark.training.progress import Progress

    progress = Progress(quiet=quiet)
    faces = out / "faces"
    if not faces.exists():
        # Under another name until it is whole, so that an interrupted drawing is not taken for the dataset.
        unfinished = Path(tempfile.mkdtemp(prefix=".faces-", dir=storage.make_folder(out)))
        draw_demo(unfinished)
        unfinished.rename(faces)
    progress.line(f"the demo dataset: {faces}")
    run = pipeline.train(
        faces,
        parent=out / "runs",
        progress=progress,
        on_audit=lambda found: progress.lines(text.audit_lines(found.to_json())),
    )
    _show(
        as_json,
        {**run.metrics, "run": str(run.folder)},
        [*text.run_lines(run.folder), *text.next_steps(faces, run.folder)],
    )
