import json

import numpy as np
import pytest

from fieldmark.evaluation.learning_curve import Point, learning_curve, not_measured


def points_of(errors, sizes, *, images=2000, seed=0):
    """Answers whose share of wrong ones is the error of each size, wrong ones nested as harder images are."""
    hardness = np.random.default_rng(seed).permutation(images) / images
    return [Point(float(size), hardness >= error) for size, error in zip(sizes, errors, strict=True)]


def names(images, size=4):
    return [str(row // size) for row in range(images)]


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_a_power_law_is_found_and_carried_on(exponent):
    sizes = np.array([100, 200, 400, 800])
    errors = 0.2 * (sizes / 100.0) ** -exponent
    curve = learning_curve(points_of(errors, sizes), names(2000), images=1000)
    assert curve["exponent"] == pytest.approx(exponent, abs=0.03)
    gain = 0.2 * 10**-exponent * (1 - 2**-exponent)
    assert curve["gain_of_doubling"] == pytest.approx(gain, rel=0.1)
    low, high = curve["gain_interval"]
    assert 0 <= low < gain < high
    assert f"+{100 * curve['gain_of_doubling']:.1f} points" in curve["sentence"]
    json.dumps(curve, allow_nan=False)


def test_fewer_groups_make_it_less_sure():
    """In groups of forty images right or wrong as a whole, the same errors say less."""
    sizes, errors = [100, 200, 400, 800], [0.2, 0.15, 0.11, 0.08]
    few = [Point(point.images, np.repeat(point.correct, 40)) for point in points_of(errors, sizes, images=100)]
    widths = []
    for group in (1, 40):
        low, high = learning_curve(few, names(4000, group), images=1000)["gain_interval"]
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def test_no_mistakes_leave_little_to_gain():
    curve = learning_curve(points_of([0.01, 0, 0, 0], [100, 200, 400, 800]), names(2000), images=1000)
    assert 0 <= curve["gain_of_doubling"] < 0.005
    assert "hardly worth" in curve["sentence"]


def test_no_mistake_at_all_does_not_mean_none_ever():
    few = learning_curve(points_of([0, 0], [10, 20], images=24), names(24, 1), images=24)
    low, high = few["gain_interval"]
    assert (low, high) == (0, pytest.approx((1 - few["points"][-1]["interval"][0]) / 2))
    assert high > 0.05
    assert "hardly worth" not in few["sentence"]
    worse = learning_curve(points_of([0.05, 0.1], [10, 15], images=20), names(20, 1), images=20)
    assert worse["gain_of_doubling"] == 0
    assert "hardly worth" not in worse["sentence"]
    many = learning_curve(points_of([0, 0], [800, 1600]), names(2000), images=2000)
    assert "hardly worth" in many["sentence"]


def test_more_images_that_make_it_worse_promise_nothing():
    curve = learning_curve(points_of([0.1, 0.12, 0.15, 0.2], [100, 200, 400, 800]), names(2000), images=1000)
    assert curve["gain_of_doubling"] == 0
    assert curve["exponent"] == 0


def test_too_little_to_fit_says_so():
    points = points_of([0.1], [100])
    curve = learning_curve(points, names(2000), images=100)
    assert (curve["gain_of_doubling"], len(curve["points"])) == (None, 1)
    assert "Too few groups" in curve["sentence"]
    assert not_measured("Why.")["sentence"] == "Why."
