"""Panels: the parts of the report. Each answers one question from plain data, which also stand as JSON.

A new panel is an entry of `PANELS`, a function that resolves its data and a template that draws them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from fieldmark.evaluation.mistakes import mistakes, most_confused
from fieldmark.images.problems import PROBLEMS
from fieldmark.recipe import Recipe
from fieldmark.report.contents import SPLITS, Contents
from fieldmark.report.headline import headline
from fieldmark.report.thumbnails import Thumbnail

Data = dict[str, Any]

# More classes than this make a table of pairs more readable than a matrix.
MATRIX_CLASSES = 16
PAIRS_SHOWN = 50
EXAMPLES_SHOWN = 20
# A card with its thumbnail takes about 12 KB; the page stays small however bad a run was.
MISTAKES_SHOWN = {"test": 96, "validation": 96, "train": 24}


@dataclasses.dataclass(frozen=True)
class Context:
    """What a panel may look at: the run folder's contents, and thumbnails of the images it names."""

    contents: Contents
    thumbnails: Callable[[Sequence[str]], list[Thumbnail | None]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One part of the report: `resolve` gives plain data (JSON knows all of it), `template` draws them."""

    title: str
    question: str
    resolve: Callable[[Context], Data]
    template: str


def resolve_headline(context: Context) -> Data:
    """See `fieldmark.report.headline`."""
    return headline(context.contents)


def resolve_dataset(context: Context) -> Data:
    """Count the images of each class and split, and sum up the audit."""
    contents, audit = context.contents, context.contents.audit
    counts = contents.counts or {name: {"": n} for name, n in audit.get("classes", {}).items()}
    classes: list[Data] = [
        {"name": name, "counts": counts[name], "total": sum(counts[name].values())}
        for name in contents.classes
        if name in counts
    ]
    splits = [split for split in ("", *SPLITS) if any(split in of_class for of_class in counts.values())]
    return {
        "classes": classes,
        "splits": splits,
        "totals": {split: sum(row["counts"].get(split, 0) for row in classes) for split in splits},
        "images": sum(row["total"] for row in classes),
        "largest": max((row["total"] for row in classes), default=0),
        "groups": {name: audit.get("groups", {}).get(name) for name in ("rule", "count", "meaning")},
        "problems": _problems_by_code(audit.get("problems", [])),
        "duplicates": _with_examples(audit.get("duplicates", [])),
        "leaks": _with_examples(audit.get("leaks", [])),
        "remarks": audit.get("remarks", []),
        "audited": bool(audit),
    }


def resolve_learning(context: Context) -> Data:
    """Return the curves of loss and accuracy over the epochs, and the gap between training and validation."""
    history = context.contents.history
    loss = [_series(history, split, "loss") for split in ("train", "validation")]
    accuracy = [_series(history, split, "accuracy") for split in ("train", "validation")]
    charts = [_chart("Loss", loss, share=False), _chart("Accuracy", accuracy, share=True)] if history else []
    seconds = [row["seconds"] for row in history if row["seconds"] is not None]
    return {
        "epochs": len(history),
        "seconds": sum(seconds) if seconds else None,
        "charts": charts,
        "history": history,
        "overfitting": context.contents.metrics.get("overfitting") or {},
        "choices": context.contents.run.get("choices", []),
    }


def resolve_confusion(context: Context) -> Data:
    """Return what each class was taken for, on the headline split."""
    contents, split = context.contents, context.contents.split
    if split is None:
        return {"split": None}
    numbers, predictions = contents.metrics[split], contents.predictions
    pairs = most_confused(predictions.select(split)) if predictions is not None else []
    return {
        "split": split,
        "n": numbers["n"],
        "classes": numbers["classes"],
        "confusion": numbers["confusion"],
        "per_class": numbers["per_class"],
        "positive_class": numbers.get("positive_class"),
        "as_matrix": len(numbers["classes"]) <= MATRIX_CLASSES,
        "most_confused": pairs,
        "pairs_shown": min(len(pairs), PAIRS_SHOWN),
    }


def resolve_mistakes(context: Context) -> Data:
    """Return every wrong answer, split by split, the most confident first, with thumbnails of those shown."""
    predictions = context.contents.predictions
    if predictions is None:
        return {"splits": []}
    row_of = {path: row for row, path in enumerate(predictions.paths)}
    label_of = {name: label for label, name in enumerate(predictions.classes)}
    splits = []
    for split, limit in MISTAKES_SHOWN.items():
        part = predictions.select(split)
        if not len(part):
            continue
        rows = mistakes(part)
        images = context.thumbnails([row["path"] for row in rows[:limit]])
        for row, image in zip(rows, images + [None] * (len(rows) - len(images)), strict=True):
            of_label = predictions.probabilities[row_of[row["path"]], label_of[row["label"]]]
            row |= {"label_probability": float(of_label), "thumbnail": image}
        known, shown = int((part.labels >= 0).sum()), min(limit, len(rows))
        splits.append({"split": split, "n": known, "wrong": len(rows), "shown": shown, "rows": rows})
    return {"splits": splits}


def resolve_reproduce(context: Context) -> Data:
    """Return all that it takes to make the same run again."""
    run = context.contents.run
    fields = {field.name: field.metadata for field in dataclasses.fields(Recipe)}
    return {
        "command": run.get("command"),
        "facts": {
            "Dataset": run.get("root"),
            "Dataset fingerprint": run.get("dataset_fingerprint"),
            "Classifier SHA-256": run.get("model_sha256"),
            "Seed": run.get("seed"),
            "Fieldmark": run.get("fieldmark"),
        },
        "recipe": [
            {"name": name, "value": value, "unit": fields[name]["unit"], "meaning": fields[name]["meaning"]}
            if name in fields
            else {"name": name, "value": value, "unit": "", "meaning": ""}
            for name, value in context.contents.recipe.items()
        ],
        "seconds": run.get("seconds") or {},
        "versions": run.get("versions") or {},
        "hardware": run.get("hardware") or {},
    }


def ticks(low: float, high: float, *, at_most: int = 5) -> list[float]:
    """Return round numbers, 1, 2 or 5 apart (times a power of ten), that span `low` to `high`.

    >>> ticks(0.0, 0.83)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = max((high - low) or abs(high) or 1.0, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / at_most))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if span / step <= at_most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1)]


