"""Mistakes: the images that were answered wrongly, and the classes that are taken for one another."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fieldmark.evaluation.predictions import Predictions


def mistakes(predictions: Predictions) -> list[dict[str, Any]]:
    """Return {"path", "label", "predicted", "probability"} of every wrong answer, the most confident first.

    `probability` (0-1) is that of the wrong answer. Images without a known label are no mistakes.

    >>> predictions = Predictions(
    ...     paths=("a.jpg",), labels=np.array([1], np.int32), splits=("test",), groups=("a",),
    ...     probabilities=np.array([[0.75, 0.25]], np.float32), classes=("cat", "dog"))
    >>> mistakes(predictions)
    [{'path': 'a.jpg', 'label': 'dog', 'predicted': 'cat', 'probability': 0.75}]
    """
    predicted, classes = predictions.predicted, predictions.classes
    rows = [
        {
            "path": predictions.paths[row],
            "label": classes[predictions.labels[row]],
            "predicted": classes[predicted[row]],
            "probability": float(predictions.probabilities[row, predicted[row]]),
        }
        for row in np.flatnonzero((predictions.labels >= 0) & ~predictions.correct)
    ]
    return sorted(rows, key=lambda row: (-row["probability"], row["path"]))


def most_confused(predictions: Predictions) -> list[dict[str, Any]]:
    """Return {"label", "predicted", "count", "of"} of each confused pair of classes, the commonest first.

    `of` is the number of images with that label, so that a small class that is always taken for another can
    be told from a large one that seldom is.
    """
    images = Counter(predictions.labels.tolist())
    wrong = (predictions.labels >= 0) & ~predictions.correct
    pairs = Counter(zip(predictions.labels[wrong].tolist(), predictions.predicted[wrong].tolist(), strict=True))
    return [
        {
            "label": predictions.classes[label],
            "predicted": predictions.classes[predicted],
            "count": count,
            "of": images[label],
        }
        for (label, predicted), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]
