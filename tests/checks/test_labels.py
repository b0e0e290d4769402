"""Wrong labels: planted ones lead the list, and nothing is judged that cannot be."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from fieldmark.checks.context import deal_folds, groups_of_classes
from fieldmark.checks.labels import _against, _enough, check_labels, judge, out_of_fold, suspects


def clusters(classes: int, groups: int, size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings of classes that lie apart, with groups inside that lie apart a little."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), groups * size)
    group = np.repeat(np.arange(classes * groups), size)
    centres = random.normal(size=(classes, 40)) * 2
    places = random.normal(size=(classes * groups, 40))
    embeddings = centres[labels] + places[group] + 0.3 * random.normal(size=(len(labels), 40))
    return embeddings.astype(np.float32), labels, [f"g{number}" for number in group]


def test_planted_labels_come_first() -> None:
    embeddings, labels, groups = clusters(3, 20, 5)
    wrong = np.random.default_rng(1).choice(len(labels), 15, replace=False)
    planted = labels.copy()
    planted[wrong] = (planted[wrong] + 1) % 3
    found = suspects(embeddings, planted, groups, 3)
    first = {suspect.row for suspect in found[:30]}
    assert len(first & set(wrong.tolist())) >= 14
    for suspect in found[:14]:
        assert suspect.likelier == labels[suspect.row]
        assert suspect.likelier_probability > suspect.given_probability


def test_without_wrong_labels_hardly_any_is_suspected() -> None:
    embeddings, labels, groups = clusters(2, 20, 4)
    assert len(suspects(embeddings, labels, groups, 2)) <= 3


def blurred(*, apart: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings of two classes that lie one in the other, as hundreds of numbers that go together in twenty ways."""
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], 150)
    ways = random.normal(size=(300, 20)) + apart * random.normal(size=(2, 20))[labels]
    return (ways @ random.normal(size=(20, 600))).astype(np.float32), labels, [str(row) for row in range(300)]


def test_a_likelier_class_alone_accuses_nobody() -> None:
    embeddings, labels, groups = blurred(apart=0.15)
    findings, sentence, table = checked(labels, embeddings, groups, np.full(300, "train"))
    assert len(table) > 40
    assert not any(row["accused"] for row in table)
    assert {finding.weight for finding in findings} == {"note"}
    assert sentence == (
        f"No label is contradicted, of 300 images. For {len(table)} labels another class is a little likelier: "
        "most such labels are right, the most doubtful come first."
    )
    assert all(", a little likelier " in finding.sentence for finding in findings)


def test_what_is_contradicted_is_accused_and_comes_first() -> None:
    embeddings, labels, groups = blurred(apart=0.6)
    wrong = np.random.default_rng(1).choice(300, 15, replace=False)
    labels[wrong] = 1 - labels[wrong]
    findings, sentence, table = checked(labels, embeddings, groups, np.full(300, "train"))
    json.dumps(table, allow_nan=False)
    accused = {row["path"] for row in table if row["accused"]}
    planted = {f"{row}.jpg" for row in wrong}
    assert len(accused & planted) >= 8
    assert not accused - planted
    assert len(table) > len(accused)
    assert [finding.weight for finding in findings] == ["problem"] * len(accused) + ["note"] * (
        len(table) - len(accused)
    )
    assert sentence.startswith(f"{len(accused)} of 300 labels may be wrong: look at these.")
    assert sentence.endswith(
        f" For {len(table) - len(accused)} other labels another class is a little likelier: most such "
        "labels are right, the most doubtful come first."
    )


def test_each_class_has_its_own_measure_of_what_is_sure() -> None:
    # Four times as likely is much for the first two classes, and nothing unusual for the third.
    shares = np.array([[0.70, 0.15, 0.15]] * 4 + [[0.05, 0.05, 0.9]] * 4 + [[0.1, 0.8, 0.1], [0.15, 0.05, 0.8]])
    labels = np.array([0, 0, 1, 0, 2, 2, 2, 2, 1, 1])
    enough = _enough(shares, labels, np.ones(10, np.bool_))
    np.testing.assert_allclose(enough, [0.7, (0.15 + 0.8 + 0.05) / 3, 0.85])
    np.testing.assert_allclose(_enough(shares, labels, labels == 0), [0.7, 0.85, 0.85])


