"""Kinds of mistakes: which are alike, what training had of them, what to photograph next."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fieldmark.evaluation.kinds import Vocabulary, analyse_mistakes, analyse_splits, typical_similarity
from fieldmark.evaluation.predictions import Predictions

DIRECTIONS = np.eye(8, dtype=np.float32)


def scene(kinds: list[int], spread: list[float]) -> np.ndarray:
    """Embeddings near one direction a kind."""
    noise = np.random.default_rng(0).normal(0, 1, (len(kinds), 8)) * np.array(spread)[:, None]
    return np.asarray(DIRECTIONS[kinds] + noise, dtype=np.float32)


def dataset(train: list[tuple[int, int]], validation: list[tuple[int, int, int]]) -> tuple[Predictions, np.ndarray]:
    """Images as (kind, label), and (kind, label, answer) of the validation split."""
    rows = [(kind, label, label) for kind, label in train] + validation
    shares = np.full((len(rows), 2), 0.2, np.float32)
    shares[np.arange(len(rows)), [answer for _, _, answer in rows]] = 0.8
    predictions = Predictions(
        paths=tuple(f"{row}.png" for row in range(len(rows))),
        labels=np.array([label for _, label, _ in rows], np.int32),
        probabilities=shares,
        splits=("train",) * len(train) + ("validation",) * len(validation),
        groups=tuple(str(row) for row in range(len(rows))),
        classes=("horse", "human"),
    )
    return predictions, scene([kind for kind, _, _ in rows], [0.05] * len(train) + [0.02] * len(validation))


TRAIN = [(0, 0)] * 20 + [(1, 1)] * 20 + [(2, 1)] * 2
# Four lost of a kind that training has two of, one of a kind that it has twenty of, one of none.
VALIDATION = [(2, 1, 0)] * 4 + [(1, 1, 0)] + [(3, 0, 1)] + [(0, 0, 0)] * 4


def test_images_whose_label_is_doubted_are_not_asked_for_without_a_word() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    plain = analyse_mistakes(predictions, embeddings, split="validation")["kinds"]
    doubted = [*plain[0]["paths"][:3], *plain[1]["paths"]]
    kinds = analyse_mistakes(predictions, embeddings, split="validation", suspected=doubted)["kinds"]
    assert [kind["suspected"] for kind in kinds] == [3, 1, 0]
    # And what is lacking where the labels are right is never left out
    between = "may be wrongly labelled: look there first; where the labels are right, "
    assert f"; 3 of these 4 {between}training has only 2" in kinds[0]["advice"]
    assert kinds[1]["advice"] == plain[1]["advice"].replace("; ", f"; it {between}", 1)
    assert kinds[2]["advice"] == plain[2]["advice"]


def test_the_kind_that_costs_most_comes_first() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    found = analyse_mistakes(predictions, embeddings, split="validation")
    json.dumps(found, allow_nan=False)
    ranked = [(kind["kind"], kind["label"], kind["images"]) for kind in found["kinds"]]
    assert ranked == [(1, "human", 4), (2, "horse", 1), (3, "human", 1)]
    few, none, many = (kind["of_them_label"] for kind in found["kinds"])
    assert (few, none) == (2, 0)
    assert 10 < many <= 20
    assert [kind["lost"] for kind in found["kinds"]] == [0.4, 0.1, 0.1]
    assert found["wrong"] == len(found["mistakes"]) == 6
    assert "photograph more" in found["kinds"][0]["advice"]
    assert "training has no such image of horse" in found["kinds"][1]["advice"]
    assert "more detail (a larger image size) may tell them apart" in found["kinds"][2]["advice"]
    assert found["confused"][0] == {"label": "human", "predicted": "horse", "count": 5, "of": 5}
    assert [kind["suspected"] for kind in found["kinds"]] == [0, 0, 0]
    assert "label" not in "".join(kind["advice"] for kind in found["kinds"])  # a mistake alone accuses no label
    for mistake in found["mistakes"]:
        (kind,) = (kind for kind in found["kinds"] if kind["kind"] == mistake["kind"])
        assert mistake["path"] in kind["paths"]
        assert mistake["label"] == kind["label"]
        similarities = [near["similarity"] for near in mistake["nearest"]]
        assert similarities == sorted(similarities, reverse=True)


def test_mistakes_as_alike_as_their_class_are_one_kind() -> None:
    # Images of a class go together as photos do: none has a near twin, all have something in common.
    random = np.random.default_rng(0)
    kinds = np.array([0] * 40 + [1] * 40 + [0] * 9 + [2] * 5)
    embeddings = random.normal(size=(3, 60))[kinds] + 0.9 * random.normal(size=(94, 60))
    labels = np.array([0] * 40 + [1] * 40 + [0] * 14, np.int32)
    wrong = np.arange(94) >= 80
    predictions = Predictions(
        paths=tuple(f"{row}.png" for row in range(94)),
        labels=labels,
        probabilities=np.where((labels ^ wrong)[:, None] == [0, 1], 0.9, 0.1).astype(np.float32),
        splits=("train",) * 80 + ("validation",) * 14,
        groups=tuple(str(row) for row in range(94)),
        classes=("horse", "human"),
    )
    found = analyse_mistakes(predictions, embeddings.astype(np.float32), split="validation")
    usual, foreign = found["kinds"]
    assert set(usual["paths"]) == {f"{row}.png" for row in range(80, 89)}
    assert set(foreign["paths"]) == {f"{row}.png" for row in range(89, 94)}
    assert foreign["of_them_label"] == 0


def kinds_of_small_classes(seed: int) -> int:
    """Twenty classes of three training images, and two mistakes each: how many kinds these are."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(20), 3), np.repeat(np.arange(20), 2)]).astype(np.int32)
    embeddings = random.normal(size=(20, 60))[labels] + 0.9 * random.normal(size=(100, 60))
    answers = np.where(np.arange(100) < 60, labels, (labels + 1) % 20)
    predictions = Predictions(
        paths=tuple(f"{row}.png" for row in range(100)),
        labels=labels,
        probabilities=np.where(answers[:, None] == np.arange(20), 0.62, 0.02).astype(np.float32),
        splits=("train",) * 60 + ("validation",) * 40,
        groups=tuple(str(row) for row in range(100)),
        classes=tuple(f"class {number:02d}" for number in range(20)),
    )
    kinds = analyse_mistakes(predictions, embeddings.astype(np.float32), split="validation")["kinds"]
    assert sum(kind["images"] for kind in kinds) == 40
    return len(kinds)


