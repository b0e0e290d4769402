"""Options: what several commands take, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path, typer.Argument(help="The directory with one sub-directory per class, or train/ and validation/.")
]
Images = Annotated[list[str], typer.Argument(help="Images, folders, patterns in quotes, or - for paths on stdin.")]
RunOrModel = Annotated[Path, typer.Argument(help="A run folder, or its model.onnx.")]

Validation = Annotated[Path | None, typer.Option(help="Another directory of class folders, to validate on.")]
Corrections = Annotated[
    Path | None,
    typer.Option(help="A CSV (path,label) that sets labels right; otherwise corrections.csv in the directory."),
]

Json = Annotated[bool, typer.Option("--json", help="Print the result, and nothing else, as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if any file had a problem.")]
