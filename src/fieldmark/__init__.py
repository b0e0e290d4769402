"""Fieldmark turns a folder of folders of images into a classifier you can trust, and shows what it looks at.

    import fieldmark
    run = fieldmark.train("photos/")          # one sub-directory per class
    classifier = fieldmark.load(run)
    classifier.predict(["a.jpg", "b.jpg"])

Importing this costs milliseconds: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldmark.auditing import audit
    from fieldmark.classifier import Classifier, Prediction, load
    from fieldmark.comparing.compare import compare
    from fieldmark.errors import FieldmarkError
    from fieldmark.evaluating import evaluate
    from fieldmark.explanation.explain import explain
    from fieldmark.images.batches import flow_from_directory
    from fieldmark.pipeline import train
    from fieldmark.preprocessing import Preprocessing
    from fieldmark.recipe import Recipe
    from fieldmark.runs import Run
    from fieldmark.sweeping.sweep import sweep
    from fieldmark.training.progress import Progress

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "FieldmarkError",
    "Prediction",
    "Preprocessing",
    "Progress",
    "Recipe",
    "Run",
    "audit",
    "compare",
    "evaluate",
    "explain",
    "flow_from_directory",
    "load",
    "sweep",
    "train",
]

_HOMES = {
    "Classifier": "fieldmark.classifier",
    "FieldmarkError": "fieldmark.errors",
    "Prediction": "fieldmark.classifier",
    "Preprocessing": "fieldmark.preprocessing",
    "Progress": "fieldmark.training.progress",
    "Recipe": "fieldmark.recipe",
    "Run": "fieldmark.runs",
    "audit": "fieldmark.auditing",
    "compare": "fieldmark.comparing.compare",
    "evaluate": "fieldmark.evaluating",
    "explain": "fieldmark.explanation.explain",
    "flow_from_directory": "fieldmark.images.batches",
    "load": "fieldmark.classifier",
    "sweep": "fieldmark.sweeping.sweep",
    "train": "fieldmark.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fieldmark' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
