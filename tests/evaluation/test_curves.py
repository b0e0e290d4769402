import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from fieldmark.evaluation.curves import MOST_POINTS, choose_threshold, precision_recall, roc
from fieldmark.evaluation.effective import effective_interval, standing_whole
from fieldmark.evaluation.intervals import wilson


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
    average = precision_recall(scores, labels, names)["average_precision"]
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
    names = [str(row) for row in range(5000)]
    for curve in (roc(scores, labels, names), precision_recall(scores, labels, names)):
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
    assert precision_recall(np.ones(3), np.zeros(3, int), list("abc")) is None
    assert roc(np.array([0.1, 0.9]), np.array([0, 1]), ["a", "b"])["auc_interval"] is None


def grouped(random, groups, truth, *, size=10, likeness=0.3):
    """Scores, labels and groups of one class each, whose area under the curve is `truth` over other groups."""
    numbers = np.repeat(np.arange(groups), size)
    labels = (random.permutation(groups) % 2)[numbers]
    common, own = random.normal(size=groups)[numbers], random.normal(size=len(numbers))
    scores = stats.norm.ppf(truth) * 2**0.5 * labels + likeness**0.5 * common + (1 - likeness) ** 0.5 * own
    return scores, labels, [str(number) for number in numbers]


@pytest.mark.parametrize(("groups", "truth"), [(10, 0.97), (30, 0.97), (40, 0.998)])
def test_areas_cover_the_truth_with_few_groups_and_few_mistakes(groups, truth):
    """With the normal quantile on the logit scale .78, .90 and .77 of the draws."""
    random = np.random.default_rng(0)
    everyone = grouped(random, 20_000, truth)
    average = reference.average_precision_score(everyone[1], everyone[0])
    held = np.zeros(2)
    for _ in range(300):
        scores, labels, names = grouped(random, groups, truth)
        found = roc(scores, labels, names), precision_recall(scores, labels, names)
        bounds = found[0]["auc_interval"], found[1]["average_precision_interval"]
        held += [low <= true <= high for (low, high), true in zip(bounds, (truth, average), strict=True)]
    assert (held / 300 >= 0.93).all()


def test_no_mistake_among_a_few_groups_does_not_mean_none_ever():
    labels, names = np.repeat([0, 1], 100), [str(row // 10) for row in range(200)]
    found = roc(labels + 0.1, labels, names), precision_recall(labels + 0.1, labels, names)
    assert found[0]["auc_interval"] == found[1]["average_precision_interval"] == list(wilson(10, 10))


def test_the_interval_of_the_average_precision_knows_what_each_image_changes():
    """The influence of a group is the slope of the average precision in the weight of its images."""
    random = np.random.default_rng(5)
    scores, labels = np.round(random.normal(size=40) + random.integers(0, 2, 40), 1), random.integers(0, 2, 40)
    numbers, step = np.arange(40) // 4, 1e-5
    slopes = []
    for number in range(10):
        weights = np.where(numbers == number, 1 + step, 1.0)
        more = reference.average_precision_score(labels, scores, sample_weight=weights)
        slopes.append((more - reference.average_precision_score(labels, scores)) / step)
    average = reference.average_precision_score(labels, scores)
    positive = labels == 1
    expected = effective_interval(
        average,
        10 / 9 * float((np.array(slopes) ** 2).sum()),
        images=int(positive.sum()),
        each=2,
        whole=min(standing_whole(numbers[positive]), standing_whole(numbers[~positive])),
        telling=10,
        freedom=9,
    )
    found = precision_recall(scores, labels, [str(number) for number in numbers])
    assert found["average_precision_interval"] == pytest.approx(expected, abs=5e-3)


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