def test_of_small_classes_all_say_what_is_usual() -> None:
    # A quarter of the pairs is to stand apart: 25 kinds. By three images of each class alone it is 27.6 here.
    assert np.mean([kinds_of_small_classes(seed) for seed in range(8)]) <= 26


def test_the_nearest_training_images_are_the_nearest() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    found = analyse_mistakes(predictions, embeddings, split="validation")
    for mistake in found["mistakes"]:
        row = predictions.paths.index(mistake["path"])
        cosine = embeddings[: len(TRAIN)] @ embeddings[row]
        cosine = cosine / np.linalg.norm(embeddings[: len(TRAIN)], axis=1) / np.linalg.norm(embeddings[row])
        assert mistake["nearest"][0]["path"] == predictions.paths[int(cosine.argmax())]
        assert mistake["nearest"][0]["similarity"] == pytest.approx(float(cosine.max()), abs=1e-5)


def test_words_say_what_training_lacks() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    names = tuple(f"thing {number}" for number in range(8))
    vocabulary = Vocabulary(names, 8 * DIRECTIONS, np.zeros(8, np.float32))
    found = analyse_mistakes(predictions, embeddings, split="validation", vocabulary=vocabulary)
    assert [kind["words"] for kind in found["kinds"]] == [["thing 2"], ["thing 3"], []]
    assert "ImageNet's nearest word: thing 2" in found["kinds"][0]["advice"]


