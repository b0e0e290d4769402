"""Run folders made up for the tests of the report: every file as the pipeline writes it, of tiny images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from fieldmark.evaluation.kinds import analyse_mistakes
from fieldmark.evaluation.metrics import metrics_of, overfitting
from fieldmark.evaluation.predictions import Predictions, write_csv
from fieldmark.recipe import Recipe

PER_CLASS = {"train": 6, "validation": 4}
HISTORY = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second"


CURVE = {
    "points": [
        {"images": images, "accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.05], "n": 12, "groups": 12}
        for images, accuracy in ((4.0, 0.6), (8.0, 0.8))
    ],
    "exponent": 1.0,
    "images": 12,
    "error": 0.12,
    "gain_of_doubling": 0.06,
    "gain_interval": [0.02, 0.1],
    "sentence": "Twice the images would bring about +6.0 points.",
}
PROBES = {
    "border": {"accuracy": 0.6, "interval": [0.5, 0.7], "chance": 0.5, "n": 12, "groups": 12, "verdict": "some"},
    "format": {"accuracy": 0.9, "interval": [0.8, 0.95], "chance": 0.5, "n": 12, "groups": 12, "verdict": "shortcut"},
}


def make_run(folder: Path, *, classes=("cats", "dogs"), stem="image", wrong=2, epochs=3, splits=PER_CLASS) -> Path:
    """Write a run folder and the images it speaks of; `wrong` answers a split go to the next class."""
    root, run = folder / "data", folder / "run"
    run.mkdir(parents=True)
    predictions = _predictions(classes, stem, wrong, splits)
    for row, path in enumerate(predictions.paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (17 * row % 256, 99, 40)).save(file, "PNG")
    write_csv(run / "predictions.csv", predictions)
    metrics = {name: _metrics(predictions.select(name)) for name in splits}
    metrics["learning_curve"] = CURVE
    metrics["overfitting"] = overfitting(predictions.select("train"), predictions.select("validation"))
    write(run / "metrics.json", metrics)
    embeddings = np.random.default_rng(0).normal(size=(len(predictions), 4)).astype(np.float32)
    write(run / "mistakes.json", analyse_mistakes(predictions, embeddings, split="validation"))
    write(run / "audit.json", _audit(root, predictions))
    write(run / "recipe.json", Recipe(epochs=epochs or None).to_json())
    write(run / "run.json", _run(root, classes))
    _write_dataset(run / "dataset.csv", predictions)
    lines = [f"{epoch},{1 / epoch},0.{epoch},{2 / epoch},0.{epoch},0.001,1.5,42" for epoch in range(1, epochs + 1)]
    (run / "history.csv").write_text("\n".join([HISTORY, *lines]) + "\n")
    return run


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def change(path: Path, **fields) -> None:
    """Change some fields of a JSON file."""
    write(path, read(path) | fields)


def _predictions(classes, stem, wrong, splits) -> Predictions:
    paths, labels, names, answers = [], [], [], []
    for split, count in splits.items():
        for number in range(count):
            for label, name in enumerate(classes):
                paths.append(f"{split}/{name.replace('/', '∕')}/{stem}-{number}.png")
                labels.append(label)
                names.append(split)
                missed = names.count(split) <= wrong
                answers.append((label + 1) % len(classes) if missed else label)
    probabilities = np.full((len(paths), len(classes)), 0.2 / len(classes), np.float32)
    probabilities[np.arange(len(paths)), answers] += 0.8
    return Predictions(
        paths=tuple(paths),
        labels=np.array(labels, np.int32),
        probabilities=probabilities,
        splits=tuple(names),
        groups=tuple(paths),
        classes=tuple(classes),
        familiarity=np.linspace(0, 1, len(paths)).astype(np.float32),
    )


def _metrics(part: Predictions):
    return metrics_of(part)


def _audit(root, predictions):
    first, *_, last = predictions.paths
    return {
        "root": str(root),
        "images": len(predictions),
        "classes": {name: int((predictions.labels == i).sum()) for i, name in enumerate(predictions.classes)},
        "splits": {},
        "problems": [
            {"path": f"{first} {number}", "code": "truncated", "detail": f"of {first}"} for number in range(25)
        ],
        "duplicates": [[first, last]],
        "leaks": [{"train": first, "other": last, "distance": 0.0}],
        "groups": {"rule": "sequence", "count": 5, "meaning": f"Groups by name, as in {first}."},
        "suspected_labels": [
            {"path": last, "label": predictions.classes[0], "likelier": predictions.classes[-1]}
            | {"label_probability": 0.1, "likelier_probability": 0.9}
        ],
        "corrections": [{"path": first, "from": predictions.classes[0], "to": predictions.classes[-1]}],
        "checks": [
            _check("files", note=f"a note on {first}", paths=[first] * 20),
            {**_check("near_duplicates"), "status": "not run", "reason": "no embeddings", "hint": "do this"},
            _check("wrong_labels", problem=f"{last} looks wrong", paths=[last]),
            {**_check("shortcuts", problem=f"told from {first}"), "numbers": {"probes": PROBES}},
        ],
        "remarks": [f"a remark on {first}"],
        "fingerprint": "f" * 64,
    }


def _check(name, *, problem="", note="", paths=()):
    findings = [
        {"sentence": sentence, "paths": list(paths), "weight": weight, "numbers": {}}
        for weight, sentence in (("note", note), ("problem", problem))
        if sentence
    ]
    asked = {
        "name": name,
        "question": f"What of {name}?",
        "cost": "none",
        "status": "done",
        "reason": None,
        "hint": None,
    }
    return asked | {"answer": f"So it is with {name}.", "findings": findings, "numbers": {}}


def _run(root, classes):
    return {
        "fieldmark": "0.1.0",
        "command": f"fieldmark train {root}",
        "root": str(root),
        "network": "course",
        "seed": 7,
        "dataset_fingerprint": "d" * 64,
        "versions": {"numpy": "2.4.0"},
        "hardware": {"cores": 2},
        "seconds": {"read": 0.5, "total": 75.0},
        "classes": list(classes),
        "model_sha256": "e" * 64,
        "notes": ["The epoch was chosen on validation."],
        "choices": ["probabilities calibrated with temperature 0.9", "unfamiliar is what is far", "penalty 1"],
    }


def _write_dataset(path: Path, predictions: Predictions) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "split", "class", "group", "sha256", "width", "height", "format"))
        for name, split, label in zip(predictions.paths, predictions.splits, predictions.labels, strict=True):
            writer.writerow((name, split, predictions.classes[label], name, "0" * 64, 30, 20, "PNG"))
