"""Output: results on stdout, remarks on stderr, and the exit codes that scripts rely on."""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any

import typer

from fieldmark.errors import OutputError

PROBLEM = 3  # the exit code for --strict, and for nothing usable
INTERRUPTED = 130


def show(as_json: bool, result: Any, lines: list[str]) -> None:
    """Print a result on stdout: as one JSON object, or as lines for people."""
    write(json.dumps(result, allow_nan=False) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


def write(text: str) -> None:
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


def remark(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{text}\n")
