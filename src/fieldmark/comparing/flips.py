"""Flips: the images on which two classifiers part, drawn with both answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import Image

from fieldmark.evaluation.metrics import percent
from fieldmark.images.samples import PAPER, legible, tile, write

FLIPS_DRAWN = 60
FLIP_COLUMNS = 6
THUMBNAIL, LINE, GAP = 160, 16, 8  # pixels


def flip_grid(found: dict[str, Any], files: dict[str, Path]) -> Image.Image:
    """The images that flipped, each with its label and both answers; of more than 60 the first of either way."""
    ways = [[flip for flip in found["flips"] if flip["better"] == better] for better in ("a", "b")]
    half = FLIPS_DRAWN // 2
    room = [max(half, FLIPS_DRAWN - len(ways[1])), max(half, FLIPS_DRAWN - len(ways[0]))]
    sections = [(way[:limit], len(way)) for way, limit in zip(ways, room, strict=True)]
    cell = THUMBNAIL + 3 * LINE + GAP
    rows = [max(1, math.ceil(len(shown) / FLIP_COLUMNS)) if shown else 0 for shown, _ in sections]
    width = GAP + FLIP_COLUMNS * (THUMBNAIL + GAP)
    page = Image.new("RGB", (width, sum(2 * LINE + count * cell for count in rows) + GAP), PAPER)
    top = 0
    titles = ("right with A, wrong with B", "wrong with A, right with B")
    classes = {name: number for number, name in enumerate(found["classes"], start=1)}
    for title, (shown, total), count in zip(titles, sections, rows, strict=True):
        some = f", the first {len(shown)} shown" if len(shown) < total else ""
        write(page, f"{title}: {total}{some}", (GAP, top + LINE), width - 2 * GAP, size=14)
        for number, flip in enumerate(shown):
            left = GAP + number % FLIP_COLUMNS * (THUMBNAIL + GAP)
            above = top + 2 * LINE + number // FLIP_COLUMNS * cell
            page.paste(tile(files[flip["path"]], THUMBNAIL)[0], (left, above))
            for line, text in enumerate(_flip_lines(flip, classes)):
                write(page, text, (left, above + THUMBNAIL + line * LINE + LINE // 2), THUMBNAIL, size=12)
        top += 2 * LINE + count * cell
    return page


def _flip_lines(flip: dict[str, Any], classes: dict[str, int]) -> list[str]:
    def name(label: str) -> str:
        return legible(label, classes.get(label, 0))

    return [
        f"is {name(flip['label'])}",
        f"A: {name(flip['a'])} {percent(flip['a_probability'])}",
        f"B: {name(flip['b'])} {percent(flip['b_probability'])}",
    ]
