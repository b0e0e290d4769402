"""Clusters: planted kinds are told apart, one diffuse kind stays together, and silhouettes are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from fieldmark.evaluation.clusters import cluster, silhouette, usual_similarity

WIDTH = 200


def photographed(sizes: list[int], *, seed: int, spread: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of kinds that have something in common with one another, and more within: (n, d) and the kinds."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    common, own = random.normal(size=WIDTH), random.normal(size=(len(sizes), WIDTH))
    seen = 0.6 * common + own[kinds] + spread * random.normal(size=(len(kinds), WIDTH))
    return (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32), kinds


@pytest.mark.parametrize("sizes", [[12, 12, 12], [9, 6, 3], [20, 2, 2], [4, 4]])
def test_planted_kinds_are_told_apart(sizes: list[int]) -> None:
    for seed in range(10):
        unit, kinds = photographed(sizes, seed=seed)
        usual = usual_similarity(unit, np.zeros(len(unit), int), [str(row) for row in range(len(unit))])
        assert usual is not None
        assert adjusted_rand_score(kinds, cluster(unit, usual)) == 1


def test_one_diffuse_kind_stays_together() -> None:
    for seed in range(10):
        unit, _ = photographed([12], seed=seed)
        foreign = (0.9, 0.95)  # training shows something else
        assert set(cluster(unit, foreign).tolist()) == {0}


def test_what_is_as_alike_as_its_class_is_one_kind() -> None:
    unit, _ = photographed([6, 6], seed=0)
    assert len(set(cluster(unit, (0.5, 0.6)).tolist())) == 2
    assert set(cluster(unit, (0.0, 0.05)).tolist()) == {0}


def test_two_images_go_together_where_most_of_their_class_are_no_more_alike() -> None:
    unit = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert cluster(unit, (0.55, 0.7)).tolist() == [0, 0]
    assert cluster(unit, (0.65, 0.7)).tolist() == [0, 1]
    assert cluster(unit[:1], (0.65, 0.7)).tolist() == [0]


def test_clusters_are_no_more_than_a_person_works_through() -> None:
    unit, _ = photographed([3] * 30, seed=0)
    assert 2 <= cluster(unit, (0.5, 0.6)).max() + 1 <= 12


def test_copies_and_images_without_an_embedding_are_one_cluster() -> None:
    unit, _ = photographed([1], seed=0)
    assert set(cluster(np.repeat(unit, 5, axis=0), (0.9, 1.0)).tolist()) == {0}
    assert set(cluster(np.zeros((5, WIDTH), np.float32), (0.9, 1.0)).tolist()) == {0}


def test_more_than_the_tree_holds_join_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldmark.evaluation.clusters.CLUSTERED", 20)
    unit, kinds = photographed([20, 20], seed=0)
    order = np.random.default_rng(0).permutation(40)
    assert adjusted_rand_score(kinds[order], cluster(unit[order], (0.5, 0.6))) == 1


def test_silhouettes_are_those_of_scikit_learn() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        points = random.normal(size=(30, 4))
        distances = np.linalg.norm(points[:, None] - points[None, :], axis=2)
        numbers = np.concatenate([np.arange(6), random.integers(0, 5, 24)])  # the sixth may be alone
        expected = silhouette_score(distances, numbers, metric="precomputed")
        assert silhouette(distances, numbers) == pytest.approx(expected)
    assert silhouette(distances, np.zeros(30, int)) == 0


def test_usual_is_asked_between_groups_of_one_class() -> None:
    unit = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    labels = np.array([0, 0, 1, 1])
    assert usual_similarity(unit, labels, ["a", "b", "c", "d"]) == (1, 1)
    assert usual_similarity(unit, labels, ["a", "a", "c", "d"]) == (1, 1)
    assert usual_similarity(unit, labels, ["a", "a", "c", "c"]) is None
    assert usual_similarity(unit, np.zeros(4, int), ["a", "a", "c", "c"]) == (0, 0)
    many, _ = photographed([700], seed=0)
    low, high = usual_similarity(many, np.zeros(700, int), [str(row) for row in range(700)]) or (0, 0)
    assert 0.5 < low < high < 0.8
