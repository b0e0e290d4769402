"""Panels: the parts of the report. Each answers one question from plain data, which also stand as JSON.

A new panel is an entry of `PANELS`, a function that resolves its data and a template that draws them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from fieldmark.evaluation.mistakes import most_confused
from fieldmark.images.dataset import SPLITS
from fieldmark.images.problems import PROBLEMS
from fieldmark.recipe import Recipe
from fieldmark.report.charts import learning_charts
from fieldmark.report.context import Context, Data
from fieldmark.report.findings import resolve_checks
from fieldmark.report.headline import headline
from fieldmark.report.looks import resolve_looks
from fieldmark.report.mistaken import resolve_mistakes
from fieldmark.report.trust import other_choices, resolve_calibration, resolve_learning_curve, resolve_unfamiliar

# More classes than this make a table of pairs more readable than a matrix.
MATRIX_CLASSES = 16
PAIRS_SHOWN = 50
EXAMPLES_SHOWN = 20
# Sample images of a class, and of all classes together.
SAMPLES, SAMPLED_IMAGES = 6, 36


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
        "no_leaks": _no_leaks(audit),
        "remarks": audit.get("remarks", []),
        "audited": bool(audit),
        "samples": _samples(context),
    }


def resolve_learning(context: Context) -> Data:
    """Return the curves of loss and accuracy over the epochs, and the gap between training and validation."""
    history = context.contents.history
    seconds = [row["seconds"] for row in history if row["seconds"] is not None]
    return {
        "epochs": len(history),
        "seconds": sum(seconds) if seconds else None,
        "charts": learning_charts(history),
        "history": history,
        "overfitting": context.contents.metrics.get("overfitting") or {},
        "choices": other_choices(context.contents.run.get("choices", [])),
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


def _samples(context: Context) -> list[Data]:
    """Some training images of each class, evenly spread over its files."""
    predictions = context.contents.predictions
    if predictions is None:
        return []
    each = min(SAMPLES, max(3, SAMPLED_IMAGES // max(1, len(predictions.classes))))
    samples = []
    for label, name in enumerate(predictions.classes[: SAMPLED_IMAGES // 3]):
        rows = [row for row in np.flatnonzero(predictions.labels == label) if predictions.splits[row] == "train"]
        spread = np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(int))
        paths = [predictions.paths[rows[place]] for place in spread]
        samples.append({"name": name, "paths": paths, "thumbnails": context.thumbnails(paths)})
    return [sample for sample in samples if sample["paths"]]


def _no_leaks(audit: dict[str, Any]) -> str:
    """What a search for leaks that found none may say; without the checks, near-duplicates were not looked for."""
    answers = [check["answer"] for check in audit.get("checks") or [] if check["name"] == "leaks"]
    return (
        answers[0]
        if answers
        else ("No image outside of training belongs together with a training image. Near-duplicates were not searched.")
    )


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
    "calibration": Panel(
        title="Calibration",
        question="When it says 90\N{NO-BREAK SPACE}%, is it right nine times of ten?",
        resolve=resolve_calibration,
        template="calibration.html",
    ),
    "mistakes": Panel(
        title="Mistakes",
        question="Which images does it get wrong, and what should I photograph next?",
        resolve=resolve_mistakes,
        template="mistakes.html",
    ),
    "looks": Panel(
        title="Looks",
        question="What does it look at?",
        resolve=resolve_looks,
        template="looks.html",
    ),
    "unfamiliar": Panel(
        title="Unfamiliar",
        question="Does it notice what it has never seen?",
        resolve=resolve_unfamiliar,
        template="unfamiliar.html",
    ),
    "checks": Panel(
        title="Shortcuts",
        question="Can the class be told from what should not matter, and what else could mislead it?",
        resolve=resolve_checks,
        template="checks.html",
    ),
    "learning_curve": Panel(
        title="More images",
        question="Would more images help?",
        resolve=resolve_learning_curve,
        template="learning_curve.html",
    ),
    "reproduce": Panel(
        title="Reproduce",
        question="How can I get the same result again?",
        resolve=resolve_reproduce,
        template="reproduce.html",
    ),
}
