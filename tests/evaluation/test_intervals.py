import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fieldmark.evaluation import intervals
from fieldmark.evaluation.calibration import brier_scores, log_losses
from fieldmark.evaluation.intervals import (
    Share,
    accuracy_interval,
    grouped_intervals,
    mean_interval,
    mean_of,
    student,
    wilson,
)
from fieldmark.evaluation.metrics import split_metrics


@pytest.mark.parametrize(
    ("accuracy", "groups", "size", "likeness"), [(0.9, 20, 8, 0.3), (0.95, 60, 8, 0.1), (0.8, 11, 12, 0.1)]
)
def test_it_covers_the_truth(accuracy, groups, size, likeness):
    random, strength = np.random.default_rng(2), (1 - likeness) / likeness
    shares = random.beta(accuracy * strength, (1 - accuracy) * strength, (300, groups))
    right, place = np.unique(np.sort(random.binomial(size, shares), axis=1), axis=0, return_inverse=True)
    low, high = grouped_intervals(right, np.full(groups, size))[place.ravel()].T
    # 300 draws of .95 deviate by .013; benchmarks/trust.py draws many more.
    assert 0.915 <= ((low <= accuracy) & (accuracy <= high)).mean() <= 0.985


def beta_binomial_bounds(right, sizes):
    """The same posterior on a plain fine grid, with scipy's own distributions; r is 0 with probability .1."""
    logits, likenesses = np.linspace(-12, 12, 801), (np.arange(300) + 0.5) / 300
    mean, r = 1 / (1 + np.exp(-logits))[:, None], likenesses[None]
    strength = (1 - r) / r
    log = sum(stats.betabinom.logpmf(k, n, mean * strength, (1 - mean) * strength) for k, n in zip(right, sizes))  # noqa: B905
    independent = sum(stats.binom.logpmf(k, n, mean) for k, n in zip(right, sizes))  # noqa: B905
    top = max(log.max(), independent.max())
    over_r = 0.9 * np.exp(log - top).mean(axis=1) + 0.1 * np.exp(independent - top)[:, 0]
    density = over_r * np.sqrt(mean * (1 - mean))[:, 0]
    steps = np.cumsum(density)
    return 1 / (1 + np.exp(-np.interp([0.025, 0.975], (steps - density / 2) / steps[-1], logits)))


@pytest.mark.parametrize(
    ("right", "sizes"),
    [
        ([9] * 20, [10] * 20),
        ([10] * 19 + [9], [10] * 20),
        ([10] * 15 + [5] * 5, [10] * 20),
        ([10] * 16 + [0] * 4, [10] * 20),
        ([1, 4, 9, 30], [2, 4, 10, 40]),
        ([170, 200, 150], [200, 200, 160]),
    ],
)
def test_it_is_the_posterior_of_a_beta_binomial(right, sizes):
    found = grouped_intervals(np.array([right]), np.array(sizes))[0]
    assert found == pytest.approx(beta_binomial_bounds(right, sizes), abs=0.006)


def test_groups_of_one_are_wilsons():
    correct = np.array([True] * 18 + [False] * 2)
    assert accuracy_interval(correct, [str(row) for row in range(20)]) == (*wilson(18, 20), "wilson")
    assert accuracy_interval(correct[:0], []) == (0.0, 1.0, "wilson")


def test_many_alike_groups_are_nearly_wilsons_of_their_images():
    random = np.random.default_rng(0)
    right = random.binomial(10, 0.9, 300)
    low, high = grouped_intervals(right[None], np.full(300, 10))[0]
    narrow = wilson(right.sum(), 3000)
    assert high - low == pytest.approx(narrow[1] - narrow[0], rel=0.15)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=2, max_size=12))
def test_it_holds_what_was_observed(groups):
    sizes = np.array([size for size, _ in groups])
    right = np.array([round(share * size) for size, share in groups])
    ((low, high),) = grouped_intervals(right[None], sizes)
    assert 0 <= low <= right.sum() / sizes.sum() <= high <= 1
    # Right and wrong in each other's place: the same interval from the other end.
    ((other_low, other_high),) = grouped_intervals((sizes - right)[None], sizes)
    assert (1 - other_high, 1 - other_low) == pytest.approx((low, high), abs=1e-6)


def test_a_group_of_a_hundred_thousand_takes_no_longer_path():
    ((low, high),) = grouped_intervals(np.array([[99_000, 98_000]]), np.array([100_000, 100_000]))
    assert 0 < low < 0.9 < high < 1


def test_the_mean_of_shares():
    assert mean_of([]) is None
    same = [Share(0.9, 0.8, 0.95)] * 4
    mean = mean_of(same)
    assert (mean.low, mean.high) == pytest.approx((0.9 - 0.1 / 2, 0.9 + 0.05 / 2))


