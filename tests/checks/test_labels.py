"""Wrong labels: planted ones lead the list, and nothing is judged that cannot be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fieldmark.checks.context import deal_folds, groups_of_classes
from fieldmark.checks.labels import check_labels, out_of_fold, suspects


def clusters(classes: int, groups: int, size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings of classes that lie apart, with groups inside that lie apart a little."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), groups * size)
    group = np.repeat(np.arange(classes * groups), size)
    centres = random.normal(size=(classes, 40)) * 2
    places = random.normal(size=(classes * groups, 40))
    embeddings = centres[labels] + places[group] + 0.3 * random.normal(size=(len(labels), 40))
    return embeddings.astype(np.float32), labels, [f"g{number}" for number in group]


def test_planted_labels_come_first() -> None:
    embeddings, labels, groups = clusters(3, 20, 5)
    wrong = np.random.default_rng(1).choice(len(labels), 15, replace=False)
    planted = labels.copy()
    planted[wrong] = (planted[wrong] + 1) % 3
    found = suspects(embeddings, planted, groups, 3)
    first = {suspect.row for suspect in found[:30]}
    assert len(first & set(wrong.tolist())) >= 14
    for suspect in found[:14]:
        assert suspect.likelier == labels[suspect.row]
        assert suspect.likelier_probability > suspect.given_probability


def test_without_wrong_labels_hardly_any_is_suspected() -> None:
    embeddings, labels, groups = clusters(2, 20, 4)
    assert len(suspects(embeddings, labels, groups, 2)) <= 3


def test_a_frame_that_its_sequence_contradicts_is_found_with_two_sequences_a_class() -> None:
    embeddings, labels, groups = clusters(2, 2, 20)
    planted = labels.copy()
    planted[7] = 1
    first = suspects(embeddings, planted, groups, 2)[0]
    assert first.row == 7
    assert first.witnesses == 19


def test_a_class_of_one_group_is_not_judged() -> None:
    embeddings, labels, groups = clusters(2, 6, 4)
    groups = ["alone" if label == 1 else group for label, group in zip(labels, groups, strict=True)]
    assert {labels[suspect.row] for suspect in suspects(embeddings, labels, groups, 2)} <= {0}


class Images(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.labels)


def test_images_of_other_splits_are_said_not_to_be_judged() -> None:
    embeddings, labels, groups = clusters(2, 6, 4)
    paths = [f"{row}.jpg" for row in range(len(labels))]
    dataset = Images(groups=groups, labels=labels, classes=("a", "b"), paths=paths)

    def answer(training: int) -> str:
        rows = np.arange(len(labels))[:: len(labels) // training]
        context: Any = SimpleNamespace(dataset=dataset, training=lambda: rows, embeddings=embeddings)
        return check_labels(context)[1]

    assert answer(24).endswith(" Not judged: 24 images of other splits than training.")
    assert "Not judged" not in answer(48)


def test_folds_hold_whole_groups_of_every_class() -> None:
    _, labels, groups = clusters(3, 10, 4)
    folds = deal_folds(groups, labels)
    assert all(len(set(folds[np.array(groups) == group])) == 1 for group in set(groups))
    for label in range(3):
        assert set(folds[labels == label]) == set(range(5))
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(deal_folds([groups[row] for row in order], labels[order]), folds[order])
    assert groups_of_classes(groups, labels, 4).tolist() == [10, 10, 10, 0]


def test_no_image_vouches_for_its_own_label() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(200, 800)).astype(np.float32), random.integers(0, 2, 200)
    outside = out_of_fold(features, labels, np.arange(200) % 5, 2)
    # Noise can be learnt by heart and tells nothing of what was left out.
    assert 0.35 < (outside.argmax(axis=1) == labels).mean() < 0.65


def test_the_most_suspicious_come_first() -> None:
    embeddings, labels, groups = clusters(3, 20, 5)
    labels[::9] = (labels[::9] + 1) % 3
    margins = [each.likelier_probability - each.given_probability for each in suspects(embeddings, labels, groups, 3)]
    assert len(margins) > 20
    assert margins == sorted(margins, reverse=True)
