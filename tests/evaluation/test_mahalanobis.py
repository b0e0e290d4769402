import numpy as np
import pytest

from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW, fit_channel_familiarity
from fieldmark.evaluation.mahalanobis import fit_mahalanobis, held_out_similarity


def statistics(seed, *, groups=200, size=5, width=24, classes=2):
    """Groups around their class's centre, of very unlike spread in the directions of space, images close together."""
    random = np.random.default_rng(seed)
    labels = np.arange(groups) % classes
    spread = np.geomspace(0.001, 1, width) @ np.linalg.qr(np.random.default_rng(7).normal(size=(width, width)))[0]
    centres = np.random.default_rng(99).normal(size=(classes, width)) * spread
    around = centres[labels] + random.normal(size=(groups, width)) * spread
    values = np.repeat(around, size, axis=0) + random.normal(size=(groups * size, width)) * spread * 0.05
    return values.astype(np.float32), np.repeat(labels, size), [f"g{n}" for n in range(groups) for _ in range(size)]


def flagged(found, values):
    return (found.table.of(found.channels.similarities(values)) < UNFAMILIAR_BELOW).mean()


def test_what_leaves_the_usual_in_a_narrow_direction_is_unfamiliar():
    values, labels, names = statistics(0)
    found = fit_channel_familiarity(values, None, labels, names, classes=2)
    new = statistics(1)[0]
    moved = new + np.linalg.eigh(np.cov(values.T))[1][:, 0].astype(np.float32) * values.std() * 0.2
    assert flagged(found, new) <= 0.03
    assert flagged(found, moved) == 1.0  # though it moved by less than the images differ from each other
    assert found.bank is None
    assert found.to_json()["compares"] == "channels"


def test_own_groups_are_left_out():
    """Where a group's images are all alike, knowing one is knowing all."""
    values, labels, names = statistics(0, groups=24, size=30)
    by_group = fit_channel_familiarity(values, None, labels, names, classes=2)
    by_image = fit_channel_familiarity(values, None, labels, [str(row) for row in range(len(names))], classes=2)
    new = statistics(1, groups=200)[0]
    assert flagged(by_group, new) < 0.15 < 0.5 < flagged(by_image, new)


def test_distance_is_in_units_of_the_spread_within_classes():
    random = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    values = (random.normal(size=(4000, 3)) * [1, 2, 3] + labels[:, None] * [9, 0, 0]).astype(np.float32)
    fitted = fit_mahalanobis(values, labels, classes=3)
    place = np.array([[0, 6, 0], [9, 0, 12], [0, 0, 0], [-5, 0, 0]], np.float32)
    found = fitted.similarities(place)
    np.testing.assert_allclose(found[0, 0], 1 / 3, rtol=0.1)
    np.testing.assert_allclose(found[1, 1], 1 / 4, rtol=0.1)
    np.testing.assert_allclose(found[3, 0], 1 / 5, rtol=0.1)  # though the classes are 9 apart
    assert found[2, 0] == 1.0  # nearer than one unit is as near as can be
    assert found[0, 1] < found[0, 0]
    assert (found[:, 2] < 1e-5).all()  # a class without images is nowhere


@pytest.mark.parametrize("count", [8, 99, 200])
@pytest.mark.parametrize("one", [np.zeros((2, 5)), np.ones((2, 5)), np.eye(5)[:2]], ids=["zeros", "ones", "two"])
def test_statistics_that_never_vary_do_no_harm(one, count):
    values, labels, names = np.tile(one, (count, 1))[:count], np.arange(count) % 2, [str(row) for row in range(count)]
    found = fit_channel_familiarity(values.astype(np.float32), None, labels, names, classes=2)
    told = found.table.of(found.channels.similarities(values.astype(np.float32)))
    assert np.isfinite(told).all()
    assert (told >= UNFAMILIAR_BELOW).all()


def test_a_class_left_out_whole_is_not_judged_and_single_images_tell_nothing():
    values, labels, _ = statistics(0, groups=11, size=1)
    groups = np.arange(11)
    alone = (groups == 4).astype(int)
    assert len(held_out_similarity(values, alone, groups, groups, classes=2)) == 10
    assert fit_channel_familiarity(values[:2], None, labels[:2], ["a", "b"], classes=2) is None


@pytest.mark.parametrize("named", [lambda scene, label: f"{scene} {label}", lambda scene, label: f"{label} {scene}"])
def test_no_class_is_left_out_whole_however_groups_are_called(named):
    values, labels, _ = statistics(0, groups=300, size=1, classes=10)
    names = [named(row // 10, label) for row, label in enumerate(labels)]
    numbers = np.unique(names, return_inverse=True)[1]
    assert len(held_out_similarity(values, labels, numbers, np.arange(300), classes=10)) == 300
    assert fit_channel_familiarity(values, None, labels, names, classes=10) is not None


def test_one_group_a_class_is_cut_into_parts_and_says_so():
    values, labels, _ = statistics(0)
    found = fit_channel_familiarity(values, values, labels, [str(label) for label in labels], classes=2)
    assert "no class has two groups" in found.note
    assert found.bank.counts == (500, 500)


def test_the_same_images_give_the_same_bits():
    values, labels, names = statistics(0)
    one, other = (fit_channel_familiarity(values, None, labels, names, classes=2) for _ in range(2))
    assert one.table == other.table
    assert one.channels.weights.tobytes() == other.channels.weights.tobytes()
