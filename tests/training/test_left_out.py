"""Leaving groups out: whole groups, every class inside, parts that grow, the same draws from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from fieldmark.training.left_out import Floats, Rows, fold_count, leave_out

LABELS = np.repeat(np.arange(2, dtype=np.int32), 24)
GROUPS = [f"{label}-{row % 24 // 3}" for row, label in enumerate(LABELS)]  # 8 of three images in each class


def test_no_group_is_on_both_sides_and_every_image_is_left_out_once() -> None:
    calls: list[tuple[Rows, Rows, int]] = []

    def learn(inside: Rows, outside: Rows, number: int) -> Floats:
        calls.append((inside, outside, number))
        return np.zeros((len(outside), 1), np.float32)

    left_out = leave_out(LABELS, GROUPS, learn, folds=4, parts=(0.5, 1.0), seed=3)
    assert [number for _, _, number in calls] == list(range(8))
    for inside, outside, _ in calls:
        assert not {GROUPS[row] for row in inside} & {GROUPS[row] for row in outside}
        assert set(LABELS[inside]) == {0, 1}
    for number, images in enumerate((18.0, 36.0)):
        assert np.bincount(np.concatenate([outside for _, outside, _ in calls[number::2]])).tolist() == [1] * 48
        assert {len(inside) for inside, _, _ in calls[number::2]} == {int(images)}
        assert left_out.images[number] == images
    assert left_out.answered.all()


def test_answers_stand_where_their_images_do() -> None:
    def learn(inside: Rows, outside: Rows, number: int) -> Floats:
        return np.stack([outside + 100 * (number % 2), outside], axis=1).astype(np.float32)

    left_out = leave_out(LABELS, GROUPS, learn, folds=2, parts=(0.5, 1.0), seed=0)
    assert left_out.logits[0, :, 0].tolist() == list(range(48))
    assert left_out.logits[1, :, 0].tolist() == list(range(100, 148))
    assert left_out.logits[1, :, 1].tolist() == list(range(48))


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
def test_a_seed_draws_the_same_groups(seeds: tuple[int, int]) -> None:
    drawn: list[list[list[int]]] = []
    for seed in seeds:
        calls: list[list[int]] = []

        def learn(inside: Rows, outside: Rows, number: int, calls: list[list[int]] = calls) -> Floats:
            calls.append(inside.tolist())
            return np.zeros((len(outside), 1), np.float32)

        leave_out(LABELS, GROUPS, learn, folds=2, parts=(0.25,), seed=seed)
        drawn.append(calls)
    assert (drawn[0] == drawn[1]) == (seeds[0] == seeds[1])


def test_a_class_of_two_groups_makes_two_folds_and_of_one_none() -> None:
    assert fold_count(LABELS, GROUPS, 5) == 5
    assert fold_count(np.array([0, 0, 1, 1], dtype=np.int32), ["a", "b", "c", "d"], 5) == 2
    assert fold_count(np.array([0, 0, 1, 1], dtype=np.int32), ["a", "b", "c", "c"], 5) == 1


def test_a_fold_that_takes_a_class_away_is_left_out() -> None:
    """One group holds both classes, and the other one of them: without the first there is a single class."""
    labels = np.array([0, 1, 1, 0, 0], dtype=np.int32)
    groups = ["both", "both", "both", "one", "one"]
    left_out = leave_out(
        labels, groups, lambda i, o, n: np.ones((len(o), 1), np.float32), folds=2, parts=(1.0,), seed=0
    )
    assert left_out.answered.tolist() == [False, False, False, True, True]
