"""The split keeps groups whole, classes on both sides, and every old image where it was."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldmark.errors import DatasetError, RecipeError
from fieldmark.images.split import choose_validation, draw

Labels = np.ndarray


def hashed(count: int, start: int = 0) -> list[str]:
    """Group names as content gives them."""
    return [f"image:{random.Random(number).getrandbits(128):032x}" for number in range(start, start + count)]


@st.composite
def datasets(draw: st.DrawFn, fewest: int = 2, most: int = 12) -> tuple[list[str], Labels]:
    """One to four classes of several groups each, of 1 to 6 images, in any order."""
    rows = []
    for label in range(draw(st.integers(1, 4))):
        sizes = draw(st.lists(st.integers(1, 6), min_size=fewest, max_size=most))
        style = draw(st.sampled_from(["image:{:x}{:x}", "c{}/horse{:02}"]))
        rows += [(style.format(label, number), label) for number, size in enumerate(sizes) for _ in range(size)]
    rows = draw(st.permutations(rows))
    return [group for group, _ in rows], np.array([label for _, label in rows])


seeds = st.integers(0, 2**32 - 1)
fractions = st.floats(0.05, 0.5)


@settings(deadline=None, max_examples=150)
@given(datasets(), seeds, fractions)
def test_groups_stay_whole_and_classes_stand_on_both_sides(
    data: tuple[list[str], Labels], seed: int, fraction: float
) -> None:
    groups, labels = data
    held = choose_validation(groups, labels, seed=seed, fraction=fraction)
    assert (held.dtype, held.shape) == (np.bool_, labels.shape)
    validation = {group for group, out in zip(groups, held, strict=True) if out}
    training = {group for group, out in zip(groups, held, strict=True) if not out}
    assert validation.isdisjoint(training)
    for label in np.unique(labels):
        assert set(held[labels == label].tolist()) == {True, False}


@settings(deadline=None, max_examples=80)
@given(datasets(), seeds, st.randoms(use_true_random=False))
def test_permuted_rows_and_renumbered_classes_give_the_same_split(
    data: tuple[list[str], Labels], seed: int, chance: random.Random
) -> None:
    groups, labels = data
    held = choose_validation(groups, labels, seed=seed)
    order = chance.sample(range(len(groups)), len(groups))
    again = choose_validation([groups[row] for row in order], 7 - labels[order], seed=seed)
    np.testing.assert_array_equal(again, held[order])


@settings(deadline=None, max_examples=60)
@given(seeds, st.booleans())
def test_ten_percent_new_groups_move_no_old_one(seed: int, numbered: bool) -> None:
    old = [f"horse{number}" for number in range(60)] if numbered else hashed(120)
    new = [f"horse{number}" for number in range(60, 66)] if numbered else hashed(12, start=120)
    held = choose_validation(old, np.zeros(len(old), dtype=int), seed=seed)
    labels = np.array([1] * len(new) + [0] * len(old))  # some of them a new class
    labels[: len(new) // 2] = 0
    after = choose_validation([*new, *old], labels, seed=seed)
    np.testing.assert_array_equal(after[len(new) :], held)


def test_a_repaired_class_moves_no_more_than_its_repaired_group() -> None:
    for seed in range(200):
        old, new = hashed(6), hashed(3, start=6)
        before = choose_validation(old, np.zeros(6, dtype=int), seed=seed)
        after = choose_validation(old + new, np.zeros(9, dtype=int), seed=seed)[:6]
        moved = [group for group, changed in zip(old, before != after, strict=True) if changed]
        assert len(moved) <= 1
        if 0 < sum(draw(group, seed) < 0.2 for group in [*old, *new]) <= 3 and any(
            draw(group, seed) < 0.2 for group in old
        ):
            assert moved == []


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_another_seed_gives_another_split(seed: int) -> None:
    groups, labels = hashed(80), np.zeros(80, dtype=int)
    one, other = (choose_validation(groups, labels, seed=number) for number in (seed, seed + 1))
    assert (one != other).any()
    numbered = [f"horse{number}" for number in range(80)]
    one, other = (choose_validation(numbered, labels, seed=number) for number in (seed, seed + 1))
    assert (one != other).any()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_the_share_is_binomial(fraction: float) -> None:
    groups, labels = hashed(200), np.zeros(200, dtype=int)
    shares = [choose_validation(groups, labels, fraction=fraction, seed=seed).mean() for seed in range(150)]
    deviation = (fraction * (1 - fraction) / 200) ** 0.5
    assert abs(np.mean(shares) - fraction) < 4 * deviation / 150**0.5
    assert 0.8 < np.std(shares) / deviation < 1.25
    assert np.max(np.abs(np.subtract(shares, fraction))) < 4.5 * deviation


@pytest.mark.parametrize(("start", "count"), [(0, 50), (1, 50), (1, 17), (37, 20)])
def test_numbered_groups_are_shared_out_evenly(start: int, count: int) -> None:
    groups = [f"horses/horse{number:02}" for number in range(start, start + count)]
    held = np.stack([choose_validation(groups, np.zeros(count, dtype=int), seed=seed) for seed in range(200)])
    # two of every ten consecutive numbers; the blocks at the ends may be cut
    assert abs(held.sum(axis=1) - 0.2 * count).max() < 2.5
    assert (held.sum(axis=1) > 0).all()
    # and yet every group comes up as often as every other
    assert abs(held.mean(axis=0) - 0.2).max() < 4.5 * (0.16 / 200) ** 0.5


def test_draws_are_uniform() -> None:
    for groups in (hashed(2000), [f"{name}{number}" for name in "abcd" for number in range(500)]):
        draws = np.sort([draw(group, 3) for group in groups])
        assert 0 <= draws[0] <= draws[-1] < 1
        assert np.abs(draws - np.linspace(0, 1, 2000)).max() < 1.95 / 2000**0.5  # Kolmogorov-Smirnov, p = 0.001


def test_draws_never_change() -> None:
    # A changed draw would deal every dataset anew: old and new runs could no longer be compared.
    assert [round(draw(group, 0), 6) for group in DRAWS] == list(DRAWS.values())


DRAWS = {
    "image:cafe": 0.741773,
    "horses/horse01": 0.207119,
    "horses/horse02": 0.086962,
    "9" * 30: 0.430546,
    "": 0.894379,
}


@pytest.mark.parametrize("sizes", [(100, 2, 1), (30, 29), (1, 1, 500, 1)])
def test_a_group_that_is_most_of_its_class_is_for_training(sizes: tuple[int, ...]) -> None:
    groups = [f"g{'abcd'[number]}" for number, size in enumerate(sizes) for _ in range(size)]
    large = f"g{'abcd'[int(np.argmax(sizes))]}"
    for seed in range(50):
        held = choose_validation(groups, np.zeros(len(groups), dtype=int), seed=seed)
        assert {group for group, out in zip(groups, held, strict=True) if not out} >= {large}
        assert held.any()


def test_only_as_many_groups_change_sides_as_needed() -> None:
    for seed in range(300):
        groups = hashed(5)
        draws = [draw(group, seed) for group in groups]
        expected = {row for row in range(5) if draws[row] < 0.2} or {int(np.argmin(draws))}
        expected = set(sorted(expected, key=draws.__getitem__)[:2])  # at most half of five
        held = choose_validation(groups, np.zeros(5, dtype=int), seed=seed)
        assert set(np.flatnonzero(held)) == expected


@settings(deadline=None, max_examples=150)
@given(datasets(), seeds, st.sampled_from([0.05, 0.2, 0.25]))
def test_no_class_has_more_in_validation_than_in_training(
    data: tuple[list[str], Labels], seed: int, fraction: float
) -> None:
    groups, labels = data
    names = [f"{label}/{group}" for group, label in zip(groups, labels, strict=True)]  # no group of two classes
    held = choose_validation(names, labels, seed=seed, fraction=fraction)
    for label in np.unique(labels):
        own = labels == label
        out = {name for name, is_out in zip(names, held & own, strict=True) if is_out}
        inside = {name for name, is_own in zip(names, own, strict=True) if is_own} - out
        assert len(out) <= len(inside)
        assert (held & own).sum() <= (own & ~held).sum()


def test_groups_go_back_to_training_from_the_highest_draw_on() -> None:
    bounded = 0
    for seed in range(400):
        groups = hashed(4)
        drawn = sorted((draw(group, seed), group) for group in groups)
        if sum(number < 0.2 for number, _ in drawn) < 3:
            continue
        bounded += 1
        held = choose_validation(groups, np.zeros(4, dtype=int), seed=seed)
        assert {group for group, out in zip(groups, held, strict=True) if out} == {group for _, group in drawn[:2]}
    assert bounded > 4


def test_a_larger_share_is_not_cut_to_half() -> None:
    groups = hashed(400)
    assert abs(choose_validation(groups, np.zeros(400, dtype=int), fraction=0.7).mean() - 0.7) < 0.1


def test_what_a_class_gives_back_leaves_no_other_without_validation() -> None:
    """Two of the three groups of class 0 are held out; class 1 has one of these as its only one."""
    groups, labels = ["a", "b", "c", "b", "d"], np.array([0, 0, 0, 1, 1])
    kept = 0
    for seed in range(2000):
        draws = {group: draw(group, seed) for group in "abcd"}
        if draws["a"] < draws["b"] < 0.2 < min(draws["c"], draws["d"]):
            held = choose_validation(groups, labels, seed=seed)
            assert {group for group, out in zip(groups, held, strict=True) if out} == {"b"}
            kept += 1
    assert kept > 5


def test_groups_shared_between_classes() -> None:
    # three videos, each with frames of all three classes
    groups = [f"video{v}" for v in "abc" for _ in range(6)]
    labels = np.array([0, 0, 1, 1, 2, 2] * 3)
    for seed in range(50):
        held = choose_validation(groups, labels, seed=seed)
        for label in range(3):
            assert set(held[labels == label].tolist()) == {True, False}


def test_mending_one_class_breaks_no_other() -> None:
    chance = random.Random(0)
    failed = possible = 0
    for seed in range(400):
        members = [chance.sample("abcdefg", chance.randint(2, 4)) for _ in range(chance.randint(1, 4))]
        rows = [(group, label) for label, own in enumerate(members) for group in own]
        names = sorted({group for group, _ in rows})
        sides = (set(out) for size in range(len(names)) for out in itertools.combinations(names, size + 1))
        possible += any(all(0 < len(out & set(own)) < len(own) for own in members) for out in sides)
        try:
            choose_validation([group for group, _ in rows], np.array([label for _, label in rows]), seed=seed)
        except DatasetError:
            failed += 1
    # where it is possible at all, it is done, but for rare entangled cases
    assert failed <= 400 - possible + 8


def test_the_order_of_rows_does_not_decide_which_class_is_mended_first() -> None:
    chance = random.Random(1)
    for seed in range(300):
        rows = [(group, label) for label in range(3) for group in chance.sample("abcde", chance.randint(2, 3))]
        splits = []
        for _ in range(2):
            chance.shuffle(rows)
            try:
                held = choose_validation([g for g, _ in rows], np.array([label for _, label in rows]), seed=seed)
            except DatasetError:
                held = np.zeros(len(rows), dtype=bool)
            splits.append({group for (group, _), out in zip(rows, held, strict=True) if out})
        assert splits[0] == splits[1]


def test_a_class_of_one_group_is_named() -> None:
    groups = ["horse1", "horse2", "human01", "human01", "human01"]
    with pytest.raises(DatasetError, match=r"class humans .* all 3 images belong to one group") as caught:
        choose_validation(groups, np.array([0, 0, 1, 1, 1]), classes=["horses", "humans"])
    assert "human01" in str(caught.value)
    for way_out in ("--group-by none", "--validation", "add images"):
        assert way_out in caught.value.hint


def test_classes_that_share_groups_in_a_ring_cannot_be_split() -> None:
    groups, labels = list("abbcca"), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(DatasetError, match="its 2 groups are shared with other classes"):
        choose_validation(groups, labels)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_an_impossible_share(fraction: float) -> None:
    with pytest.raises(RecipeError, match=str(fraction)):
        choose_validation(["a", "b"], np.array([0, 0]), fraction=fraction)


def test_no_images_and_names_that_are_not_utf8() -> None:
    assert choose_validation([], np.array([], dtype=int)).shape == (0,)
    held = choose_validation(["caf\udce91", "caf\udce92", "\x00"], np.zeros(3, dtype=int))
    assert set(held.tolist()) == {True, False}
