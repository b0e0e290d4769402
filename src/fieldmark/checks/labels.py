"""Labels: which are probably wrong, by what a strongly regularised classifier says of images it has not seen.

The group of an image is left out when it is judged, so that no copy or neighbouring frame vouches for a wrong
label; and the head is held so short (C = 0.001 on standardised features) that it cannot learn the wrong labels of
the others by heart. Measured on horses-or-humans: with C = 1 one planted label in seven is missed. Images outside of
training are judged by what training images alone have taught, less those of their own group.
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
from fieldmark.checks.judging import balanced_accuracy
from fieldmark.images.findings import Finding
from fieldmark.images.names import counted, rounded_percent, some

Probabilities = npt.NDArray[np.float64]

STRENGTH = 1e-3  # inverse L2 penalty, on standardised features
MAX_ITERATIONS = 300
TOLERANCE = 1e-4  # slope of the mean loss at which a fit ends
# A group's own labels count where groups have mostly one label; the classifier's word counts as two of its images.
PURE = 0.8
PRIOR = 2.0
# Where most labels are doubted, or this share of what guessing would doubt, it is the classifier that is wrong.
MOST = 0.75
# Whom to accuse. A likelier class is no evidence: of 400 generated scenes without a wrong label 71 have one, as the
# classifier knows 82 % of them. Evidence is a class that is so many times as likely as the given one ...
ODDS = 4.0
# ... and at least as likely as it is for the images labelled so (confident learning's thresholds: Northcutt, Jiang and
# Chuang 2021, doi:10.1613/jair.1.12125), or so likely. Of these scenes it accuses 1, with 5 % planted a third of those,
# and of photos that it knows well 98 %; every figure is in docs/log.md, 2026-11-24.
SURE = 0.85
NO_FOLD = -1  # of images that share a group with no training image


@dataclasses.dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted."""

    row: int
    likelier: int  # a class
    given_probability: float
    likelier_probability: float
    witnesses: int  # images of its group that have the likelier label; 0 where the classifier alone says so
    accused: bool  # whether that is evidence, and the image to be named in words; the others are only ranked


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """What the check holds of all labels."""

    suspects: list[Suspect]  # the most suspicious first
    asked: npt.NDArray[np.bool_]  # (n,), whether something was known of the label's class: others are not judged
    able: bool  # whether the classifier knows these classes; where not, only an image's own group accuses it
    right: int  # of the training images that were judged, their groups left out
    judged: int
    accuracy: float  # of these, the mean over classes
    interval: tuple[float, float]  # 95 %
    chance: float


def suspects(
    embeddings: Floats,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    classes: int,
    training: npt.NDArray[np.bool_] | None = None,
) -> list[Suspect]:
    """Return the images for which another label is likelier, the most suspicious first; see `judge`."""
    return judge(embeddings, labels, groups, classes, training).suspects


def judge(
    embeddings: Floats,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    classes: int,
    training: npt.NDArray[np.bool_] | None = None,
) -> Judgement:
    """Return for which images another label is likelier, which of them to accuse, and whether that could be told.

    `embeddings` (n, d), `labels` (n,) in 0..classes-1; `training` (n,) are the images to learn from, by default all.
    Labels outside of training say nothing of training images. An image whose class is not shown by training with its
    fold left out is not judged: nothing is known of it there.
    """
    training = np.ones(len(labels), dtype=np.bool_) if training is None else training
    folds = _folds(groups, labels, training)
    judged = _known_from_others(labels, folds, training)
    outside = out_of_fold(embeddings, labels, folds, classes, training)
    measured = _measured(outside, labels, groups, judged, training)
    if not measured.able:
        outside = np.full_like(outside, 1 / classes)  # its word counts for nothing, the group's own for all
    votes, witnesses = _votes(labels, groups, outside, training)
    rows = np.arange(len(labels))
    # The more doubtful of the two: a wrong frame in a sequence, or a sequence that is wrong as a whole.
    voted = votes[rows, labels] < outside[rows, labels]
    probabilities = np.where(voted[:, None], votes, outside)
    enough = _enough(probabilities, labels, judged & training)
    found = []
    for row in np.flatnonzero(judged & (probabilities.argmax(axis=1) != labels)):
        likelier = int(probabilities[row].argmax())
        given, other = (float(probabilities[row, label]) for label in (labels[row], likelier))
        seen = witnesses[row][likelier] if voted[row] else 0
        accused = bool(other >= ODDS * given and (seen > 0 or other >= enough[likelier]))
        found.append(Suspect(int(row), likelier, given, other, seen, accused))
    found.sort(key=lambda suspect: (suspect.given_probability - suspect.likelier_probability, suspect.row))
    return dataclasses.replace(measured, suspects=[one for one in found if measured.able or one.witnesses])


