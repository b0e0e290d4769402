import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from fieldmark.evaluation.calibration import calibration_error
from fieldmark.evaluation.intervals import accuracy_interval, wilson
from fieldmark.evaluation.metrics import metrics_of, overfitting, percent, split_metrics
from fieldmark.evaluation.predictions import answers
from tests.evaluation.test_predictions import predictions_of


def random_case(rows, classes, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows).astype(np.int32)
    probabilities = random.dirichlet([0.5] * classes, rows)
    probabilities[np.arange(rows), labels] += random.choice([0, 1], rows)
    return (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32), labels


def measured(probabilities, labels, *, groups=None):
    names = [f"class {number}" for number in range(probabilities.shape[1])]
    groups = groups or [str(row) for row in range(len(labels))]
    return split_metrics(probabilities, labels, groups, names)


def answered(right, wrong, size):
    """Correctness and groups: `right` groups all right, `wrong` groups all wrong, of `size` images each."""
    correct = np.repeat([True] * right + [False] * wrong, size)
    return correct, [str(row // size) for row in range(len(correct))]


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), classes=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
def test_metrics_equal_scikit_learn(rows, classes, seed):
    probabilities, labels = random_case(rows, classes, seed)
    result, predicted, every = measured(probabilities, labels), answers(probabilities), range(classes)
    assert result["n"] == rows
    assert result["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    matrix = reference.confusion_matrix(labels, predicted, labels=every)
    assert result["confusion"] == matrix.tolist()
    exact = np.clip(probabilities.astype(np.float64), 2**-23, 1)
    loss = reference.log_loss(labels, exact / exact.sum(1, keepdims=True), labels=every)
    assert result["log_loss"] == pytest.approx(loss, rel=1e-5, abs=1e-5)
    precision, recall, f1, images = reference.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    recalls = recall[images > 0]
    assert result["balanced_accuracy"] == pytest.approx(recalls.mean())
    for label, row in enumerate(result["per_class"].values()):
        assert row["n"] == images[label]
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            expected = None if math.isnan(values[label]) else pytest.approx(values[label])
            assert row[name] == expected, name


def assert_nearly(one, other):
    """Nested values with the same keys and lengths, numbers alike within rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_nearly(a, b)
    else:
        assert one == (pytest.approx(other, abs=1e-6) if isinstance(one, float) else other)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 80), seed=st.integers(0, 2**32 - 1))
def test_rows_in_another_order_measure_the_same(rows, seed):
    probabilities, labels = random_case(rows, 3, seed)
    groups = [str(row % 7) for row in range(rows)]
    order = np.random.default_rng(seed).permutation(rows)
    one = measured(probabilities, labels, groups=groups)
    other = measured(probabilities[order], labels[order], groups=[groups[row] for row in order])
    assert sum(map(sum, one["confusion"])) == rows
    assert_nearly(one, other)


def test_fields_are_those_of_the_contract_and_json():
    probabilities, labels = random_case(30, 2, 0)
    result = measured(probabilities, labels)
    fields = (
        "n groups accuracy accuracy_interval interval_method balanced_accuracy balanced_accuracy_interval log_loss "
        "log_loss_interval brier brier_interval ece ece_interval reliability per_class confusion classes "
        "positive_class roc precision_recall"
    )
    assert list(result) == fields.split()
    assert result["positive_class"] == "class 1"
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert "positive_class" not in measured(*random_case(30, 3, 0))


def test_an_empty_split_has_no_numbers_but_all_fields():
    result = measured(np.zeros((0, 3), np.float32), np.zeros(0, np.int32))
    assert (result["n"], result["groups"], result["accuracy_interval"]) == (0, 0, [0.0, 1.0])
    for name in (
        "accuracy",
        "balanced_accuracy",
        "balanced_accuracy_interval",
        "log_loss",
        "brier",
        "ece",
        "ece_interval",
    ):
        assert result[name] is None, name
    nothing = {"n": 0, "precision": None, "recall": None, "f1": None}
    nothing |= {"groups": 0, "precision_interval": None, "recall_interval": None, "f1_interval": None}
    assert result["per_class"]["class 0"] == nothing
    json.dumps(result, allow_nan=False)


def test_images_without_a_label_are_left_out():
    probabilities, labels = random_case(40, 3, 1)
    labels[::4] = -1
    known = labels >= 0
    assert measured(probabilities, labels) == measured(
        probabilities[known], labels[known], groups=[str(row) for row in np.flatnonzero(known)]
    )


def test_a_certain_wrong_answer_costs_a_finite_loss():
    loss = measured(np.array([[1, 0]], np.float32), np.array([1], np.int32))["log_loss"]
    assert loss == pytest.approx(-math.log(2**-23))


def test_calibration_error_of_known_cases():
    # Sure and right half the time: off by a half. Six tenths sure and right six times of ten: not off at all.
    half = np.tile(np.array([[1, 0]], np.float32), (10, 1))
    assert calibration_error(half, np.array([0, 1] * 5)) == pytest.approx(0.5)
    fair = np.tile(np.array([[0.6, 0.4]], np.float32), (10, 1))
    assert calibration_error(fair, np.array([0] * 6 + [1] * 4)) == pytest.approx(0, abs=1e-6)
    # Two bins must not cancel: .9 sure and always right, .6 sure and never.
    mixed = np.array([[0.9, 0.1]] * 6 + [[0.6, 0.4]] * 1, np.float32)
    assert calibration_error(mixed, np.array([0] * 6 + [1])) == pytest.approx((6 * 0.1 + 0.6) / 7, abs=1e-6)


def test_calibration_error_equals_the_plain_loop():
    probabilities, labels = random_case(500, 4, 3)
    confidence, right = probabilities.max(1), answers(probabilities) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_published_bounds(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 10_000), data=st.data())
def test_wilson_equals_scipy(n, data):
    successes = data.draw(st.integers(0, n))
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_interval_without_groups_is_wilson():
    correct = np.array([True] * 18 + [False] * 2)
    low, high, method = accuracy_interval(correct, [str(row) for row in range(20)])
    assert ((low, high), method) == (wilson(18, 20), "wilson")
    assert accuracy_interval(correct[:0], []) == (0.0, 1.0, "wilson")


def test_groups_that_stand_or_fall_together_count_once():
    low, high, method = accuracy_interval(*answered(16, 4, 10))
    assert method == "beta-binomial over groups"
    # Near Wilson's of twenty images; what is not known of other groups' likeness makes it a little narrower.
    assert (low, high) == pytest.approx(wilson(16, 20), abs=0.03)


def test_when_all_is_right_only_the_number_of_groups_counts():
    assert accuracy_interval(*answered(20, 0, 10))[:2] == pytest.approx(wilson(20, 20))
    assert accuracy_interval(*answered(1, 0, 50))[:2] == pytest.approx(wilson(1, 1))


def test_groups_that_are_mixed_alike_count_nearly_as_their_images():
    correct = np.array(([True] * 8 + [False] * 2) * 50)
    groups = [str(row // 10) for row in range(500)]
    low, high, _ = accuracy_interval(correct, groups)
    narrow, wide = wilson(400, 500), wilson(40, 50)
    assert narrow[1] - narrow[0] < high - low < 1.25 * (narrow[1] - narrow[0]) < wide[1] - wide[0]


def test_one_more_mistake_never_makes_the_interval_jump_up():
    # 20 groups of 10; mistakes fall into different groups. The lower bound may rise when the first mistakes
    # show that groups do not fall as a whole, but the upper bound must fall with each.
    groups = [str(row // 10) for row in range(200)]
    highs = []
    for wrong in range(12):
        correct = np.ones(200, bool)
        correct[[10 * group for group in range(wrong)]] = False
        highs.append(accuracy_interval(correct, groups)[1])
    assert highs == sorted(highs, reverse=True)


@pytest.mark.parametrize(
    ("rows", "classes", "labels"),
    [(2, 2, [0, 1]), (2, 2, [0, 0]), (5, 3, [0, 0, 1, 1, 1]), (300, 200, None), (1, 2, [1])],
)
def test_odd_splits_have_all_numbers(rows, classes, labels):
    probabilities, drawn = random_case(rows, classes, 0)
    labels = drawn if labels is None else np.array(labels, np.int32)
    for groups in (None, ["one"] * rows, [str(row // 2) for row in range(rows)]):
        result = measured(probabilities, labels, groups=groups)
        json.dumps(result, allow_nan=False)
        low, high = result["balanced_accuracy_interval"]
        assert 0 <= low <= result["balanced_accuracy"] <= high <= 1
        for row in result["per_class"].values():
            assert (row["recall"] is None) == (row["recall_interval"] is None) == (row["n"] == 0)
            assert (row["precision"] is None) == (row["precision_interval"] is None)
            assert (row["f1"] is None) == (row["f1_interval"] is None)
            for name in ("precision", "f1"):
                if row[name] is not None:
                    low, high = row[f"{name}_interval"]
                    assert 0 <= low <= row[name] + 1e-12
                    assert row[name] - 1e-12 <= high <= 1
                    assert low < high


def test_unfamiliar_images_are_counted():
    predictions = predictions_of([[1, 0]] * 4, labels=[0, 0, -1, 0])
    assert metrics_of(predictions)["unfamiliar"] is None
    told = dataclasses.replace(predictions, familiarity=np.array([0.005, 0.01, 0, 0.9], np.float32))
    assert metrics_of(told)["unfamiliar"] == 1


def each_its_own(right, n):
    return predictions_of([[1, 0]] * right + [[0, 1]] * (n - right), labels=[0] * n)


def test_overfitting_interval_is_newcombes():
    # Newcombe 1998, table II, 56/70 against 48/80: method 10 gives 0.0524 to 0.3339.
    result = overfitting(each_its_own(56, 70), each_its_own(48, 80))
    assert result["gap"] == pytest.approx(0.2)
    assert result["gap_interval"] == pytest.approx([0.0524, 0.3339], abs=5e-5)


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        ((1000, 1000), (160, 200), "Much of what was learnt"),
        ((1000, 1000), (190, 200), "Part of what was learnt"),
        ((980, 1000), (490, 500), "No sign of overfitting"),
        ((20, 20), (9, 10), "too few images to tell"),
        ((20, 20), (10, 10), "as far as so few images can show"),
        ((700, 1000), (199, 200), "the easier ones"),
        ((10, 10), (0, 0), "No validation images"),
        ((0, 0), (1, 1), "No training images"),
    ],
)
def test_overfitting_is_put_into_words(train, validation, words):
    result = overfitting(each_its_own(*train), each_its_own(*validation))
    assert words in result["sentence"]
    json.dumps(result, allow_nan=False)


def test_the_sentence_speaks_of_groups_where_there_are_some():
    _, groups = answered(3, 0, 10)
    grouped = dataclasses.replace(each_its_own(30, 30), groups=tuple(groups))
    result = overfitting(each_its_own(30, 30), grouped)
    assert "as far as so few groups can show" in result["sentence"]
    assert "(95 % interval −" in result["sentence"]


def test_images_without_a_label_do_not_count_for_overfitting():
    known = each_its_own(9, 10)
    more = predictions_of([[1, 0]] * 9 + [[0, 1]] * 6, labels=[0] * 10 + [-1] * 5)
    assert overfitting(more, known) == overfitting(known, more) == overfitting(known, known)


def test_the_sentence_says_the_numbers():
    sentence = overfitting(each_its_own(1000, 1000), each_its_own(160, 200))["sentence"]
    assert "Right on 100 % of the training and 80.0 % of the validation images" in sentence
    assert "a gap of 20.0 points (95 % interval 15.0 to 26.1)" in sentence


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.5, "50.0 %"),
        (0.9996, "99.96 %"),
        (1e-9, "0.000000 %"),
        (0.0004, "0.04 %"),
    ],
)
def test_percent_never_rounds_to_certainty(share, text):
    assert percent(share) == text


def test_evaluation_starts_without_heavy_libraries():
    code = (
        "import sys, fieldmark.evaluation.metrics, fieldmark.evaluation.mistakes;"
        "print({'sklearn', 'scipy', 'torch', 'pandas'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
