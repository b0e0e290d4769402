"""Leaving groups out: whole groups, every class inside, parts that grow, the same draws from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from fieldmark.training.left_out import Floats, Fold, Rows, leave_out, make_folds

LABELS = np.repeat(np.arange(2, dtype=np.int32), 24)
GROUPS = [f"{label}-{row % 24 // 3}" for row, label in enumerate(LABELS)]  # 8 of three images in each class


def test_no_group_is_on_both_sides_and_every_image_is_left_out_once() -> None:
    calls: list[tuple[Rows, Rows, int]] = []

    def learn(inside: Rows, outside: Rows, number: int) -> Floats:
        calls.append((inside, outside, number))
        return np.zeros((len(outside), 1), np.float32)

    left_out = leave_out(LABELS, GROUPS, learn, folds=make_folds(LABELS, GROUPS, 4, seed=3), parts=(0.5, 1.0), seed=3)
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

    left_out = leave_out(LABELS, GROUPS, learn, folds=make_folds(LABELS, GROUPS, 2, seed=0), parts=(0.5, 1.0), seed=0)
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

        leave_out(LABELS, GROUPS, learn, folds=make_folds(LABELS, GROUPS, 2, seed=seed), parts=(0.25,), seed=seed)
        drawn.append(calls)
    assert (drawn[0] == drawn[1]) == (seeds[0] == seeds[1])


def folds_of(classes: list[list[str]], most: int = 5, seed: int = 0) -> tuple[np.ndarray, list[str], list[Fold]]:
    """Labels, groups and folds of classes whose images are of these groups."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(own) for own in classes])
    groups = [group for own in classes for group in own]
    return labels, groups, make_folds(labels, groups, most, seed=seed)


def test_there_are_as_many_folds_as_a_class_has_groups() -> None:
    assert len(make_folds(LABELS, GROUPS, 5, seed=0)) == 5
    assert len(folds_of([list("ab"), list("cd")])[2]) == 2
    assert len(folds_of([list("abcdef"), list("uv")], most=3)[2]) == 3


SEVERAL = [["a", "a", "b", "c", "d", "e"], ["f", "g", "g"], ["h"], ["i", "i", "i"], ["j", "k", "l", "m"]]


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_group_stays_inside_and_the_others_are_judged(seed: int) -> None:
    labels, groups, folds = folds_of(SEVERAL, seed=seed)
    assert len(folds) == 5
    for inside, outside in folds:
        assert set(labels[inside]) == set(labels)
        assert not {groups[row] for row in inside} & {groups[row] for row in outside}
        assert sorted([*inside, *outside]) == list(range(len(labels)))
    times = np.bincount(np.concatenate([outside for _, outside in folds]), minlength=len(labels))
    assert times.max() == 1
    assert not times[(labels == 2) | (labels == 3)].any()
    # A fold that drew both groups of a class gives one of them back; which, the seed decides.
    assert times[(labels == 0) | (labels == 4)].all()
    assert set(labels[times > 0]) == {0, 1, 4}


@pytest.mark.parametrize(
    "classes",
    [
        [["a"], ["b"]],
        [["a", "a"], ["b"], ["c", "c", "c"]],
        [list("abcdefgh"), ["x", "x", "x"]],
        [["both", "one", "one"], ["both", "both"]],
    ],
)
def test_nothing_is_left_out_where_not_two_classes_could_be_judged(classes: list[list[str]]) -> None:
    assert folds_of(classes)[2] == []


@pytest.mark.parametrize("seed", range(20))
def test_groups_that_classes_share_leave_every_class_inside(seed: int) -> None:
    classes = [["a", "b", "c", "c"], ["a", "b"], ["b", "c", "d"], ["d"]]
    labels, groups, folds = folds_of(classes, seed=seed)
    assert folds
    for inside, outside in folds:
        assert set(labels[inside]) == set(labels)
        assert not {groups[row] for row in inside} & {groups[row] for row in outside}
        assert "d" not in {groups[row] for row in outside}
