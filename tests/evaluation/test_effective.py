import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldmark.evaluation.effective import effective_interval, ratio_of
from fieldmark.evaluation.intervals import share_of, wilson
from fieldmark.evaluation.metrics import split_metrics


def of_one_class_each(random, *, groups=30, accuracy=0.9, likeness=0.15):
    """Labels, answers and groups of 5 to 12 images, each group of one of two classes, as likely either."""
    sizes = random.integers(5, 13, groups)
    numbers = np.repeat(np.arange(groups), sizes)
    scale = (1 - likeness) / likeness
    shares = random.beta(accuracy * scale, (1 - accuracy) * scale, groups)[numbers]
    labels = random.integers(0, 2, groups)[numbers]
    predicted = np.where(random.random(len(numbers)) < shares, labels, 1 - labels)
    return labels, predicted, numbers


def test_precision_and_f1_cover_the_truth_and_are_no_wider_than_that_takes():
    """Wrong answers of the other class's groups are no groups that are always wrong: before, 100 % and .41 wide."""
    random, truth, draws = np.random.default_rng(0), 0.9, 300  # of even classes, precision and F1 are the accuracy
    held, widths = np.zeros(2), np.zeros(2)
    for _ in range(draws):
        labels, predicted, groups = of_one_class_each(random)
        right, answered = labels & predicted == 1, predicted == 1
        precision, jaccard = ratio_of(right, answered, groups), ratio_of(right, answered | (labels == 1), groups)
        bounds = np.array([[s.low, s.high] for s in (precision, jaccard)])
        bounds[1] = 2 * bounds[1] / (1 + bounds[1])
        held += (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
        widths += (bounds[:, 1] - bounds[:, 0]) / draws
    assert (held / draws >= 0.925).all()
    assert (held / draws <= 0.995).all()
    assert (widths < 0.28).all()


def test_precision_of_many_groups_is_known_as_well_as_recall():
    """1,200 images in 100 groups of one class each, 8 % wrong wherever they are: .50 to .95 before."""
    random = np.random.default_rng(3)
    labels, groups = np.repeat(np.arange(100) % 2, 12), [str(row // 12) for row in range(1200)]
    predicted = labels.copy()
    wrong = random.choice(1200, 96, replace=False)
    predicted[wrong] = 1 - labels[wrong]
    found = split_metrics(np.eye(2, dtype=np.float32)[predicted], labels, groups, ("a", "b"))
    for row in found["per_class"].values():
        for name in ("precision", "f1"):
            low, high = row[f"{name}_interval"]
            assert 0.84 < low < row[name] < high < 0.97, name


def test_without_groups_precision_is_wilsons():
    labels, predicted = np.array([1] * 18 + [0] * 22), np.array([1] * 20 + [0] * 20)
    found = ratio_of((labels & predicted) == 1, predicted == 1, np.arange(40))
    assert (found.low, found.high) == wilson(18, 20)


def test_one_group_that_answers_tells_little():
    hits = np.array([True, True, True, False, False] + [False] * 45)
    among, groups = np.arange(50) < 5, np.arange(50) // 5
    assert ratio_of(hits, among, groups) == share_of(hits[:5], ["0"] * 5)
    assert ratio_of(hits, np.zeros(50, bool), groups) is None


def test_with_every_answer_right_only_groups_count():
    right, groups = np.ones(200, bool), np.arange(200) // 10
    assert (ratio_of(right, right, groups).low, ratio_of(right, right, groups).high) == wilson(20, 20)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 60), seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9))
def test_a_ratio_lies_within_its_interval_which_is_never_a_point(rows, seed, size):
    random = np.random.default_rng(seed)
    among, hits = random.random(rows) < 0.5, random.random(rows) < random.random()
    found = ratio_of(hits & among, among, np.arange(rows) // size)
    if found is None:
        assert not among.any()
    else:
        assert found.value == pytest.approx(hits[among].mean())
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


def test_few_groups_that_tell_are_not_trusted_to_say_how_alike_images_are():
    few, many = (
        effective_interval(0.95, 0.0004, images=120, whole=12, telling=telling, freedom=11) for telling in (1, 11)
    )
    assert few[1] - few[0] > 1.3 * (many[1] - many[0])
