"""Writes docs/reference/ from the code, so that it cannot say anything else.

python docs/generate.py          # tests/test_documentation.py fails when a page is stale
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from fieldmark.cli import app
from fieldmark.images.augment import AUGMENTATIONS
from fieldmark.images.groups import GROUP_RULES
from fieldmark.images.problems import PROBLEMS
from fieldmark.networks.table import NETWORKS
from fieldmark.recipe import BY_NETWORK, CHOICES, Recipe, option
from fieldmark.report.panels import PANELS

REFERENCE = Path(__file__).parent / "reference"
COMMANDS = tuple(command.__name__ for command in app.COMMANDS)
NOTICE = "<!-- Written by docs/generate.py; change the code instead. -->\n"


def help_text(*command: str) -> str:
    """What `fieldmark COMMAND --help` prints, 100 characters wide."""
    done = subprocess.run(
        [sys.executable, "-m", "fieldmark", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row).replace("\n", " ") + " |" for row in [header, tuple("--" for _ in header), *rows]]
    return "\n".join(lines) + "\n"


def cell(text: object) -> str:
    """Text as a cell of a table may hold it."""
    return str(text).replace("|", "\\|")


def commands() -> str:
    """What every command's --help says."""
    parts = [f"# Commands\n\n```text\n{help_text()}\n```\n"]
    parts += [f"## fieldmark {name}\n\n```text\n{help_text(name)}\n```\n" for name in COMMANDS]
    return "\n".join(parts)


def recipe() -> str:
    """Every field of Recipe, and the networks' defaults."""
    rows = []
    for field in dataclasses.fields(Recipe):
        default = (
            "the network's" if field.name in BY_NETWORK else "–" if field.default is None else f"`{field.default}`"
        )
        choices = ", ".join(CHOICES.get(field.name, ()))
        meaning = field.metadata["meaning"] + (f" ({field.metadata['unit']})" if field.metadata["unit"] else "")
        rows.append((f"`{option(field.name)}`", cell(meaning), choices, default))
    networks = [
        (
            f"`{name}`",
            spec.meaning,
            *("–" if getattr(spec, field) is None else str(getattr(spec, field)) for field in BY_NETWORK),
        )
        for name, spec in NETWORKS.items()
    ]
    return (
        "# Recipe\n\nEvery choice of a training: an option of `fieldmark train`, a keyword of "
        "`fieldmark.train`, a field of `recipe.json`.\n\n"
        + table(("option", "meaning", "one of", "default"), rows)
        + "\n## Networks and their defaults\n\n"
        + table(("network", "what it is", *BY_NETWORK), networks)
        + "\nAugmentations: "
        + ", ".join(f"`{name}`" for name in AUGMENTATIONS)
        + ".\n"
    )


def problems() -> str:
    """Every problem code."""
    rows = [(f"`{code}`", kind.meaning, "yes" if kind.usable else "no") for code, kind in PROBLEMS.items()]
    return "# Problems\n\nWhy a file or folder is not used, or is used with a remark.\n\n" + table(
        ("code", "meaning", "used all the same"), rows
    )


def groups() -> str:
    """Every rule for file names."""
    rows = [
        (f"`{name}`", cell(meaning), f"`{cell(expression)}`") for name, (expression, meaning) in GROUP_RULES.items()
    ]
    return "# Groups\n\nRules that are looked for in file names, and believed only where the images agree.\n\n" + table(
        ("rule", "meaning", "expression"), rows
    )


def report() -> str:
    """Every panel and its question."""
    rows = [(panel.title, panel.question) for panel in PANELS.values()]
    return "# Report\n\n" + table(("panel", "the question it answers"), rows)


PAGES = {"commands": commands, "recipe": recipe, "problems": problems, "groups": groups, "report": report}


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / f"{name}.md").write_text(NOTICE + make(), encoding="utf-8")


if __name__ == "__main__":
    main()
