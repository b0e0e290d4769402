"""Mistaken: the panel on the wrong answers, their nearest training images, and what to photograph next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fieldmark.evaluation.mistakes import mistakes
from fieldmark.report.context import Context, Data
from fieldmark.report.overlays import Look

# A card with its thumbnail takes about 12 KB; the page stays small however bad a run was.
MISTAKES_SHOWN = {"test": 96, "validation": 96, "train": 24}
# Of so many mistakes of a split the nearest training images are shown as pictures: three more thumbnails each.
WITH_NEAREST = 24
# Of so many mistakes, of all splits together, the page shows what the network looked at: about 60 ms each.
LOOKED_AT = 40
KINDS_SHOWN = 6
IMAGES_OF_KIND = 6


def resolve_mistakes(context: Context) -> Data:
    """Return every wrong answer, split by split, the most confident first, and the kinds of those that were analysed.

    Each row of a split has what `mistakes.json` knows of it: `nearest`, `kind` and `words`, empty where nothing; and an
    `overlay` of what the network looked at. `kinds` are those of the split `analysed`, `others` has those of another.
    """
    predictions, stored = context.contents.predictions, context.contents.mistakes
    analyses = [stored, *stored.get("others", [])]
    first, *others = [{"analysed": one.get("split"), "kinds": _kinds(context, one)} for one in analyses]
    remarks = list(dict.fromkeys(remark for one in analyses for remark in one.get("remarks") or []))
    data: Data = {"splits": [], **first, "others": others, "kinds_shown": KINDS_SHOWN, "remarks": remarks}
    if predictions is None:
        return data
    held_out = sum(name in predictions.splits for name in MISTAKES_SHOWN if name != "train")
    details = {(one.get("split"), row["path"]): row for one in analyses for row in one.get("mistakes", [])}
    for split, limit in MISTAKES_SHOWN.items():
        part = predictions.select(split)
        if not len(part):
            continue
        row_of = {path: row for row, path in enumerate(part.paths)}
        rows = mistakes(part)
        images = context.thumbnails([row["path"] for row in rows[:limit]])
        for row, image in zip(rows, images + [None] * (len(rows) - len(images)), strict=True):
            place = row_of[row["path"]]
            of_label = part.probabilities[place, part.labels[place]]
            row |= {"label_probability": float(of_label), "thumbnail": image, "overlay": None}
            row |= _details(details.get((split, row["path"]), {}))
        _picture_nearest(context, rows[:WITH_NEAREST])
        looked_at = 0 if split == "train" else _look_at(context, part.classes, rows[: LOOKED_AT // held_out])
        known, shown = int((part.labels >= 0).sum()), min(limit, len(rows))
        counts = {"n": known, "wrong": len(rows), "shown": shown, "looked_at": looked_at}
        data["splits"].append({"split": split, **counts, "rows": rows})
    return data


def _look_at(context: Context, classes: Sequence[str], rows: list[Data]) -> int:
    """Draw what speaks for each answer rather than the truth; return of how many that is shown."""
    number = {name: label for label, name in enumerate(classes)}
    looks = [Look(row["path"], number[row["predicted"]], number[row["label"]]) for row in rows]
    for row, overlay in zip(rows, context.overlays(looks).pictures, strict=True):
        row["overlay"] = overlay
    return sum(row["overlay"] is not None for row in rows)


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
