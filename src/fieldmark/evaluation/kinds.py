"""Kinds of mistakes: which wrong answers are alike, how many such images training had, what to photograph next.

All from arrays: the embeddings of the images (what the last layer sees), compared by the cosine of their angle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.clusters import Embeddings, cluster, usual_similarity
from fieldmark.evaluation.mistakes import mistakes, most_confused
from fieldmark.evaluation.predictions import Predictions

NEAREST = 3  # training images named with each mistake
ROWS = 512  # whose similarities to all training images are held at a time
REACHED = 0.95  # of the training images have another one that is alike
# A thing is named from so much more of its probability than training images of the class have. ImageNet's layer names
# something for every image. Of what is like nothing in ImageNet (243 rice leaves: "hammer", "vase") 2 % get a word at
# .6, 6 % at .5, 36 % at .2 and 93 % at .05; of 256 horses and humans ("suit", "dumbbell") 14 %, 18 %, 52 % and 97 %.
SURPLUS = 0.6
FEW = 5  # similar training images
SMALL_CLASS = 10  # training images: of fewer, how alike they are says little


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """A layer that knows words: its logits are `weights` @ embedding + `bias`."""

    names: tuple[str, ...]  # of the classes
    weights: npt.NDArray[np.float32]  # (classes, d)
    bias: npt.NDArray[np.float32]  # (classes,)

    def probabilities(self, embeddings: Embeddings) -> npt.NDArray[np.float32]:
        """Probabilities float32 (n, classes) of embeddings (n, d)."""
        logits = embeddings @ self.weights.T + self.bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def analyse_mistakes(
    predictions: Predictions,
    embeddings: Embeddings | None,
    *,
    split: str,
    vocabulary: Vocabulary | None = None,
    suspected: Collection[str] = (),
) -> dict[str, Any]:
    """Return the content of `mistakes.json`: the mistakes of one split, their nearest training images, and their kinds.

    `predictions` holds the images of all splits; `embeddings` (n, d) belong to its rows, None where the network has
    none. A kind is a cluster of misclassified images of one class that look alike to the network (see
    `fieldmark.evaluation.clusters`); all mistakes of a class are one kind where none stands apart from the others.
    Training images are similar to a kind from `similarity` on to one of its images: 95 of 100 training images have
    one of another group that is at least so alike.

    `suspected` are paths of images whose label an audit accuses: kinds say how many of theirs are among them.
    Of several splits, `analyse_splits` looks at the training images once.

    {"split", "n", "wrong", "similarity", "confused": pairs, "mistakes": [{"path", "label", "predicted", "probability",
    "probabilities", "nearest": [{"path", "label", "similarity"}], "kind", "words"}], "kinds": [{"kind", "label",
    "images", "suspected", "lost" (accuracy, 0-1), "similar_in_training", "of_them_label", "taken_for", "paths",
    "words", "advice"}], "remarks"}; kinds come in the order of what to photograph next: the most accuracy lost first,
    and of equals the one that training has fewest of.

    >>> predictions = Predictions(
    ...     paths=("a", "b", "c"), labels=np.array([0, 1, 1], np.int32), splits=("train", "train", "test"),
    ...     probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32),
    ...     groups=("a", "b", "c"), classes=("cat", "dog"))
    >>> found = analyse_mistakes(predictions, np.array([[1, 0], [0, 1], [1, 0.1]], np.float32), split="test")
    >>> [(kind["label"], kind["images"], kind["lost"]) for kind in found["kinds"]]
    [('dog', 1, 1.0)]
    >>> found["mistakes"][0]["nearest"][0]["path"]
    'a'
    """
    return analyse_splits(predictions, embeddings, splits=(split,), vocabulary=vocabulary, suspected=suspected)[0]


def analyse_splits(
    predictions: Predictions,
    embeddings: Embeddings | None,
    *,
    splits: Sequence[str],
    vocabulary: Vocabulary | None = None,
    suspected: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return what `analyse_mistakes` does, one a split."""
    results = [_of_split(predictions, split) for split in splits]
    train = [row for row, name in enumerate(predictions.splits) if name == "train" and predictions.labels[row] >= 0]
    grouped = [result for result in results if result["mistakes"]]
    if embeddings is None or not train:
        why = "the network shows no embedding" if embeddings is None else "no training images are known"
        for result in grouped:
            result["remarks"].append(f"{why}, so the mistakes are not grouped into kinds")
        return results
    if not grouped:
        return results
    training, doubted = _Training.of(predictions, embeddings, train, vocabulary), set(suspected)
    row_of = {key: row for row, key in enumerate(zip(predictions.splits, predictions.paths, strict=True))}
    for result in grouped:
        listed = result["mistakes"]
        rows = [row_of[result["split"], mistake["path"]] for mistake in listed]
        kinds = _kinds(training, embeddings[rows], predictions.labels[rows], listed)
        for kind in kinds:
            kind |= {
                "suspected": len(set(kind["paths"]) & doubted),
                "lost": kind["images"] / result["n"],
            }
            kind["advice"] = _advice(kind)
        result |= {"similarity": training.similarity, "kinds": kinds}
    return results


