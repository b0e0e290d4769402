"""Options: what several commands take, each defined once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def given(value: Path | None) -> Path | None:
    """A path as it was given. Raises BadParameter for an empty one, as of a variable of a shell that is not set."""
    # Typer hands over a Path, and that of nothing is the current folder
    here = [argument for argument in sys.argv[1:] if Path(argument) == Path()]
    if value == Path() and here and not any(here):
        raise typer.BadParameter("the path is empty")
    return value


Folder = Annotated[
    Path,
    typer.Argument(callback=given, help="The directory with one sub-directory per class, or train/ and validation/."),
]
Images = Annotated[list[str], typer.Argument(help="Images, folders, patterns in quotes, or - for paths on stdin.")]
RunOrModel = Annotated[Path, typer.Argument(callback=given, help="A run folder, or its model.onnx.")]

Validation = Annotated[
    Path | None, typer.Option(callback=given, help="Another directory of class folders, to validate on.")
]
Corrections = Annotated[
    Path | None,
    typer.Option(help="A CSV (path,label) that sets labels right; otherwise corrections.csv in the directory."),
]

Json = Annotated[bool, typer.Option("--json", help="Print the result, and nothing else, as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if any file had a problem.")]