def test_probabilities_are_shown_with_the_digits_that_tell_them_apart() -> None:
    for other, given, shown in (
        (0.9, 0.05, "0.90 against 0.05"),
        (0.4294, 0.4271, "0.429 against 0.427"),
        (0.4013, 0.4011, "0.4013 against 0.4011"),
        (0.4, 0.4, "0.4000 against 0.4000"),
    ):
        assert _against({"likelier_probability": other, "label_probability": given}) == shown


def test_a_frame_that_its_sequence_contradicts_is_found_with_two_sequences_a_class() -> None:
    embeddings, labels, groups = clusters(2, 2, 20)
    planted = labels.copy()
    planted[7] = 1
    first = suspects(embeddings, planted, groups, 2)[0]
    assert first.row == 7
    assert first.witnesses == 19
    assert first.accused


def test_a_class_of_one_group_is_not_judged() -> None:
    embeddings, labels, groups = clusters(2, 6, 4)
    groups = ["alone" if label == 1 else group for label, group in zip(labels, groups, strict=True)]
    assert {labels[suspect.row] for suspect in suspects(embeddings, labels, groups, 2)} <= {0}


def checked(labels: np.ndarray, embeddings: np.ndarray, groups: list[str], splits: np.ndarray) -> Any:
    names = tuple("abcdefgh"[: labels.max() + 1])
    dataset = SimpleNamespace(groups=groups, labels=labels, classes=names, splits=splits)
    dataset.paths = [f"{row}.jpg" for row in range(len(labels))]
    rows = np.flatnonzero(splits == "train")
    context: Any = SimpleNamespace(dataset=dataset, training=lambda: rows, embeddings=embeddings)
    return check_labels(context)