def test_words_that_are_not_sure_are_not_said() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    names = tuple(f"thing {number}" for number in range(8))
    for sharpness, words in ((2, []), (4, ["thing 2"])):  # the likeliest has about .5 and .9
        vocabulary = Vocabulary(names, sharpness * DIRECTIONS, np.zeros(8, np.float32))
        found = analyse_mistakes(predictions, embeddings, split="validation", vocabulary=vocabulary)
        assert found["kinds"][0]["words"] == words
        assert ("nearest word" in found["kinds"][0]["advice"]) == bool(words)


def test_several_splits_at_once_are_as_each_alone() -> None:
    predictions, embeddings = dataset(TRAIN, [*VALIDATION, (2, 1, 0), (0, 0, 0)])
    splits = ("train",) * len(TRAIN) + ("validation",) * len(VALIDATION) + ("test",) * 2
    predictions = dataclasses.replace(predictions, splits=splits)
    both = analyse_splits(predictions, embeddings, splits=("validation", "test"))
    assert [one["wrong"] for one in both] == [6, 1]
    assert both == [analyse_mistakes(predictions, embeddings, split=split) for split in ("validation", "test")]
    assert both[1]["mistakes"][0]["nearest"]
    assert both[1]["kinds"][0]["lost"] == 0.5


def test_the_answer_does_not_depend_on_the_order() -> None:
    predictions, embeddings = dataset(TRAIN, VALIDATION)
    order = np.random.default_rng(1).permutation(len(predictions))
    one = analyse_mistakes(predictions, embeddings, split="validation")
    other = analyse_mistakes(predictions.keep(order.tolist()), embeddings[order], split="validation")
    assert one["similarity"] == pytest.approx(other["similarity"])
    for first, second in zip(one["kinds"], other["kinds"], strict=True):
        assert sorted(first["paths"]) == sorted(second["paths"])


@pytest.mark.parametrize(
    ("train", "validation", "remark"),
    [
        (TRAIN, [(0, 0, 0)], "no mistakes"),
        (TRAIN, [], "no images with a known class"),
        ([], [(0, 0, 1)], "no training images"),
    ],
)
def test_nothing_to_group_is_said(
    train: list[tuple[int, int]], validation: list[tuple[int, int, int]], remark: str
) -> None:
    predictions, embeddings = dataset(train, validation)
    found = analyse_mistakes(predictions, embeddings, split="validation")
    assert found["kinds"] == []
    assert remark in found["remarks"][0]


def test_two_images_no_embedding_and_one_class() -> None:
    predictions, embeddings = dataset([(0, 0)], [(0, 1, 0)])
    assert analyse_mistakes(predictions, embeddings, split="validation")["kinds"][0]["images"] == 1
    assert "no embedding" in analyse_mistakes(predictions, None, split="validation")["remarks"][0]
    zeros = analyse_mistakes(predictions, np.zeros_like(embeddings), split="validation")
    json.dumps(zeros, allow_nan=False)
    one_class = Predictions(("a",), np.zeros(1, np.int32), np.ones((1, 1), np.float32), ("validation",), ("a",), ("x",))
    assert analyse_mistakes(one_class, None, split="validation")["wrong"] == 0


def test_many_mistakes_are_all_in_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldmark.evaluation.clusters.CLUSTERED", 10)
    predictions, embeddings = dataset(TRAIN, [(2, 1, 0), (4, 1, 0)] * 20)
    kinds = analyse_mistakes(predictions, embeddings, split="validation")["kinds"]
    assert [kind["images"] for kind in kinds] == [20, 20]


def test_alike_is_measured_between_groups() -> None:
    unit = DIRECTIONS[[0, 0, 1, 1]]
    assert typical_similarity(unit, ["a", "a", "b", "b"]) == 0.0
    assert typical_similarity(unit, ["a", "b", "c", "d"]) == 1.0
    assert typical_similarity(unit, ["a"] * 4) == 0.9
