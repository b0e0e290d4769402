import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from fieldmark.evaluation.calibration import (
    brier_scores,
    calibration_error,
    calibration_interval,
    fit_temperature,
    reliability,
)

RANDOM = np.random.default_rng(0)


def drawn(rows, classes, true_temperature):
    """Logits, and labels drawn from the softmax of the logits over the temperature."""
    logits = RANDOM.normal(size=(rows, classes)) * 4
    shares = np.exp(logits / true_temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    return logits, (shares.cumsum(axis=1) > RANDOM.random((rows, 1))).argmax(axis=1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_true_temperature_is_found(classes, temperature):
    logits, labels = drawn(8000, classes, temperature)
    groups = [str(row) for row in range(len(labels))]
    assert fit_temperature(logits, labels, groups) == pytest.approx(temperature, rel=0.08)
    if classes == 2:
        one = fit_temperature(logits[:, 1:] - logits[:, :1], labels, groups)
        assert one == pytest.approx(fit_temperature(logits, labels, groups), rel=1e-3)


def test_perfect_answers_do_not_make_certain():
    labels = np.arange(60) % 2
    logits = np.where(labels == 1, 5.0, -5.0)[:, None]
    few, many = (fit_temperature(logits, labels, [str(row // size) for row in range(60)]) for size in (10, 1))
    for temperature, groups in ((few, 6), (many, 60)):
        assert 1 - 1 / (1 + np.exp(-5 / temperature)) == pytest.approx(0.5 / (groups + 1), rel=1e-3)


def test_brier_is_scikit_learns_twice():
    positive = RANDOM.random(50).astype(np.float32)
    labels = RANDOM.integers(0, 2, 50)
    scores = brier_scores(np.stack([1 - positive, positive], axis=1), labels)
    assert scores.mean() == pytest.approx(2 * brier_score_loss(labels, positive), rel=1e-5)


def test_the_bins_hold_every_image_once():
    probabilities = RANDOM.dirichlet([0.5] * 3, 200).astype(np.float32)
    labels = RANDOM.integers(0, 3, 200)
    bins = reliability(probabilities, labels, [str(row % 9) for row in range(200)])
    assert sum(row["n"] for row in bins) == 200
    assert all(row["low"] < row["confidence"] <= row["high"] + 1e-6 and row["groups"] <= 9 for row in bins)
    for row in bins:
        low, high = row["accuracy_interval"]
        assert low <= row["accuracy"] <= high
        assert low < high
    error = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 200
    assert calibration_error(probabilities, labels) == pytest.approx(error)
    assert reliability(probabilities[:0], labels[:0]) == []
    assert calibration_error(probabilities[:0], labels[:0]) is None


@pytest.mark.parametrize(("groups", "size", "sharpness"), [(10, 8, 1.0), (100, 1, 1.0), (30, 8, 3.0)])
def test_the_interval_of_the_calibration_error_covers_the_truth(groups, size, sharpness):
    """Sharper than right, or calibrated: percentiles of resamples hold the truth of the latter in next to none."""
    random = np.random.default_rng(0)

    def drawn(groups):
        labels = np.repeat(random.integers(0, 2, groups), size)
        noise = np.repeat(random.normal(size=groups), size) * 0.4**0.5 + random.normal(size=len(labels)) * 0.6**0.5
        logits = sharpness * (2 * labels - 1 + 2**0.5 * noise)  # of sharpness 1 as sure as right
        positive = 1 / (1 + np.exp(-logits))
        return np.stack([1 - positive, positive], axis=1), labels

    truth, held = calibration_error(*drawn(200_000 // size)), 0
    names = [str(row // size) for row in range(groups * size)]
    for _ in range(400):
        probabilities, labels = drawn(groups)
        low, high = calibration_interval(probabilities, labels, names)
        assert 0 <= low <= calibration_error(probabilities, labels) <= high <= 1
        assert low < high
        held += low <= truth <= high
    assert held / 400 >= 0.91  # .94 to .99, with a deviation of .012


def test_one_group_tells_no_interval_of_the_calibration_error():
    assert calibration_interval(np.full((4, 2), 0.5), np.array([0, 1, 0, 1]), ["a"] * 4) is None