def _enough(
    probabilities: Probabilities, labels: npt.NDArray[np.integer], known: npt.NDArray[np.bool_]
) -> Probabilities:
    """How likely each class must be to be held against a label, (classes,): as for images labelled so, or SURE."""
    enough = np.full(probabilities.shape[1], SURE)
    for label in np.unique(labels[known]):
        enough[label] = min(SURE, probabilities[known & (labels == label), label].mean())
    return enough


def out_of_fold(
    features: Floats,
    labels: npt.NDArray[np.integer],
    folds: npt.NDArray[np.int64],
    classes: int,
    training: npt.NDArray[np.bool_] | None = None,
) -> Probabilities:
    """Return probabilities (n, classes) from heads fitted to the training images of other folds.

    Equal ones where none can be fitted.
    """
    training = np.ones(len(labels), dtype=np.bool_) if training is None else training
    probabilities = np.full((len(labels), classes), 1 / classes)
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(training & (folds != fold)), np.flatnonzero(folds == fold)
        known = np.unique(labels[inside])
        if len(known) >= 2:
            probabilities[outside] = 0
            probabilities[np.ix_(outside, known)] = _fitted(features[inside], labels[inside], features[outside])
    return probabilities


def check_labels(context: Context) -> tuple[list[Finding], str, list[dict[str, Any]]]:
    """The findings of the check for wrong labels, its answer, and the rows of `suspected_labels`."""
    dataset, rows = context.dataset, context.training()
    # The audit's groups: where Fieldmark makes the split these have near-duplicates joined, and no copy vouches for a
    # wrong label. Were whatever connects joined, whole plants of rice-leaf would be left out together, and .78 of the
    # planted labels be in the first tenth instead of all (docs/log.md).
    labels = dataset.labels
    counts = groups_of_classes([dataset.groups[row] for row in rows], labels[rows], len(dataset.classes))
    if (counts >= 2).sum() < 2 or context.embeddings is None:
        return [], "Cannot be told: fewer than two classes have images of two groups.", []
    training = np.zeros(len(labels), dtype=np.bool_)
    training[rows] = True
    found = judge(context.embeddings, labels, dataset.groups, len(dataset.classes), training)
    table = [
        {
            "path": dataset.paths[suspect.row],
            "label": dataset.classes[labels[suspect.row]],
            "likelier": dataset.classes[suspect.likelier],
            "label_probability": round(suspect.given_probability, 4),
            "likelier_probability": round(suspect.likelier_probability, 4),
            "split": str(dataset.splits[suspect.row]),
            "accused": suspect.accused,
        }
        for suspect in found.suspects
    ]
    findings = [_finding(row, suspect) for row, suspect in zip(table, found.suspects, strict=True)]
    findings.sort(key=lambda finding: finding.weight == "note")
    return findings, _answer(found, table) + _not_judged(found, labels, dataset.classes), table


def _not_judged(found: Judgement, labels: npt.NDArray[np.integer], classes: Sequence[str]) -> str:
    left = np.bincount(labels[~found.asked], minlength=len(classes)).tolist()
    of_classes = [f"{count} of {name}" for name, count in zip(classes, left, strict=True) if count]
    return f" Not judged, as training shows too few other groups of their class: {some(of_classes)}." * bool(of_classes)


def _answer(found: Judgement, table: Sequence[dict[str, Any]]) -> str:
    images = int(found.asked.sum())
    if not found.able:
        low, high = (100 * bound for bound in found.interval)
        accused = sum(row["accused"] for row in table)
        own = f" By the others of its own group, {counted(accused, 'label')} may be wrong." if accused else ""
        if found.chance == 1:
            return f"Cannot be told: fewer than two classes can be asked about with their groups left out.{own}"
        return (
            f"Cannot be told: the check cannot tell these classes apart. Asked about {counted(found.judged, 'image')} "
            f"whose groups it had not seen, it was right for {found.right}, {100 * found.accuracy:.0f} % as a mean "
            f"over classes (95 % interval {low:.0f}–{high:.0f} %), where guessing reaches "
            f"{rounded_percent(found.chance)}.{own}"
        )
    if not table:
        return f"Every label is the likeliest one, of {counted(images, 'image')}."
    accused = [row for row in table if row["accused"]]
    rest = counted(len(table) - len(accused), "other label" if accused else "label")
    doubted = (
        f"For {rest} another class is a little likelier: most such labels are right, the most doubtful come first."
    )
    if not accused:
        return f"No label is contradicted, of {counted(images, 'image')}. {doubted}"
    outside = sum(row["split"] not in ("", "train") for row in accused)
    where = f", {outside} of them outside of training" if outside else ""
    more = f" {doubted}" if len(accused) < len(table) else ""
    return f"{len(accused)} of {counted(images, 'label')} may be wrong{where}: look at these.{more}"


