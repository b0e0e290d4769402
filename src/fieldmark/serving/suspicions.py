"""Suspicions: which images of a run a person should look at, why, and in which order."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fieldmark.evaluation.mistakes import mistakes
from fieldmark.evaluation.predictions import Predictions
from fieldmark.serving.similar import Gallery


@dataclasses.dataclass(frozen=True)
class Item:
    """One image that a person should look at."""

    path: str  # as in Dataset.paths
    label: str  # the class it was trained with, or held against
    suggested: str  # the class it looks like
    probability: float  # of the suggested class, 0 to 1
    reason: str  # suspected_label, mistake, unfamiliar or likelier_class
    split: str
    rank: tuple[int, float]  # the least comes first

    @property
    def id(self) -> str:
        """A name that is no path, and the same in every process that serves the run."""
        return hashlib.sha256(self.path.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def to_json(self, correction: str | None) -> dict[str, Any]:
        """The fields for a page, with the label that a table gives the image, or None."""
        fields = {"id": self.id, **dataclasses.asdict(self), "correction": correction}
        del fields["rank"]
        return fields


def ordered(items: Iterable[Item]) -> list[Item]:
    """Each image once, for its weightiest reason, of equals the first given; the surest first.

    Wrong labels and mistakes come before what is only unfamiliar, and last what a class is only likelier of.
    """
    first: dict[str, Item] = {}
    for item in sorted(items, key=lambda item: item.rank[0]):
        first.setdefault(item.path, item)
    return sorted(first.values(), key=lambda item: (item.rank, item.path))


def audited_items(suspected: Iterable[Mapping[str, Any]]) -> list[Item]:
    """The rows of `suspected_labels` in audit.json."""
    columns = ("path", "label", "likelier", "label_probability", "likelier_probability")
    return [
        # Audits before 2026-11-24 did not tell whom to accuse, and those before 2026-11-20 judged training alone.
        _doubted(*(row[name] for name in columns), accused=row.get("accused", True), split=row.get("split") or "train")
        for row in suspected
    ]


def suspected_items(gallery: Gallery) -> list[Item]:
    """Images of the gallery for which another label is likelier, by the check of `fieldmark audit`.

    Its groups are left out in turn and a head is fitted to the rest: some seconds for a thousand images.
    """
    from fieldmark.checks.labels import suspects

    if len(np.unique(gallery.labels)) < 2:
        return []
    found = suspects(gallery.embeddings, gallery.labels, gallery.groups, len(gallery.classes))
    names = gallery.classes
    return [
        _doubted(
            gallery.paths[suspect.row],
            names[gallery.labels[suspect.row]],
            names[suspect.likelier],
            suspect.given_probability,
            suspect.likelier_probability,
            accused=suspect.accused,
        )
        for suspect in found
    ]


def mistaken_items(predictions: Predictions) -> list[Item]:
    """Every wrong answer, of all splits."""
    column = {name: number for number, name in enumerate(predictions.classes)}
    row_of = {path: row for row, path in enumerate(predictions.paths)}
    return [
        Item(
            path=row["path"],
            label=row["label"],
            suggested=row["predicted"],
            probability=row["probability"],
            reason="mistake",
            split=predictions.splits[row_of[row["path"]]],
            rank=(0, float(predictions.probabilities[row_of[row["path"]], column[row["label"]]]) - row["probability"]),
        )
        for row in mistakes(predictions)
    ]


def unfamiliar_items(predictions: Predictions) -> list[Item]:
    """Images unlike the training images, the least familiar first; right or wrong."""
    unfamiliar, familiarity, answers = predictions.unfamiliar, predictions.familiarity, predictions.predicted
    if unfamiliar is None or familiarity is None:
        return []
    return [
        Item(
            path=predictions.paths[row],
            label=predictions.classes[predictions.labels[row]],
            suggested=predictions.classes[answers[row]],
            probability=float(predictions.probabilities[row, answers[row]]),
            reason="unfamiliar",
            split=predictions.splits[row],
            rank=(1, float(familiarity[row])),
        )
        for row in np.flatnonzero(unfamiliar & (predictions.labels >= 0)).tolist()
    ]


def _doubted(
    path: str, label: str, likelier: str, given: float, other: float, *, accused: bool, split: str = "train"
) -> Item:
    # A class that is only likelier is no evidence, and comes last.
    reason, place = ("suspected_label", 0) if accused else ("likelier_class", 2)
    return Item(path, label, likelier, other, reason, split, rank=(place, given - other))
