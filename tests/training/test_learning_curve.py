"""The learning curve of a head: whole groups drawn, whole groups left out, deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from fieldmark.training import learning_curve
from fieldmark.training.learning_curve import measure_learning_curve


def noisy(groups: int = 60, size: int = 4, width: int = 40) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    labels = (np.arange(groups * size) // size % 2).astype(np.int32)
    centres = random.normal(size=(2, width)) * 0.2
    embeddings = centres[labels] + random.normal(size=(groups * size, width))
    return embeddings.astype(np.float32), labels, [f"g{row // size}" for row in range(len(labels))]


def test_accuracy_rises_with_the_images() -> None:
    embeddings, labels, groups = noisy()
    curve = measure_learning_curve(embeddings, labels, groups, strength=1e-2)
    points = curve["points"]
    assert [point["images"] for point in points] == sorted(point["images"] for point in points)
    assert points[-1]["images"] == 192  # four fifths of 240
    assert points[-1]["accuracy"] > points[0]["accuracy"] + 0.05
    assert curve["gain_of_doubling"] > 0.005
    assert curve["images"] == 240
    assert measure_learning_curve(embeddings, labels, groups, strength=1e-2) == curve


def test_of_many_images_every_class_keeps_groups_for_every_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the images drawn by groups must not leave one of few long sequences, nor one of a rare class."""
    monkeypatch.setattr(learning_curve, "MOST_IMAGES", 60)
    embeddings, labels, groups = noisy(groups=14, size=40)
    rare = np.repeat(np.array([2], np.int32), 6)
    with_rare = np.vstack([embeddings, embeddings[:6] + 3])
    names = [*groups, *(f"rare{row // 3}" for row in range(6))]
    curve = measure_learning_curve(with_rare, np.concatenate([labels, rare]), names, strength=1e-2)
    assert curve["points"][-1]["groups"] == 5 + 5 + 2
    assert curve["images"] == 566
    assert "judged" not in curve["sentence"]


def test_groups_stay_whole() -> None:
    """Features that name the group and not the class: seen through by groups only."""
    groups = [f"g{row // 4}" for row in range(160)]
    labels = np.array([row // 4 % 2 for row in range(160)], dtype=np.int32)
    embeddings = np.eye(40, dtype=np.float32)[np.arange(160) // 4]
    by_group = measure_learning_curve(embeddings, labels, groups, strength=1.0)
    by_image = measure_learning_curve(embeddings, labels, [str(row) for row in range(160)], strength=1.0)
    assert by_group["points"][-1]["accuracy"] < 0.65 < 0.9 < by_image["points"][-1]["accuracy"]


def test_a_single_group_says_why_there_is_none() -> None:
    embeddings, labels, _ = noisy()
    curve = measure_learning_curve(embeddings, labels, [str(label) for label in labels], strength=1.0)
    assert curve["points"] == []
    assert "fewer than two classes have images of two groups" in curve["sentence"]


def test_a_class_of_one_group_is_not_judged_and_said_so() -> None:
    embeddings, labels, groups = noisy()
    rare = np.append(labels, 2).astype(np.int32)
    with_one = np.vstack([embeddings, embeddings[:1] + 3])
    curve = measure_learning_curve(with_one, rare, [*groups, "alone"], strength=1e-2)
    assert curve["gain_of_doubling"] > 0
    assert {point["n"] for point in curve["points"]} == {240}
    assert curve["sentence"].endswith(" 1 of 3 classes could not be judged: their few images are in every fit.")
    assert "judged" not in measure_learning_curve(embeddings, labels, groups, strength=1e-2)["sentence"]