def _known_from_others(
    labels: npt.NDArray[np.integer], folds: npt.NDArray[np.int64], training: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Whether the training images of other folds show each image's class, and one more to take it for (n,)."""
    judged = np.zeros(len(labels), dtype=np.bool_)
    for fold in np.unique(folds):
        known = np.unique(labels[training & (folds != fold)])
        judged[folds == fold] = len(known) >= 2 and np.isin(labels[folds == fold], known)
    return judged


def _folds(
    groups: Sequence[str], labels: npt.NDArray[np.integer], training: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """The fold of each image (n,): training images dealt out by group, and whatever shares a group with them."""
    rows = np.flatnonzero(training)
    own = [groups[row] for row in rows.tolist()]
    fold_of = dict(zip(own, deal_folds(own, labels[rows]).tolist(), strict=True))
    return np.array([fold_of.get(group, NO_FOLD) for group in groups], dtype=np.int64)


def _measured(
    outside: Probabilities,
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    judged: npt.NDArray[np.bool_],
    training: npt.NDArray[np.bool_],
) -> Judgement:
    """How well the classifier knows the classes of training images that it has not seen, and whether that is enough."""
    rows = np.flatnonzero(judged & training)
    given = labels[rows]
    known = len(np.unique(given))
    if known < 2:
        return Judgement([], judged, False, 0, len(rows), 0.0, (0.0, 1.0), 1.0)
    correct = outside[rows].argmax(axis=1) == given
    accuracy, low, high = balanced_accuracy(correct, given, [groups[row] for row in rows.tolist()])
    able = bool(correct.mean() >= max(0.5, 1 - MOST * (1 - 1 / known)) and low > 1 / known)
    return Judgement([], judged, able, int(correct.sum()), len(rows), accuracy, (low, high), 1 / known)


def _finding(row: dict[str, Any], suspect: Suspect) -> Finding:
    where = f"in {row['split']}, " if row["split"] not in ("", "train") else ""
    looks = "looks like" if suspect.accused else "a little likelier"
    sentence = f"{where}labelled {row['label']}, {looks} {row['likelier']} ({_against(row)})"
    if suspect.witnesses:
        sentence += f"; so are {counted(suspect.witnesses, 'image')} of its group labelled"
    numbers = {name: value for name, value in row.items() if name != "path"}
    return Finding(sentence, (row["path"],), "problem" if suspect.accused else "note", numbers)


def _against(row: dict[str, Any]) -> str:
    """Both probabilities, with as many digits as they need to differ."""
    other, given = row["likelier_probability"], row["label_probability"]
    digits = next((count for count in (2, 3) if f"{other:.{count}f}" != f"{given:.{count}f}"), 4)
    return f"{other:.{digits}f} against {given:.{digits}f}"


def _fitted(inside: Floats, labels: npt.NDArray[np.integer], outside: Floats) -> Probabilities:
    from threadpoolctl import threadpool_limits

    mean, deviation = inside.mean(axis=0), np.maximum(inside.std(axis=0), 1e-6)
    with threadpool_limits(1):  # as in training.head: one thread is faster, and the same bits
        model = fit_logistic(
            (inside - mean) / deviation, labels, strength=STRENGTH, tolerance=TOLERANCE, steps=MAX_ITERATIONS
        )
        return model.probabilities((outside - mean) / deviation)


def _votes(
    labels: npt.NDArray[np.integer], groups: Sequence[str], prior: Probabilities, training: npt.NDArray[np.bool_]
) -> tuple[Probabilities, list[Counter[int]]]:
    """What the other images of each image's group say, (n, classes), with the classifier's word as prior.

    Those outside of training are heard on images outside of training alone; whether groups have mostly one label
    is asked of training.
    """
    taught: dict[str, Counter[int]] = defaultdict(Counter)
    all_: dict[str, Counter[int]] = defaultdict(Counter)
    rows = list(zip(groups, labels.tolist(), training.tolist(), strict=True))
    for group, label, inside in rows:
        all_[group][label] += 1
        taught[group][label] += inside
    others = [(taught if inside else all_)[group] - Counter([label]) for group, label, inside in rows]
    own = np.array([mates[label] for mates, (_, label, _) in zip(others, rows, strict=True)], dtype=np.float64)
    total = np.array([mates.total() for mates in others], dtype=np.float64)
    if not total[training].sum() or own[training].sum() / total[training].sum() < PURE:
        return prior, others
    votes = PRIOR * prior
    for row, mates in enumerate(others):
        for label, count in mates.items():
            votes[row, label] += count
    return votes / (PRIOR + total)[:, None], others
