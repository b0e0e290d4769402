"""The difference of two classifiers: exact tests, intervals that cover, flips by name."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from fieldmark.evaluation.compare import compare_predictions, mcnemar, paired_interval
from fieldmark.evaluation.predictions import Predictions


def answers_of(names: str, labels: str, classes: tuple[str, ...] = ("a", "b"), **columns: object) -> Predictions:
    """Predictions that answer these classes, one letter an image."""
    shares = np.full((len(names), len(classes)), 0.1, np.float32)
    for row, name in enumerate(names):
        shares[row, classes.index(name)] = 1 - 0.1 * (len(classes) - 1)
    given = {
        "paths": tuple(f"{row}.png" for row in range(len(names))),
        "labels": np.array([classes.index(label) if label in classes else -1 for label in labels], np.int32),
        "splits": ("validation",) * len(names),
        "groups": tuple(f"{row}" for row in range(len(names))),
    }
    return Predictions(probabilities=shares, classes=classes, **(given | columns))  # type: ignore[arg-type]


def test_mcnemar_is_the_exact_binomial_test() -> None:
    for lost, won in [(0, 1), (3, 9), (10, 10), (40, 80), (700, 800)]:
        expected = binomtest(min(lost, won), lost + won).pvalue
        assert mcnemar(lost, won) == mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)


def test_flips_both_ways_by_path() -> None:
    found = compare_predictions(answers_of("aabb", "aaab"), answers_of("abab", "aaab"))
    assert [(flip["path"], flip["better"], flip["a"], flip["b"]) for flip in found["flips"]] == [
        ("1.png", "a", "a", "b"),
        ("2.png", "b", "b", "a"),
    ]
    assert found["difference"] == 0
    assert found["mcnemar"] == {"p_value": 1.0, "only_a_right": 1, "only_b_right": 1}
    assert found["agreement"] == 0.5


def test_classes_are_matched_by_name() -> None:
    found = compare_predictions(answers_of("ab", "ab"), answers_of("ab", "ab", classes=("c", "b", "a")))
    assert (found["a"]["accuracy"], found["b"]["accuracy"], found["flips"]) == (1.0, 1.0, [])
    relabelled = compare_predictions(answers_of("ab", "ab"), answers_of("ab", "aa"))
    assert relabelled["n"] == 1
    assert relabelled["remarks"][0].endswith(": 1")
    with pytest.raises(ValueError, match="no image"):
        compare_predictions(answers_of("ab", "ab"), answers_of("ab", "ba"))


@pytest.mark.parametrize(("group_size", "likeness"), [(1, 0.0), (8, 0.5)])
def test_the_interval_covers_the_truth(group_size: int, likeness: float) -> None:
    random = np.random.default_rng(0)
    groups_count, chance_a, chance_b = 240 // group_size if group_size == 1 else 40, 0.80, 0.88
    names = [str(row // group_size) for row in range(groups_count * group_size)]
    covered = 0
    for _ in range(400):
        # One difficulty for an image, shared in part by its group: what is hard for one is hard for the other
        shared = random.uniform(size=groups_count).repeat(group_size)
        own = random.uniform(size=len(names))
        difficulty = np.where(random.uniform(size=len(names)) < likeness, shared, own)
        other = np.where(random.uniform(size=len(names)) < 0.5, difficulty, random.uniform(size=len(names)))
        low, high = paired_interval(difficulty < chance_a, other < chance_b, names)
        covered += low <= chance_b - chance_a <= high
    assert 0.93 <= covered / 400 <= 0.995


def test_an_interval_of_equals_holds_zero() -> None:
    right = np.arange(50) % 5 > 0
    low, high = paired_interval(right, right, [str(row) for row in range(50)])
    assert low <= 0 <= high
    everything = np.ones(20, dtype=bool)
    low, high = paired_interval(everything, everything, ["one"] * 20)
    assert (low, high) == (pytest.approx(-high), pytest.approx(-low))
    assert high > 0.5


def test_what_both_find_hard_does_not_blur_the_difference() -> None:
    names = [str(row) for row in range(400)]
    first = np.arange(400) >= 100
    second = first.copy()
    second[:8] = True
    low, high = paired_interval(first, second, names)
    apart = paired_interval(first, second[::-1], names)
    assert low > 0
    assert high - low < 0.5 * (apart[1] - apart[0])
