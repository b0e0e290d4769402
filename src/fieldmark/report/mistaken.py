"""Mistaken: the panel on the wrong answers, their nearest training images, and what to photograph next."""

from __future__ import annotations

from typing import Any

from fieldmark.evaluation.mistakes import mistakes
from fieldmark.report.context import Context, Data

# A card with its thumbnail takes about 12 KB; the page stays small however bad a run was.
MISTAKES_SHOWN = {"test": 96, "validation": 96, "train": 24}
# Of so many mistakes the nearest training images are shown as pictures: three more thumbnails each.
WITH_NEAREST = 24
KINDS_SHOWN = 6
IMAGES_OF_KIND = 6


def resolve_mistakes(context: Context) -> Data:
    """Return every wrong answer, split by split, the most confident first, and the kinds of those that were analysed.

    Each row of a split has what `mistakes.json` knows of it: `nearest`, `kind` and `words`, empty where nothing.
    """
    predictions, analysed = context.contents.predictions, context.contents.mistakes
    data: Data = {"splits": [], "kinds": _kinds(context, analysed), "analysed": analysed.get("split")}
    data |= {"kinds_shown": KINDS_SHOWN, "remarks": analysed.get("remarks") or []}
    if predictions is None:
        return data
    row_of = {path: row for row, path in enumerate(predictions.paths)}
    label_of = {name: label for label, name in enumerate(predictions.classes)}
    details = {row["path"]: row for row in analysed.get("mistakes", [])}
    for split, limit in MISTAKES_SHOWN.items():
        part = predictions.select(split)
        if not len(part):
            continue
        rows = mistakes(part)
        images = context.thumbnails([row["path"] for row in rows[:limit]])
        for row, image in zip(rows, images + [None] * (len(rows) - len(images)), strict=True):
            of_label = predictions.probabilities[row_of[row["path"]], label_of[row["label"]]]
            row |= {"label_probability": float(of_label), "thumbnail": image}
            row |= _details(details.get(row["path"], {}) if split == analysed.get("split") else {})
        _picture_nearest(context, rows[:WITH_NEAREST])
        known, shown = int((part.labels >= 0).sum()), min(limit, len(rows))
        data["splits"].append({"split": split, "n": known, "wrong": len(rows), "shown": shown, "rows": rows})
    return data


def _details(known: dict[str, Any]) -> Data:
    nearest = [{**one, "thumbnail": None} for one in known.get("nearest") or []]
    return {"kind": known.get("kind"), "words": known.get("words") or [], "nearest": nearest}


def _picture_nearest(context: Context, rows: list[Data]) -> None:
    nearest = [one for row in rows for one in row["nearest"]]
    for one, image in zip(nearest, context.thumbnails([one["path"] for one in nearest]), strict=True):
        one["thumbnail"] = image


def _kinds(context: Context, analysed: dict[str, Any]) -> list[Data]:
    """The kinds in the order of what to photograph next, each with thumbnails of some of its images."""
    kinds = []
    for place, kind in enumerate(analysed.get("kinds") or []):
        paths = kind["paths"][:IMAGES_OF_KIND] if place < KINDS_SHOWN else []
        kinds.append(kind | {"thumbnails": context.thumbnails(paths)})
    return kinds