def _of_split(predictions: Predictions, split: str) -> dict[str, Any]:
    """What is known of the mistakes of one split without looking at training images."""
    part = predictions.select(split)
    known = int((part.labels >= 0).sum())
    shares = dict(zip(part.paths, part.probabilities.tolist(), strict=True))
    listed = [
        mistake | {"probabilities": dict(zip(part.classes, shares[mistake["path"]], strict=True))}
        for mistake in mistakes(part)
    ]
    what = "no mistakes" if known else "no images with a known class"
    return {
        "split": split,
        "n": known,
        "wrong": len(listed),
        "similarity": None,
        "confused": most_confused(part),
        "mistakes": listed,
        "kinds": [],
        "remarks": [] if listed else [f"{split}: {what} to learn from"],
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """What the mistakes are held against."""

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: npt.NDArray[np.int32]  # (n,)
    unit: Embeddings  # (n, d), of length 1
    similarity: float  # from which two images are alike
    vocabulary: Vocabulary | None
    usual: dict[int, npt.NDArray[np.float64]]  # {label: mean probability of each word}
    groups: tuple[str, ...]

    @classmethod
    def of(
        cls, predictions: Predictions, embeddings: Embeddings, rows: list[int], vocabulary: Vocabulary | None
    ) -> _Training:
        unit, labels = _unit(embeddings[rows]), predictions.labels[rows]
        usual = {}
        if vocabulary is not None:
            for label in np.unique(labels).tolist():
                usual[label] = _mean_words(vocabulary, embeddings[np.array(rows)[labels == label]])
        return cls(
            classes=predictions.classes,
            paths=tuple(predictions.paths[row] for row in rows),
            labels=labels,
            unit=unit,
            similarity=typical_similarity(unit, [predictions.groups[row] for row in rows]),
            vocabulary=vocabulary,
            usual=usual,
            groups=tuple(predictions.groups[row] for row in rows),
        )

    def usual_similarity(self, label: int) -> tuple[float, float]:
        """How alike training images of a class are, of different groups; of a small class those of all classes."""
        own = np.flatnonzero(self.labels == label)
        rows = own if len(own) >= SMALL_CLASS else np.arange(len(self.labels))
        groups = [self.groups[row] for row in rows.tolist()]
        found = usual_similarity(self.unit[rows], self.labels[rows], groups)
        return (self.similarity, self.similarity) if found is None else found

    def nearest(self, cosines: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
        """The training images with the greatest of these cosines."""
        best = np.argsort(-cosines, kind="stable")[:NEAREST].tolist()
        return [
            {
                "path": self.paths[row],
                "label": self.classes[self.labels[row]],
                "similarity": float(cosines[row]),
            }
            for row in best
        ]

    def words(self, embeddings: Embeddings, label: int) -> list[str]:
        """The word for what these images surely show more of than training images of their class; none is usual."""
        if self.vocabulary is None:
            return []
        usual = self.usual[label] if label in self.usual else np.zeros(len(self.vocabulary.names))
        surplus = _mean_words(self.vocabulary, embeddings) - usual
        return [self.vocabulary.names[word] for word in np.flatnonzero(surplus >= SURPLUS).tolist()]


def _kinds(
    training: _Training, embeddings: Embeddings, labels: npt.NDArray[np.int32], listed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The kinds in their order; each mistake of `listed` is told its kind, its nearest images and its words."""
    unit = _unit(embeddings)
    kind_of = _clustered(unit, labels, training)
    kinds: list[dict[str, Any]] = []
    for number in range(int(kind_of.max()) + 1):
        members = np.flatnonzero(kind_of == number).tolist()
        label = int(labels[members[0]])
        close = np.zeros(len(training.paths), dtype=bool)
        for member in members:
            cosines = training.unit @ unit[member]
            close |= cosines >= training.similarity
            words = training.words(embeddings[member : member + 1], label)
            listed[member] |= {"kind": number, "nearest": training.nearest(cosines), "words": words}
        kinds.append(
            {
                "kind": number,
                "label": training.classes[label],
                "images": len(members),
                "similar_in_training": int(close.sum()),
                "of_them_label": int((close & (training.labels == label)).sum()),
                "taken_for": _counted([listed[member]["predicted"] for member in members]),
                "paths": [listed[member]["path"] for member in members],
                "words": training.words(embeddings[members], label),
            }
        )
    kinds.sort(key=lambda kind: (-kind["images"], kind["of_them_label"], kind["kind"]))
    # The numbers follow the ranking, so that kind 1 is what to photograph first
    rank = {kind["kind"]: place for place, kind in enumerate(kinds, start=1)}
    for row in (*listed, *kinds):
        row["kind"] = rank[row["kind"]]
    return kinds


def _mean_words(vocabulary: Vocabulary, embeddings: Embeddings) -> npt.NDArray[np.float64]:
    total = np.zeros(len(vocabulary.names))
    for start in range(0, len(embeddings), ROWS):
        total += vocabulary.probabilities(embeddings[start : start + ROWS]).sum(axis=0)
    return np.asarray(total / len(embeddings))


def typical_similarity(unit: Embeddings, groups: Sequence[str], *, at_most: int = 2_000) -> float:
    """Return the cosine that 95 of 100 images reach with some image of another group, for unit vectors (n, d).

    Of more than `at_most` images, so many evenly spread ones are asked. Without another group it is .9: alike.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group = np.array([numbers[each] for each in groups])
    asked = np.unique(np.linspace(0, len(unit) - 1, min(len(unit), at_most)).round().astype(int))
    nearest = []
    for start in range(0, len(asked), ROWS):
        some = asked[start : start + ROWS]
        cosines = unit[some] @ unit.T
        cosines[group[some][:, None] == group[None, :]] = -np.inf
        nearest.append(cosines.max(axis=1))
    found = np.concatenate(nearest)
    found = found[np.isfinite(found)]
    return float(np.quantile(found, 1 - REACHED)) if len(found) else 0.9


def _unit(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _clustered(unit: Embeddings, labels: npt.NDArray[np.int32], training: _Training) -> npt.NDArray[np.int64]:
    """The number of each mistake's kind, from 0; every kind has one label, because that is what to photograph."""
    kinds = np.zeros(len(unit), dtype=np.int64)
    number = 0
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        kinds[rows] = number + cluster(unit[rows], training.usual_similarity(label))
        number = int(kinds[rows].max()) + 1
    return kinds


def _counted(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names), key=lambda name: (-names.count(name), name))}


def _advice(kind: dict[str, Any]) -> str:
    """What to do about a kind: whose labels to look at first, then what training lacks where they are right."""
    label, doubted = kind["label"], kind["suspected"]
    like = f" (ImageNet's nearest word: {', '.join(kind['words'])})" if kind["words"] else ""
    facts = f"{_images(kind['images'])} of {label}{like} taken for {' or '.join(kind['taken_for'])}"
    if not doubted:
        return f"{facts}; {_lacking(kind)}"
    all_of_them = "it" if doubted == 1 else "all of them"
    who = all_of_them if doubted == kind["images"] else f"{doubted} of these {kind['images']}"
    return f"{facts}; {who} may be wrongly labelled: look there first; where the labels are right, {_lacking(kind)}"


def _lacking(kind: dict[str, Any]) -> str:
    label, had, of_label = kind["label"], kind["similar_in_training"], kind["of_them_label"]
    if not of_label:
        return f"training has no such image of {label}: photograph more like these"
    if of_label < FEW:
        return f"training has only {_images(of_label)} of {label} like these: photograph more"
    if of_label < had / 2:
        return f"of {had} training images like these only {of_label} are {label}: photograph more like these"
    return (
        f"training has {_images(of_label)} of {label} like these: more detail (a larger image size) may tell them "
        "apart, or more images of them"
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
