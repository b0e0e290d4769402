"""Joining: near-duplicates come to stand in one group, and no chain of them swallows a class."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fieldmark.checks.context import Copy
from fieldmark.checks.joining import FEW, HARMLESS, SURE, join_copies, join_within
from fieldmark.errors import DatasetError
from fieldmark.images.corrections import Correction
from fieldmark.images.groups import Groups
from fieldmark.images.split import choose_validation

WEAK = 0.85


def alone(images: int, *, frames: int = 0) -> Groups:
    """Groups of images that stand alone, of which the first are `frames` of one sequence."""
    said = ["a/clip1"] * frames + [None] * (images - frames)
    names = tuple(name or f"image:{row:03}" for row, name in enumerate(said))
    return Groups("none", "By name.", names, len(set(names)), bool(frames), tuple(said))


def hashes(images: int) -> list[str]:
    return [f"{row:03}" for row in range(images)]


def joined(
    groups: Groups, pairs: Sequence[tuple[int, int]], likeness: float, labels: Sequence[int] | None = None
) -> tuple[list[int], list[str]]:
    """The sizes of the groups, the largest first, and the remarks."""
    images = len(groups.names)
    classes = np.array(labels if labels is not None else [0] * images)
    copies = [Copy(*sorted(pair), likeness, 0.9) for pair in pairs]
    found, remarks = join_copies(groups, hashes(images), classes, copies, ["cats", "dogs"])
    assert found.count == len(set(found.names))
    return sorted(Counter(found.names).values(), reverse=True), remarks


@pytest.mark.parametrize("likeness", [WEAK, SURE])
def test_copies_come_into_the_group_of_their_original(likeness: float) -> None:
    groups, remarks = joined(alone(20, frames=5), [(0, 5), (1, 6), (7, 8)], likeness)
    assert (groups[:3], remarks) == ([7, 2, 1], [])


def test_a_less_sure_pair_joins_no_two_large_groups() -> None:
    cliques = [*itertools.combinations(range(4), 2), *itertools.combinations(range(4, 8), 2)]
    copies = [Copy(*pair, 0.99, 0.9) for pair in cliques]
    for likeness, sizes in ((WEAK, [4, 4]), (SURE, [8, 1])):
        groups, _ = join_copies(
            alone(30), hashes(30), np.zeros(30, int), [*copies, Copy(3, 4, likeness, 0.9)], ["cats"]
        )
        assert sorted(Counter(groups.names).values(), reverse=True)[:2] == sizes
    assert FEW < 4


def test_two_sequences_are_not_joined_by_a_less_sure_pair_of_frames() -> None:
    names = ("a/1",) * 5 + ("a/2",) * 5
    groups = Groups("sequence", "", names, 2, 2, names)
    assert joined(groups, [(0, 5)], WEAK)[0] == [5, 5]


def test_a_chain_of_less_sure_pairs_does_not_swallow_a_class() -> None:
    chain = list(itertools.pairwise(range(60)))
    groups, remarks = joined(alone(60), chain, WEAK)
    assert HARMLESS < groups[0] <= 30
    assert remarks == []


def test_a_class_that_is_one_chain_can_be_split_nevertheless_and_this_is_said() -> None:
    labels = [0] * 12 + [1] * 12
    chain = list(itertools.pairwise(range(12)))
    groups, remarks = joined(alone(24), [*chain, (12, 13)], 0.99, labels)
    assert groups[:2] == [2, 1]  # the other class keeps its copies together
    assert remarks == [
        "with all its near-duplicates joined cats could not stand on both sides of the split, so that none of them are "
        "kept on one side: validation may show what training shows"
    ]


def test_where_less_sure_pairs_chain_a_class_the_likest_stay_together() -> None:
    copies = [Copy(0, 1, 0.99, 0.9), Copy(1, 2, WEAK, 0.9), Copy(2, 3, WEAK, 0.9)]
    groups, remarks = join_copies(alone(4), hashes(4), np.zeros(4, int), copies, ["cats"])
    assert Counter(Counter(groups.names).values()) == Counter({2: 1, 1: 2})
    assert "only the likest of them" in remarks[0]


def shared(clips: int, singles: int) -> tuple[Groups, list[int]]:
    """Clips of which each class has three frames, and images of the first class that stand alone; their labels."""
    said = [f"clip{clip}" for clip in range(clips) for _ in range(6)] + [None] * singles
    names = tuple(name or f"image:{row:03}" for row, name in enumerate(said))
    return Groups("sequence", "By name.", names, len(set(names)), clips, tuple(said)), [0, 1] * 3 * clips + [
        0
    ] * singles


def test_classes_that_share_their_groups_keep_their_copies_together() -> None:
    groups, labels = shared(6, 2)
    for pair in ((0, 36), (36, 37)):  # a frame and a single, two singles
        assert joined(groups, [pair], 0.99, labels)[1] == []
        assert len(joined(groups, [pair], 0.99, labels)[0]) == 7
    groups, labels = shared(6, 0)
    assert joined(groups, [(0, 6)], 0.99, labels) == ([12, *[6] * 4], [])
    groups, labels = shared(2, 0)
    sizes, remarks = joined(groups, [(0, 6)], 0.99, labels)  # neither class could be split
    assert (sizes, len(remarks)) == ([6, 6], 1)  # the pair is one of cats


def test_no_class_is_said_to_be_left_apart_of_which_all_pairs_are_joined() -> None:
    # Two cats, each a copy of a dog; the dogs, a less sure pair, are what chains both classes.
    copies = [Copy(0, 2, 0.99, 0.9), Copy(1, 3, 0.99, 0.9), Copy(2, 3, WEAK, 0.9)]
    groups, remarks = join_copies(alone(4), hashes(4), np.array([0, 0, 1, 1]), copies, ["cats", "dogs"])
    assert Counter(groups.names).most_common(1)[0][1] == 2
    assert len(remarks) == 1
    assert "dogs could not stand on both sides" in remarks[0]


def test_whatever_is_joined_every_class_can_be_split() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        labels = np.repeat([0, 1, 2], random.integers(2, 9, 3))
        pairs = random.integers(0, len(labels), (random.integers(1, 30), 2))
        copies = [Copy(int(min(pair)), int(max(pair)), float(random.uniform(0.8, 1)), 0.9) for pair in pairs]
        copies = [copy for copy in copies if copy.i != copy.j]
        groups, _ = join_copies(alone(len(labels)), hashes(len(labels)), labels, copies, ["a", "b", "c"])
        held = choose_validation(groups.names, labels, seed=int(random.integers(100)))
        for name in set(groups.names):
            assert len({held[row] for row, other in enumerate(groups.names) if other == name}) == 1
        assert all(0 < held[labels == label].mean() < 1 for label in range(3))


def can_be_split(names: Sequence[str], labels: np.ndarray) -> bool:
    with contextlib.suppress(DatasetError):
        choose_validation(names, labels)
        return True
    return False


def test_whatever_is_joined_classes_that_share_groups_can_be_split_as_before() -> None:
    random = np.random.default_rng(2)
    judged = 0
    for _ in range(400):
        labels = random.integers(0, 3, 24)
        names = tuple(f"a/{number}" for number in random.integers(0, 8, 24))
        pairs = [sorted(random.choice(24, 2, replace=False).tolist()) for _ in range(random.integers(1, 12))]
        copies = [Copy(*pair, float(random.uniform(0.8, 1)), 0.9) for pair in pairs]
        groups = Groups("sequence", "", names, 8, 8, names)
        found, _ = join_copies(groups, hashes(24), labels, copies, ["a", "b", "c"])
        if can_be_split(names, labels):
            assert can_be_split(found.names, labels)
            judged += found.names != names
    assert judged > 200


def test_the_order_of_images_changes_nothing() -> None:
    random = np.random.default_rng(1)
    pairs = [tuple(sorted(random.choice(40, 2, replace=False).tolist())) for _ in range(60)]
    likeness = [round(float(random.uniform(0.8, 1)), 1) for _ in pairs]  # many ties
    expected = None
    for _ in range(5):
        order = random.permutation(40)  # row of each image
        groups = alone(40)
        names = tuple(groups.names[image] for image in np.argsort(order))
        moved = Groups("none", "", names, 40, 0, (None,) * 40)
        copies = [
            Copy(*sorted((int(order[i]), int(order[j]))), alike, 0.9)
            for (i, j), alike in zip(pairs, likeness, strict=True)
        ]
        random.shuffle(copies)
        content = [hashes(40)[image] for image in np.argsort(order)]
        found, _ = join_copies(moved, content, np.zeros(40, int), copies, ["cats"])
        by_image = [found.names[order[image]] for image in range(40)]
        assert expected in (None, by_image)
        expected = by_image


def test_new_images_move_no_old_one_but_those_whose_groups_they_join() -> None:
    old, more = alone(100), alone(130)
    pairs = [(row, row + 50) for row in range(0, 50, 2)]
    copies = [Copy(*pair, 0.97, 0.9) for pair in pairs]
    new = [Copy(1, 100, 0.97, 0.9), Copy(101, 102, 0.97, 0.9)]
    before, _ = join_copies(old, hashes(100), np.zeros(100, int), copies, ["cats"])
    after, _ = join_copies(more, hashes(130), np.zeros(130, int), [*copies, *new], ["cats"])
    assert after.names[:100] == before.names  # of the joined names the smallest stays
    held = choose_validation(before.names, np.zeros(100, int))
    assert np.array_equal(held, choose_validation(after.names, np.zeros(130, int))[:100])


def named(*names: str) -> Groups:
    return Groups("sequence", "By name.", names, len(set(names)), 1, names)


def test_images_that_no_split_is_made_of_are_no_class() -> None:
    # All of them come into one group: of a class, that would be withheld.
    groups = named("a/1", "a/2", *"bcdef", "a/1", "a/2")
    assert joined(groups, [(0, 1)], 0.99, [1] * 7 + [-1] * 2) == ([4, *[1] * 5], [])


def test_images_that_no_split_is_made_of_make_no_group_too_large() -> None:
    groups = named(*["a/1"] * 11, *["a/2"] * 2, *(f"b/{number}" for number in range(20)))
    labels = [0] * 10 + [-1, -1] + [0] * 21
    assert joined(groups, [(0, 12)], WEAK, labels) == ([13, *[1] * 20], [])


def corrected(labels: Sequence[int], *corrections: Correction) -> Any:
    paths = [f"{('cats', 'dogs', 'birds')[label]}/{row}.png" for row, label in enumerate(labels)]
    to = {correction.path: ("cats", "dogs", "birds").index(correction.label) for correction in corrections}
    return SimpleNamespace(
        paths=paths,
        labels=np.array([to.get(path, label) for path, label in zip(paths, labels, strict=True)]),
        classes=("cats", "dogs", "birds"),
        hashes=hashes(len(labels)),
        corrections=corrections,
    )


def test_corrected_labels_move_no_image_unless_a_class_could_not_be_split() -> None:
    labels, inside = [0] * 3 + [1] * 5, np.ones(8, dtype=bool)
    copies = [Copy(0, 1, 0.99, 0.9), Copy(1, 2, 0.99, 0.9)]  # all cats
    plain, _ = join_within(corrected(labels), alone(8), copies, inside)
    dataset = corrected(labels, Correction("dogs/7.png", "dogs", "cats"))
    assert join_within(dataset, alone(8), copies, inside)[0].names == plain.names
    assert join_copies(alone(8), hashes(8), dataset.labels, copies, dataset.classes)[0].names != plain.names
    birds = [Correction(f"dogs/{row}.png", "dogs", "birds") for row in (6, 7)]
    found, remarks = join_within(corrected(labels, *birds), alone(8), [Copy(6, 7, 0.99, 0.9)], inside)
    assert found.names[6] != found.names[7]
    assert "birds could not stand" in remarks[0]
