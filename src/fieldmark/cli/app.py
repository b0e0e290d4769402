"""The command line: COMMANDS, one short function each; each imports its stage inside, so that `--help` is quick.

Results go to stdout (as JSON with --json), progress and remarks to stderr.
"""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from fieldmark.cli.answering import compare, evaluate, explain, predict, serve
from fieldmark.cli.datasets import audit, demo, samples
from fieldmark.cli.output import remark, write
from fieldmark.cli.training import summary, sweep, train

USAGE = 2  # the exit code of a command line that names no command, as of any other that is incomplete

# In the order of --help.
COMMANDS = (train, predict, evaluate, audit, explain, compare, sweep, serve, samples, summary, demo)

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Turn a folder of folders of images into a classifier you can trust, and show what it looks at."""
    if version:
        write(f"fieldmark {metadata.version('fieldmark')}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        remark(context.get_help())  # on stderr: stdout holds results alone
        raise typer.Exit(USAGE)


for command in COMMANDS:
    app.command()(command)
