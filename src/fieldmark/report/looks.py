"""Looks: the panel on what the network looks at, in some of its mistakes and some right answers of each class.

One of the images is followed through the network: its feature maps, layer by layer.
"""

from __future__ import annotations

import numpy as np

from fieldmark.evaluation.mistakes import mistakes
from fieldmark.evaluation.predictions import Predictions
from fieldmark.report.context import Context, Data
from fieldmark.report.overlays import Look

LOOKED_AT = 12  # images, of which at most two thirds are mistakes
MOST_WRONG = 8


def resolve_looks(context: Context) -> Data:
    """Return images with what speaks for their answer; `skipped` says why there are none.

    `layers` has the feature maps of the surest right one (of the first, where none is right), or why it has none.
    """
    predictions, split = context.contents.predictions, context.contents.split
    if predictions is None or split is None:
        why = "this run holds no answers"
        return {"split": split, "method": "", "skipped": why, "images": [], "layers": {"skipped": why}}
    part = predictions.select(split)
    rows = chosen_rows(part)
    rivals = [_rival(part, row) for row in rows]
    looks = [Look(part.paths[row], int(part.predicted[row]), rival) for row, rival in zip(rows, rivals, strict=True)]
    drawn = context.overlays(looks)
    images = []
    if not drawn.skipped:
        thumbnails = context.thumbnails([look.path for look in looks])
        for row, look, overlay, thumbnail in zip(rows, looks, drawn.pictures, thumbnails, strict=True):
            images.append(
                {
                    "path": look.path,
                    "label": part.classes[part.labels[row]],
                    "predicted": part.classes[look.towards],
                    "against": part.classes[look.against],
                    "probability": float(part.probabilities[row, look.towards]),
                    "right": bool(part.correct[row]),
                    "thumbnail": thumbnail,
                    "overlay": overlay,
                }
            )
    return {
        "split": split,
        "method": drawn.method,
        "skipped": drawn.skipped,
        "images": images,
        "layers": _layers(context, part, rows),
    }


def _layers(context: Context, part: Predictions, rows: list[int]) -> Data:
    """The way of one image through the network, and what was answered."""
    if not rows:
        return {"skipped": "there is no image to follow"}
    right = [row for row in rows if part.correct[row]]
    row = max(right, key=lambda row: part.probabilities[row].max()) if right else rows[0]
    drawn = context.layers(part.paths[row])
    return {
        "path": part.paths[row],
        "thumbnail": context.thumbnails([part.paths[row]])[0] if not drawn.skipped else None,
        "label": part.classes[part.labels[row]],
        "predicted": part.classes[part.predicted[row]],
        "probability": float(part.probabilities[row].max()),
        "right": bool(part.correct[row]),
        "skipped": drawn.skipped,
        "total": drawn.total,
        "shown": drawn.shown,
    }


def chosen_rows(part: Predictions) -> list[int]:
    """The most confident mistakes first, then right answers of all classes in turn, evenly spread over each."""
    row_of = {path: row for row, path in enumerate(part.paths)}
    wrong = [row_of[row["path"]] for row in mistakes(part)[:MOST_WRONG]]
    right = []
    for label in range(len(part.classes)):
        rows = np.flatnonzero((part.labels == label) & part.correct)
        spread = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).round().astype(int))
        # From the middle outwards, so that one alone is not always the first file of its folder.
        outwards = np.argsort(np.abs(spread - len(rows) / 2), kind="stable")
        right.append(rows[spread[outwards]].tolist())
    turns = [rows[turn] for turn in range(LOOKED_AT) for rows in right if turn < len(rows)]
    return [*wrong, *turns[: LOOKED_AT - len(wrong)]]


def _rival(part: Predictions, row: int) -> int:
    """The class that the answer is held against: the true one of a mistake, else the next likeliest."""
    answer = int(part.predicted[row])
    if not part.correct[row]:
        return int(part.labels[row])
    others = [label for label in np.argsort(-part.probabilities[row], kind="stable").tolist() if label != answer]
    return int(others[0]) if others else answer