def _series(history: list[dict[str, float | None]], split: str, what: str) -> Data:
    points = [[row["epoch"] or number, row[f"{split}_{what}"]] for number, row in enumerate(history, start=1)]
    values = [value for _, value in points if value is not None]
    return {"name": split, "points": points, "last": values[-1] if values else None}


def _chart(title: str, series: list[Data], *, share: bool) -> Data:
    values = [value for line in series for _, value in line["points"] if value is not None]
    epochs = [epoch for line in series for epoch, _ in line["points"]]
    every = max(1, math.ceil((epochs[-1] - epochs[0]) / 6))
    marked = sorted({epochs[0], *(epoch for epoch in epochs if not epoch % every)})
    return {
        "title": title,
        "share": share,
        "series": [line for line in series if line["last"] is not None],
        "ticks": ticks(min(values, default=0) if share else 0, 1 if share else max(values, default=1)),
        "epoch_ticks": marked,
        "last_epoch": epochs[-1],
    }


def _problems_by_code(problems: list[dict[str, str]]) -> list[Data]:
    codes: dict[str, list[dict[str, str]]] = {}
    for problem in problems:
        codes.setdefault(problem["code"], []).append(problem)
    return [
        {
            "code": code,
            "meaning": PROBLEMS[code].meaning if code in PROBLEMS else "",
            "used": code in PROBLEMS and PROBLEMS[code].usable,
            "count": len(found),
            "examples": found[:EXAMPLES_SHOWN],
        }
        for code, found in sorted(codes.items(), key=lambda item: -len(item[1]))
    ]


def _with_examples(found: list[Any]) -> Data:
    return {"count": len(found), "examples": found[:EXAMPLES_SHOWN]}


# In the order of the page.
PANELS: dict[str, Panel] = {
    "headline": Panel(
        title="In short",
        question="What is it, and how good?",
        resolve=resolve_headline,
        template="headline.html",
    ),
    "dataset": Panel(
        title="Dataset",
        question="What did it learn from, and what is wrong with it?",
        resolve=resolve_dataset,
        template="dataset.html",
    ),
    "learning": Panel(
        title="Learning",
        question="Did it learn the subject, or the images by heart?",
        resolve=resolve_learning,
        template="learning.html",
    ),
    "confusion": Panel(
        title="Confusion",
        question="Which classes does it take for which?",
        resolve=resolve_confusion,
        template="confusion.html",
    ),
    "mistakes": Panel(
        title="Mistakes",
        question="Which images does it get wrong?",
        resolve=resolve_mistakes,
        template="mistakes.html",
    ),
    "reproduce": Panel(
        title="Reproduce",
        question="How can I get the same result again?",
        resolve=resolve_reproduce,
        template="reproduce.html",
    ),
}
