"""The command line: COMMANDS, one short function each; each imports its stage inside, so that `--help` is quick.

Results go to stdout (as JSON with --json), progress and remarks to stderr.
"""

from __future__ import annotations

import typer

from fieldmark.cli.answering import compare, evaluate, explain, predict, serve
from fieldmark.cli.datasets import audit, demo, samples
from fieldmark.cli.training import summary, sweep, train

# In the order of --help.
COMMANDS = (train, predict, evaluate, audit, explain, compare, sweep, serve, samples, summary, demo)

app = typer.Typer(
    help="Turn a folder of folders of images into a classifier you can trust, and show what it looks at.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
)
for command in COMMANDS:
    app.command()(command)
