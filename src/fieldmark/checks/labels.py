"""Labels: which are probably wrong, by what a strongly regularised classifier says of images it has not seen.

The group of an image is left out when it is judged, so that no copy or neighbouring frame vouches for a wrong
label; and the head is held so short (C = 0.001 on standardised features) that it cannot learn the wrong labels of
the others by heart. Measured on horses-or-humans: with C = 1 one planted label in seven is missed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.checks.context import Context, Floats, deal_folds, groups_of_classes
from fieldmark.checks.fitting import fit_logistic
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted

Probabilities = npt.NDArray[np.float64]

STRENGTH = 1e-3  # inverse L2 penalty, on standardised features
MAX_ITERATIONS = 300
TOLERANCE = 1e-4  # slope of the mean loss at which a fit ends
# A group's own labels count where groups have mostly one label; the classifier's word counts as two of its images.
PURE = 0.8
PRIOR = 2.0
# Where this share of what guessing would doubt is doubted, it is the classifier that is wrong, not the labels.
MOST = 0.75
NAMED = 6  # classes that were not judged


@dataclasses.dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted."""

    row: int
    likelier: int  # a class
    given_probability: float
    likelier_probability: float
    witnesses: int  # images of its group that have the likelier label; 0 where the classifier alone says so


def suspects(embeddings: Floats, labels: npt.NDArray[np.integer], groups: Sequence[str], classes: int) -> list[Suspect]:
    """Return the images that probably have another label, the most suspicious first.

    `embeddings` (n, d), `labels` (n,) in 0..classes-1. Classes with a single group are not judged: with it left
    out, nothing is known of them.
    """
    judged = groups_of_classes(groups, labels, classes)[labels] >= 2
    outside = out_of_fold(embeddings, labels, deal_folds(groups, labels), classes)
    votes, witnesses = _votes(labels, groups, outside)
    rows = np.arange(len(labels))
    # The more doubtful of the two: a wrong frame in a sequence, or a sequence that is wrong as a whole.
    voted = votes[rows, labels] < outside[rows, labels]
    probabilities = np.where(voted[:, None], votes, outside)
    found = []
    for row in np.flatnonzero(judged & (probabilities.argmax(axis=1) != labels)):
        likelier = int(probabilities[row].argmax())
        given, other = (float(probabilities[row, label]) for label in (labels[row], likelier))
        found.append(Suspect(int(row), likelier, given, other, witnesses[row][likelier] if voted[row] else 0))
    return sorted(found, key=lambda suspect: (suspect.given_probability - suspect.likelier_probability, suspect.row))


def out_of_fold(
    features: Floats, labels: npt.NDArray[np.integer], folds: npt.NDArray[np.int64], classes: int
) -> Probabilities:
    """Return probabilities (n, classes) from heads fitted to the other folds; equal ones where none can be."""
    probabilities = np.full((len(labels), classes), 1 / classes)
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known = np.unique(labels[inside])
        if len(known) >= 2:
            probabilities[outside] = 0
            probabilities[np.ix_(outside, known)] = _fitted(features[inside], labels[inside], features[outside])
    return probabilities


def check_labels(context: Context) -> tuple[list[Finding], str, list[dict[str, Any]]]:
    """The findings of the check for wrong labels, its answer, and the rows of `suspected_labels`."""
    dataset, rows = context.dataset, context.training()
    # The audit's groups, without the near-duplicates that only alignment finds: joined by these, whole plants of
    # rice-leaf are left out together, and .78 instead of all of the planted labels are in the first tenth.
    groups, labels = [dataset.groups[row] for row in rows], dataset.labels[rows]
    counts = groups_of_classes(groups, labels, len(dataset.classes))
    judged = [label for label, count in enumerate(counts) if count >= 2]
    if len(judged) < 2 or context.embeddings is None:
        return [], "Cannot be told: fewer than two classes have images of two groups.", []
    found = suspects(context.embeddings[rows], labels, groups, len(dataset.classes))
    table = [
        {
            "path": dataset.paths[rows[suspect.row]],
            "label": dataset.classes[labels[suspect.row]],
            "likelier": dataset.classes[suspect.likelier],
            "label_probability": round(suspect.given_probability, 4),
            "likelier_probability": round(suspect.likelier_probability, 4),
        }
        for suspect in found
    ]
    findings = [_finding(row, suspect) for row, suspect in zip(table, found, strict=True)]
    lone = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 1]
    left = f" Not judged, for want of a second group: {_named(lone)}." if lone else ""
    others = len(dataset) - len(rows)
    left += f" Not judged: {counted(others, 'image')} of other splits than training." if others else ""
    if not found:
        return [], f"Every label is the likeliest one, of {counted(len(rows), 'image')}.{left}", []
    share = f"{len(found)} of {counted(len(rows), 'image')}"
    if len(found) > MOST * (1 - 1 / len(judged)) * len(rows):
        doubt = "so many that the check cannot tell these classes apart, and says little of the labels"
        return findings, f"{share} look more like another class: {doubt}.{left}", table
    return (
        findings,
        f"{share} look more like another class; look at the first ones, the rest may be right.{left}",
        table,
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _finding(row: dict[str, Any], suspect: Suspect) -> Finding:
    sentence = (
        f"labelled {row['label']}, looks like {row['likelier']} "
        f"({row['likelier_probability']:.2f} against {row['label_probability']:.2f})"
    )
    if suspect.witnesses:
        sentence += f"; so are {counted(suspect.witnesses, 'image')} of its group labelled"
    return Finding(sentence, (row["path"],), numbers={name: row[name] for name in list(row)[1:]})


def _fitted(inside: Floats, labels: npt.NDArray[np.integer], outside: Floats) -> Probabilities:
    from threadpoolctl import threadpool_limits

    mean, deviation = inside.mean(axis=0), np.maximum(inside.std(axis=0), 1e-6)
    with threadpool_limits(1):  # as in training.head: one thread is faster, and the same bits
        model = fit_logistic(
            (inside - mean) / deviation, labels, strength=STRENGTH, tolerance=TOLERANCE, steps=MAX_ITERATIONS
        )
        return model.probabilities((outside - mean) / deviation)


def _votes(
    labels: npt.NDArray[np.integer], groups: Sequence[str], prior: Probabilities
) -> tuple[Probabilities, list[Counter[int]]]:
    """What the other images of each image's group say, (n, classes), with the classifier's word as prior."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for group, label in zip(groups, labels.tolist(), strict=True):
        counts[group][label] += 1
    others = [counts[group] - Counter([label]) for group, label in zip(groups, labels.tolist(), strict=True)]
    own = np.array([mates[label] for mates, label in zip(others, labels.tolist(), strict=True)], dtype=np.float64)
    total = np.array([mates.total() for mates in others], dtype=np.float64)
    if not total.sum() or own.sum() / total.sum() < PURE:
        return prior, others
    votes = PRIOR * prior
    for row, mates in enumerate(others):
        for label, count in mates.items():
            votes[row, label] += count
    return votes / (PRIOR + total)[:, None], others