def test_labels_of_other_splits_are_judged_in_the_same_list() -> None:
    embeddings, labels, groups = clusters(3, 20, 5)
    splits = np.where(np.arange(len(labels)) // 5 % 2, "train", "validation").astype(object)
    wrong = np.random.default_rng(1).choice(len(labels), 15, replace=False)
    planted = labels.copy()
    planted[wrong] = (planted[wrong] + 1) % 3
    findings, sentence, table = checked(planted, embeddings, groups, splits)
    first = table[:15]
    assert {row["path"] for row in first} == {f"{row}.jpg" for row in wrong}
    outside = {f"{row}.jpg" for row in wrong if splits[row] == "validation"}
    assert {row["path"] for row in first if row["split"] == "validation"} == outside
    assert 3 <= len(outside) <= 12
    assert {(each.paths[0], each.sentence.startswith("in validation, labelled ")) for each in findings} == {
        (row["path"], row["split"] == "validation") for row in table
    }
    elsewhere = sum(row["split"] == "validation" and row["accused"] for row in table)
    assert 3 <= elsewhere <= len(outside)
    assert f", {elsewhere} of them outside of training: look at these." in sentence
    margins = [row["label_probability"] - row["likelier_probability"] for row in table]
    assert margins == sorted(margins)


def test_a_copy_in_training_does_not_vouch_for_a_wrong_label_in_validation() -> None:
    embeddings, labels, groups = clusters(2, 20, 5)
    labels[:5] = 1  # a whole group is wrong, three images of it in training
    splits = np.where(np.arange(len(labels)) < 3, "train", np.where(np.arange(len(labels)) % 4, "train", "validation"))
    splits[3:5] = "validation"
    _, _, table = checked(labels, embeddings, groups, splits)
    assert {"3.jpg", "4.jpg"} <= {row["path"] for row in table}


def test_a_class_that_training_lacks_is_not_judged_elsewhere() -> None:
    embeddings, labels, groups = clusters(3, 10, 4)
    splits = np.where(labels < 2, "train", "validation")
    assert all(row["split"] == "train" for row in checked(labels, embeddings, groups, splits)[2])


def test_classes_that_cannot_be_told_apart_accuse_nobody() -> None:
    random = np.random.default_rng(0)
    for classes in (2, 3, 8):
        labels = np.repeat(np.arange(classes), 60)
        embeddings = random.normal(size=(len(labels), 40)).astype(np.float32)
        groups = [str(row) for row in range(len(labels))]
        findings, sentence, table = checked(labels, embeddings, groups, np.full(len(labels), "train"))
        assert (findings, table) == ([], [])
        assert sentence.startswith("Cannot be told: the check cannot tell these classes apart.")


def test_where_classes_cannot_be_told_apart_a_group_still_accuses_its_own() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        labels, group = np.repeat([0, 1], 40), np.arange(80) // 20
        labels[[7, 8]] = 1
        # Each group looks its own way: what the others teach of it is sure, and worth nothing.
        embeddings = (3 * random.normal(size=(4, 40))[group] + random.normal(size=(80, 40))).astype(np.float32)
        found = judge(embeddings, labels, [f"g{number}" for number in group], 2)
        assert not found.able
        assert [(each.row, each.witnesses) for each in found.suspects] == [(7, 18), (8, 18)]


def test_labels_outside_of_training_teach_nothing() -> None:
    for cut in (5, 3):  # 3: every sequence has frames on both sides
        embeddings, labels, groups = clusters(2, 40, 5)
        labels[::16] = 1 - labels[::16]
        training = np.arange(len(labels)) // cut % 2 == 0
        other = np.where(training, labels, 1 - labels)
        one, two = (
            [each for each in suspects(embeddings, given, groups, 2, training) if training[each.row]]
            for given in (labels, other)
        )
        assert one == two
        assert len(one) >= 8


def test_wrong_frames_of_a_sequence_in_validation_accuse_none_of_its_frames_in_training() -> None:
    embeddings, labels, groups = clusters(2, 20, 8)
    training = np.arange(len(labels)) % 8 < 2
    given = labels.copy()
    given[2:8] = 1
    found = {suspect.row for suspect in suspects(embeddings, given, groups, 2, training)}
    assert not found & {0, 1}
    assert {2, 3, 4, 5, 6, 7} <= found


def test_frames_of_validation_are_contradicted_by_their_own_sequence() -> None:
    embeddings, labels, groups = clusters(2, 20, 8)
    training = np.arange(len(labels)) // 8 % 2 == 0
    given = labels.copy()
    given[8] = 1
    first = suspects(embeddings, given, groups, 2, training)[0]
    assert (first.row, first.witnesses) == (8, 7)


def test_a_class_that_its_fold_takes_out_of_training_is_not_judged() -> None:
    for seed in range(5):
        embeddings, labels, groups = clusters(2, 6, 6, seed=seed)
        # A third class in two clips, each mostly of another class, and all that is dealt into one fold.
        folds = deal_folds(groups, labels)
        clips = [group for group, fold in dict(zip(groups, folds.tolist(), strict=True)).items() if fold == folds[0]]
        rare = [groups.index(clip) for clip in clips[:2]]
        labels[rare] = 2
        assert len(clips) >= 2
        assert len(set(deal_folds(groups, labels)[rare])) == 1
        found = judge(embeddings, labels, groups, 3)
        assert not {suspect.row for suspect in found.suspects} & set(rare)
        assert found.asked.sum() == len(labels) - 2
        _, sentence, _ = checked(labels, embeddings, groups, np.full(len(labels), "train"))
        assert f"of {len(labels) - 2} image" in sentence
        assert sentence.endswith(" Not judged, as training shows too few other groups of their class: 2 of c.")


def test_folds_hold_whole_groups_of_every_class() -> None:
    _, labels, groups = clusters(3, 10, 4)
    folds = deal_folds(groups, labels)
    assert all(len(set(folds[np.array(groups) == group])) == 1 for group in set(groups))
    for label in range(3):
        assert set(folds[labels == label]) == set(range(5))
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(deal_folds([groups[row] for row in order], labels[order]), folds[order])
    assert groups_of_classes(groups, labels, 4).tolist() == [10, 10, 10, 0]


def test_no_image_vouches_for_its_own_label() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(200, 800)).astype(np.float32), random.integers(0, 2, 200)
    outside = out_of_fold(features, labels, np.arange(200) % 5, 2)
    # Noise can be learnt by heart and tells nothing of what was left out.
    assert 0.35 < (outside.argmax(axis=1) == labels).mean() < 0.65


def test_the_most_suspicious_come_first() -> None:
    embeddings, labels, groups = clusters(3, 20, 5)
    labels[::9] = (labels[::9] + 1) % 3
    margins = [each.likelier_probability - each.given_probability for each in suspects(embeddings, labels, groups, 3)]
    assert len(margins) > 20
    assert margins == sorted(margins, reverse=True)
