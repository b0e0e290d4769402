"""Dots: a plot of accuracy against a choice, every run a dot, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from fieldmark.images.samples import INK, PAPER, legible, write
from fieldmark.report.charts import ticks

# Up and down from the row's middle in pixels, so that runs as good as one another are all seen.
ASIDE = (0, -9, 9, -5, 5, -13, 13)
RADIUS = 5  # pixels of a dot
LABEL, PLOT, MARGIN = 220, 520, 24  # pixels
ROW, TITLE, AXIS = 40, 36, 56  # pixels
GRID, DOT, BAR = (205, 205, 208), (0, 114, 178), (230, 159, 0)  # blue and orange of Okabe and Ito


def dot_plot(rows: Sequence[dict[str, Any]], *, title: str) -> Image.Image:
    """One row a choice: a dot for each run, a stroke at the mean, a bar over the 95 % interval of the images.

    `rows` are those of `sweep.json`: {"choice", "accuracies", "accuracy", "images_interval"}, all 0-1.
    """
    ends = [end for row in rows for end in (*row["accuracies"], *row["images_interval"])]
    marks = ticks(min(ends), max(ends))
    height = TITLE + ROW * len(rows) + AXIS
    page = Image.new("RGB", (LABEL + PLOT + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(page)

    def across(share: float) -> float:
        return LABEL + MARGIN + PLOT * (share - marks[0]) / (marks[-1] - marks[0])

    write(page, title, (MARGIN, TITLE // 2), page.width - 2 * MARGIN, size=16)
    bottom = TITLE + ROW * len(rows)
    for mark in marks:
        draw.line((across(mark), TITLE, across(mark), bottom), GRID)
        write(page, f"{mark:.3g}", (round(across(mark)), bottom + 14), 60, size=13, anchor="mm")
    for number, row in enumerate(rows):
        middle = TITLE + ROW * number + ROW // 2
        write(page, legible(row["choice"], number + 1), (MARGIN, middle), LABEL - MARGIN, size=14)
        low, high = (across(end) for end in row["images_interval"])
        draw.line((low, middle, high, middle), BAR, width=4)
        places = sorted(across(accuracy) for accuracy in row["accuracies"])
        for x, aside in zip(places, dodged(places), strict=True):
            y = middle + aside
            draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), DOT, PAPER)
        draw.line((across(row["accuracy"]), middle - 12, across(row["accuracy"]), middle + 12), INK, width=2)
    legend = "dot: one run   stroke: mean   bar: 95 % interval over the images"
    write(page, legend, (LABEL + MARGIN, bottom + 40), PLOT, size=12)
    return page


def dodged(places: Sequence[float]) -> list[int]:
    """By how many pixels each dot is moved up or down; `places` are in order, in pixels. Dots that touch go apart.

    >>> dodged([10.0, 10.0, 12.0, 50.0])
    [0, -9, 9, 0]
    """
    moved: list[int] = []
    for number, place in enumerate(places):
        taken = [aside for x, aside in zip(places, moved, strict=False) if place - x < 2 * RADIUS]
        free = [aside for aside in ASIDE if aside not in taken]
        moved.append(free[0] if free else ASIDE[number % len(ASIDE)])
    return moved
