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
@pytest.mark.parametrize("first", [0.2, 0.85])
def test_a_power_law_of_the_odds_is_found_and_carried_on(exponent, first):
    """Where most is wrong the error itself falls slowly at first: a power law of the error would promise too little."""

    def error(size):
        odds = first / (1 - first) * (size / 100) ** -exponent
        return odds / (1 + odds)

    sizes = [100, 200, 400, 800]
    curve = learning_curve(points_of([error(size) for size in sizes], sizes), names(2000), images=1000)
    assert curve["exponent"] == pytest.approx(exponent, abs=0.03)
    assert curve["error"] == pytest.approx(error(1000), rel=0.05)
    gain = error(1000) - error(2000)
    assert curve["gain_of_doubling"] == pytest.approx(gain, rel=0.1)
    low, high = curve["gain_interval"]
    assert low < gain < high
    assert f"+{100 * curve['gain_of_doubling']:.1f} points" in curve["sentence"]
    json.dumps(curve, allow_nan=False)


def test_what_one_draw_of_images_scatters_widens_the_interval():
    """Wrong answers that are others from point to point, and such as remain."""
    sizes = [100, 200, 400, 800]
    nested = points_of([0.5, 0.45, 0.4, 0.35], sizes, images=300)
    drawn = [points_of([0.5, 0.45, 0.4, 0.35], sizes, images=300, seed=seed)[seed] for seed in range(4)]
    widths = []
    for points in (nested, drawn):
        low, high = learning_curve(points, names(300, 1), images=1000)["gain_interval"]
        widths.append(high - low)
    # Three quarters of the variance of the mistakes, .35 of 300, which is less than that of the change (.46).
    assert widths[1] > 2 * 1.96 * (0.75 * 0.35 * 0.65 / 300) ** 0.5
    assert widths[1] > 1.5 * widths[0]


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
    one = learning_curve(points_of([0.05, 0.05], [10, 20], images=24), names(24, 1), images=24)
    assert one["gain_interval"][0] <= 0
    assert one["gain_interval"][1] >= (1 - one["points"][-1]["interval"][0]) / 2
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


def test_fits_that_answer_all_alike_leave_a_grain_of_doubt():
    """Each image in both classes: half of the answers are wrong whatever the number of images (0.0 to 0.0 before)."""
    alike = [Point(float(size), np.arange(20) % 2 == 0) for size in (4, 8, 16)]
    curve = learning_curve(alike, names(20), images=20)
    low, high = curve["gain_interval"]
    assert curve["gain_of_doubling"] == pytest.approx(0, abs=1e-9)
    assert low < -0.05 < 0.05 < high  # an answer is .05
    assert "hardly worth" not in curve["sentence"]