@given(st.integers(3, 500))
def test_students_t_is_scipys(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_the_mean_of_values_is_students_over_groups():
    half = np.random.default_rng(0).normal(size=15)
    values = np.concatenate([half, -half])  # not skewed
    low, high = mean_interval(values, [str(row) for row in range(30)])
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 29, values.mean(), stats.sem(values)), rel=1e-3)
    doubled = mean_interval(np.repeat(values, 5), [str(row // 5) for row in range(150)])
    assert doubled == pytest.approx([low, high], rel=1e-9)  # copies tell nothing new
    assert mean_interval(values, ["a"] * 30) is None


def test_the_mean_of_values_that_are_all_alike_is_not_known_exactly():
    names = [str(row) for row in range(30)]
    assert mean_interval(np.full(30, 0.1), names) is None
    low, high = mean_interval(np.full(30, 0.1), names, least=0.0, imagined=2.0)
    assert low < 0.1 < 0.12 < high < 0.2


def test_skewed_values_reach_further_up_than_down():
    values = np.array([0.01] * 27 + [1.5] * 3)
    low, high = mean_interval(values, [str(row) for row in range(30)], least=0.0)
    assert high - values.mean() > 1.5 * (values.mean() - low)
    assert high < 0.6  # as far as it is skewed, 1.1
    mirrored = mean_interval(-values, [str(row) for row in range(30)], most=0.0)
    assert mirrored == pytest.approx([-high, -low])


@pytest.mark.parametrize(("images", "size", "strength"), [(60, 1, 3.2), (150, 1, 3.0), (80, 8, 3.2), (300, 5, 3.2)])
def test_losses_cover_the_truth_where_mistakes_are_rare(images, size, strength):
    """Two classes, .976 to .984 right; Student's t alone held the Brier score in .80 to .90 of the draws."""
    random, groups = np.random.default_rng(0), images // size

    def drawn(groups):
        common = np.repeat(random.normal(size=groups), size)
        own = random.normal(size=groups * size)
        right = 1 / (1 + np.exp(-strength - 1.5 * (0.3**0.5 * common + 0.7**0.5 * own)))
        return np.stack([right, 1 - right], axis=1), np.zeros(groups * size, np.int64)

    losses = {"brier": brier_scores, "log_loss": log_losses}
    truth = {name: loss(*drawn(200_000)).mean() for name, loss in losses.items()}
    held, names = dict.fromkeys(losses, 0), [str(row // size) for row in range(images)]
    for _ in range(400):
        probabilities, labels = drawn(groups)
        for name, loss in losses.items():
            imagined = loss(probabilities, 1 - probabilities.argmax(axis=1)).mean()
            low, high = mean_interval(loss(probabilities, labels), names, least=0.0, imagined=imagined)
            held[name] += low <= truth[name] <= high
    assert min(held.values()) / 400 >= 0.92


def test_the_interval_of_a_mean_stays_within_what_values_can_be() -> None:
    values, groups = np.array([0.1, 0.1, 1.9, 1.9]), list("aabb")
    assert mean_interval(values, groups, least=0.0, most=2.0) == [0.0, 2.0]
    found = split_metrics(
        np.array([[0.9, 0.1], [0.001, 0.999]] * 2, np.float32), np.array([0, 0] * 2), list("abab"), "xy"
    )
    assert found["brier_interval"] == [0.0, 2.0]
    assert found["log_loss_interval"] == [0.0, pytest.approx(-np.log(np.finfo(np.float32).eps))]


def test_with_every_answer_right_a_group_counts_as_one_image() -> None:
    sizes = np.full(12, 20)
    ((low, high),) = intervals.grouped_intervals(sizes[None], sizes).tolist()
    assert (low, high) == intervals.wilson(12, 12)


def test_the_interval_holds_what_was_observed_in_groups_of_uneven_size() -> None:
    sizes = np.array([500, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    right = np.array([[500, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    ((low, high),) = intervals.grouped_intervals(right, sizes).tolist()
    assert low <= 500 / 509 <= high


def test_it_covers_the_truth_where_large_groups_fare_worse() -> None:
    """60 groups: 18 of 40 images right in 60 %, 42 of 8 images in 95 %; without the second interval .46 are covered."""
    random, likeness = np.random.default_rng(0), 0.2
    sizes = np.repeat([40, 8], [18, 42])
    means = np.where(sizes > 20, 0.6, 0.95)
    scale = (1 - likeness) / likeness
    right = random.binomial(sizes, random.beta(means * scale, (1 - means) * scale, (200, 60)))
    bounds = intervals.grouped_intervals(right, sizes)
    truth = float((means * sizes).sum() / sizes.sum())
    assert ((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean() >= 0.9


def test_a_difference_stays_within_what_shares_can_differ() -> None:
    one, other = intervals.Share(1.0, 0.2, 1.0), intervals.Share(0.0, 0.0, 0.8)
    for correlation in (0.0, -1.0):
        low, high = intervals.difference_interval(one, other, correlation=correlation)
        assert -1 <= low <= high <= 1
        low, high = intervals.difference_interval(other, one, correlation=correlation)
        assert -1 <= low <= high <= 1
    low, _ = intervals.difference_interval(
        intervals.Share(0.1, 0.0, 0.2), intervals.Share(0.9, 0.1, 1.9), correlation=-1.0
    )
    assert low == -1
