"""The linear head: scikit-learn's answer, chosen inside the training split, whole groups left out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fieldmark.evaluation.calibration import calibration_error
from fieldmark.training import head as head_module
from fieldmark.training.head import FALLBACK_STRENGTH, Head, fit_head

RANDOM = np.random.default_rng(0)


def points(classes: int, n: int = 120, width: int = 6) -> tuple[np.ndarray, np.ndarray, list[str]]:
    labels = (np.arange(n) % classes).astype(np.int32)
    centres = RANDOM.normal(size=(classes, width))
    embeddings = (centres[labels] + RANDOM.normal(size=(n, width))) * 3 + 7
    return embeddings.astype(np.float32), labels, [f"g{number // 4}" for number in range(n)]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_is_the_logistic_regression_of_scikit_learn(classes: int) -> None:
    embeddings, labels, groups = points(classes)
    head = fit_head(embeddings, labels, groups)
    assert head.weights.shape == (1 if classes == 2 else classes, 6)
    scaler = StandardScaler().fit(embeddings.astype(np.float64))
    scaler.scale_ = np.maximum(scaler.scale_, np.sqrt(np.square(scaler.scale_).mean()) / 2)
    wanted = LogisticRegression(C=head.strength, tol=1e-8, max_iter=5000).fit(scaler.transform(embeddings), labels)
    logits = wanted.decision_function(scaler.transform(embeddings)).reshape(len(labels), -1) / head.temperature
    np.testing.assert_allclose(embeddings @ head.weights.T + head.bias, logits, atol=1e-2)


def rare(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that five features tell apart, and 200 that are nearly always the same, but not in every image."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) % 2).astype(np.int32)
    telling = labels[:, None] * 1.5 + random.normal(size=(n, 5))
    silent = random.normal(size=(n, 200)) * np.where(random.random((n, 200)) < 0.01, 1, 1e-4)
    return np.hstack([telling, silent]).astype(np.float32), labels


def test_features_that_hardly_vary_do_not_outvote_the_others() -> None:
    embeddings, labels = rare(40, 0)
    head = fit_head(embeddings, labels, [str(row) for row in range(40)])
    new, truth = rare(400, 1)
    probabilities = head.probabilities(new)
    assert -np.log(probabilities[np.arange(400), truth]).mean() < 0.5
    assert abs(probabilities.max(axis=1).mean() - (probabilities.argmax(axis=1) == truth).mean()) < 0.1


def test_left_out_images_do_not_tell_on_what_scale_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled: list[int] = []
    standardisation = head_module.standardisation

    def noted(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled.append(len(embeddings))
        return standardisation(embeddings)

    monkeypatch.setattr(head_module, "standardisation", noted)
    embeddings, labels, groups = points(2)
    fit_head(embeddings, labels, groups)
    assert len(scaled) == head_module.FOLDS + 1
    assert scaled.count(len(embeddings)) == 1


def test_features_that_never_vary_change_nothing() -> None:
    embeddings, labels, groups = points(2)
    blank = np.hstack([embeddings, np.full((len(embeddings), 3), 7, np.float32)])
    alone, beside = fit_head(embeddings, labels, groups), fit_head(blank, labels, groups)
    np.testing.assert_allclose(
        beside.probabilities(blank), alone.probabilities(embeddings), atol=1e-4
    )  # both searches stop within a tolerance


def test_softmax_of_two_classes_says_the_same() -> None:
    embeddings, labels, groups = points(2)
    sigmoid, softmax = (fit_head(embeddings, labels, groups, softmax=flag) for flag in (False, True))
    assert softmax.weights.shape == (2, 6)
    np.testing.assert_allclose(softmax.probabilities(embeddings), sigmoid.probabilities(embeddings), atol=1e-5)


def test_groups_are_left_out_whole() -> None:
    """Features that name the group and not the class: seen through by groups only."""
    groups = [f"g{number // 4}" for number in range(160)]
    labels = np.array([number // 4 % 2 for number in range(160)], dtype=np.int32)
    embeddings = (
        np.eye(40, dtype=np.float32)[np.arange(160) // 4] + RANDOM.normal(size=(160, 40)).astype(np.float32) / 50
    )
    by_group = fit_head(embeddings, labels, groups)
    by_image = fit_head(embeddings, labels, [str(number) for number in range(160)])
    assert left_out_log_loss(by_group) > 0.6  # by chance alone 0.69
    assert left_out_log_loss(by_image) < 0.1


def left_out_log_loss(head: Head) -> float:
    return float(re.search(r"log loss ([0-9.]+)", head.note)[1])  # type: ignore[index]


def test_one_group_leaves_nothing_to_choose_by() -> None:
    embeddings, labels, _ = points(2)
    head = fit_head(embeddings, labels, ["a" if label else f"b{row}" for row, label in enumerate(labels)])
    assert head.strength == FALLBACK_STRENGTH
    assert "not chosen" in head.note
    assert head.temperature == 1
    assert "fewer than two classes have images of two groups" in head.calibration


def test_one_class_of_one_image_leaves_the_others_to_choose_by() -> None:
    embeddings, labels, groups = points(7)
    rare = np.append(labels, 7).astype(np.int32)
    with_one = np.vstack([embeddings, embeddings[:1] + 9])
    head = fit_head(with_one, rare, [*groups, "alone"])
    assert head.weights.shape == (8, 6)
    assert head.temperature != 1
    assert "5-fold" in head.note
    assert "120 training images" in head.calibration
    assert "1 of 8 classes could not be judged" in head.calibration
    assert "could not be judged" not in fit_head(embeddings, labels, groups).calibration


def test_the_log_loss_is_that_of_the_images_left_out() -> None:
    """Many images in a group that is never left out change the loss of the others, but not by their number."""
    embeddings, labels, groups = points(3, n=240)
    labels = np.concatenate([labels, np.full(240, 3, np.int32)])
    far = np.vstack([embeddings, np.full((240, 6), 60, np.float32) + RANDOM.normal(size=(240, 6)).astype(np.float32)])
    alone = left_out_log_loss(fit_head(embeddings, labels[:240], groups))
    beside = left_out_log_loss(fit_head(far, labels, [*groups, *["far"] * 240]))
    assert beside > 0.7 * alone


def test_two_images_are_a_classifier() -> None:
    head = fit_head(np.eye(2, dtype=np.float32), np.array([0, 1], np.int32), ["a", "b"])
    assert (head.strength, head.temperature) == (FALLBACK_STRENGTH, 1)
    assert "fewer than two classes have images of two groups" in head.note


def test_probabilities_mean_what_they_say_for_groups_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that name the group and a penalty too weak for them: surer of its own groups than right on others."""
    monkeypatch.setattr(head_module, "STRENGTHS", (1.0,))
    random = np.random.default_rng(0)

    def draw(groups: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        labels = (np.arange(groups * 4) // 4 % 2).astype(np.int32)
        own = np.repeat(random.normal(size=(groups, 30)), 4, axis=0) * 2
        embeddings = np.hstack([labels[:, None] * 1.5 + random.normal(size=(groups * 4, 1)), own])
        return embeddings.astype(np.float32), labels, [f"g{row // 4}" for row in range(groups * 4)]

    head = fit_head(*draw(60))
    new, truth, _ = draw(400)
    logits = (new @ head.weights.T + head.bias) * head.temperature
    before = np.hstack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))]).astype(np.float32)
    assert head.temperature > 1.5
    assert f"temperature {head.temperature:.3f} (less sure" in head.calibration
    assert calibration_error(head.probabilities(new), truth) < 0.5 * calibration_error(before, truth)


def test_balanced_classes_weigh_alike() -> None:
    labels = (np.arange(200) < 10).astype(np.int32)
    embeddings = (labels[:, None] + RANDOM.normal(size=(200, 4)) * 1.5).astype(np.float32)
    groups = [str(row) for row in range(200)]
    plain, balanced = (fit_head(embeddings, labels, groups, balanced=flag) for flag in (False, True))
    found = [int((head.probabilities(embeddings).argmax(axis=1) == 1).sum()) for head in (plain, balanced)]
    assert found[1] > 3 * max(1, found[0])


def test_features_that_never_vary_do_no_harm() -> None:
    embeddings, labels, groups = points(2)
    constant = np.hstack([embeddings, np.full((len(labels), 2), 5, np.float32)])
    assert np.isfinite(fit_head(constant, labels, groups).weights).all()


def test_the_same_seed_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels, groups = points(3)
    first, second = fit_head(embeddings, labels, groups, seed=3), fit_head(embeddings, labels, groups, seed=3)
    assert first.weights.tobytes() == second.weights.tobytes()
    monkeypatch.setattr(head_module, "STRENGTHS", (1e-4,))
    assert fit_head(embeddings, labels, groups, seed=3).weights.tobytes() != first.weights.tobytes()
