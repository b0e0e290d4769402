import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from fieldmark.evaluation.curves import MOST_POINTS, choose_threshold, precision_recall, roc


def case(rows, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    labels[:2] = 0, 1
    return np.round(random.normal(size=rows) + labels, 1).astype(np.float32), labels


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 60), seed=st.integers(0, 2**32 - 1))
def test_areas_are_scikit_learns(rows, seed):
    scores, labels = case(rows, seed)
    names = [str(row) for row in range(rows)]
    found = roc(scores, labels, names)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, scores))
    average = precision_recall(scores, labels)["average_precision"]
    assert average == pytest.approx(reference.average_precision_score(labels, scores))
    if found["auc_interval"]:
        low, high = found["auc_interval"]
        assert 0 <= low <= found["auc"] <= high <= 1
    false, true, thresholds = reference.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose([point[:2] for point in found["points"]], np.stack([false, true], axis=1))
    assert [point[2] for point in found["points"][1:]] == pytest.approx(thresholds[1:].tolist())


def test_curves_of_many_images_are_thinned_and_json():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 5000)
    scores = random.random(5000) + labels
    for curve in (roc(scores, labels, [str(row) for row in range(5000)]), precision_recall(scores, labels)):
        assert len(curve["points"]) <= MOST_POINTS
        json.dumps(curve, allow_nan=False)


def test_groups_widen_the_interval_of_the_area():
    scores, labels = case(60, 3)
    copies = [np.repeat(values, 5) for values in (scores, labels)]
    one = roc(scores, labels, [str(row) for row in range(60)])["auc_interval"]
    grouped = roc(*copies, [str(row // 5) for row in range(300)])["auc_interval"]
    alone = roc(*copies, [str(row) for row in range(300)])["auc_interval"]
    assert grouped == pytest.approx(one, rel=1e-6)
    assert alone[1] - alone[0] < 0.6 * (one[1] - one[0])


def test_one_group_of_a_class_tells_no_interval_of_the_area():
    scores, labels = case(40, 1)
    for groups in (labels, np.where(labels == 1, 100, np.arange(40))):
        found = roc(scores, labels, [str(group) for group in groups])
        assert 0 < found["auc"] < 1
        assert found["auc_interval"] is None


def test_one_class_alone_has_no_curve():
    assert roc(np.ones(3), np.zeros(3, int), list("abc")) is None
    assert precision_recall(np.ones(3), np.zeros(3, int)) is None
    assert roc(np.array([0.1, 0.9]), np.array([0, 1]), ["a", "b"])["auc_interval"] is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), positive=st.sampled_from([0, 1, 5]), negative=st.sampled_from([1, 3]))
def test_no_other_threshold_costs_less(seed, positive, negative):
    random = np.random.default_rng(seed)
    probabilities, labels = random.random(30).round(2), random.integers(0, 2, 30)
    chosen = choose_threshold(probabilities, labels, positive, negative)

    def cost(threshold):
        answered = probabilities >= threshold
        return (positive * (answered & (labels == 0)).sum() + negative * (~answered & (labels == 1)).sum()) / 30

    assert chosen["cost"] == pytest.approx(cost(chosen["threshold"]))
    assert chosen["cost_at_half"] == pytest.approx(cost(0.5))
    assert chosen["cost"] <= min(cost(threshold) for threshold in np.linspace(0, 1, 501)) + 1e-12


def test_without_images_the_costs_alone_decide():
    chosen = choose_threshold(np.zeros(0), np.zeros(0, int), 1, 3)
    assert (chosen["threshold"], chosen["cost"], chosen["n"]) == (0.25, None, 0)
    for costs in ((-1, 1), (0, 0), (float("nan"), 1)):
        with pytest.raises(ValueError, match="costs"):
            choose_threshold(np.zeros(1), np.zeros(1, int), *costs)
