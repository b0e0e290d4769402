import numpy as np
import pytest

from fieldmark.evaluation.familiarity import UNFAMILIAR_BELOW, choose_rows, class_similarities, fit_familiarity, unit


def clusters(seed, *, groups=200, size=5, width=32, classes=2):
    """Embeddings of groups that lie around their class's direction, images close to their group."""
    random = np.random.default_rng(seed)
    labels = np.arange(groups) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width)) * 2
    around = centres[labels] + random.normal(size=(groups, width))
    embeddings = np.repeat(around, size, axis=0) + random.normal(size=(groups * size, width)) * 0.05
    names = [f"g{group}" for group in range(groups) for _ in range(size)]
    return embeddings.astype(np.float32), np.repeat(labels, size), names


def of(found, embeddings):
    return found.table.of(found.bank.similarities(embeddings))


def test_other_images_are_unfamiliar_and_alike_ones_are_not():
    found = fit_familiarity(*clusters(0), classes=2)
    alike, other = (
        of(found, clusters(1)[0]),
        of(found, np.random.default_rng(3).normal(size=(200, 32)).astype(np.float32)),
    )
    assert (alike < UNFAMILIAR_BELOW).mean() <= 0.03
    assert (other < UNFAMILIAR_BELOW).mean() == 1.0
    assert 0.3 < np.median(alike) < 0.7  # a new image stands anywhere among the training images


def test_own_groups_are_left_out():
    """Images of a group are copies; compared with these, everything new would look unlike."""
    embeddings, labels, names = clusters(0, size=8)
    by_group = fit_familiarity(embeddings, labels, names, classes=2)
    by_image = fit_familiarity(embeddings, labels, [str(row) for row in range(len(names))], classes=2)
    new = clusters(1)[0]
    alarms, many = ((of(found, new) < UNFAMILIAR_BELOW).mean() for found in (by_group, by_image))
    assert alarms <= 0.03
    assert many > 0.5


def test_similarity_is_that_to_the_fifth_nearest_of_each_class():
    random = np.random.default_rng(0)
    bank, embeddings = random.normal(size=(12, 8)), random.normal(size=(3, 8)).astype(np.float32)
    rounded = unit(bank.astype(np.float32)).astype(np.float16)
    found = class_similarities(embeddings, rounded, (9, 3, 0))
    cosines = unit(embeddings) @ rounded.astype(np.float32).T
    np.testing.assert_allclose(found[:, 0], np.sort(cosines[:, :9], axis=1)[:, -5], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], cosines[:, 9:].min(axis=1), rtol=1e-6)
    assert found[:, 2].tolist() == [-1, -1, -1]
    assert class_similarities(embeddings[:0], rounded, (9, 3)).shape == (0, 2)


def test_one_group_a_class_is_cut_into_parts_and_says_so():
    embeddings, labels, _ = clusters(0)
    found = fit_familiarity(embeddings, labels, [str(label) for label in labels], classes=2)
    assert "no class has two groups" in found.note
    assert fit_familiarity(embeddings[:2], np.array([0, 1]), ["a", "b"], classes=2) is None


def test_a_few_images_leave_room_below_the_least_alike():
    embeddings, labels, names = clusters(0, groups=8, size=1)
    found = fit_familiarity(embeddings, labels, names, classes=2)
    assert (of(found, embeddings) >= UNFAMILIAR_BELOW).all()
    assert list(found.table.levels) == sorted(found.table.levels)
    assert (np.diff(found.table.similarities) > 0).all()


def test_rows_are_spread_over_classes_and_groups():
    labels = np.array([0] * 900 + [1] * 50 + [2] * 50)
    groups = np.concatenate([np.arange(900) // 300, 10 + np.arange(100) // 5])
    rows = choose_rows(labels, groups, 300)
    assert np.bincount(labels[rows]).tolist() == [200, 50, 50]
    assert max(np.bincount(groups[rows])[:3]) - min(np.bincount(groups[rows])[:3]) <= 2
    assert len(np.unique(rows)) == len(rows) == 300
    assert choose_rows(labels, groups, 2000).tolist() == list(range(1000))


def test_embeddings_without_length_do_no_harm():
    embeddings, labels, names = clusters(0)
    embeddings[::7] = 0
    found = fit_familiarity(embeddings, labels, names, classes=2)
    assert np.isfinite(of(found, embeddings)).all()


@pytest.mark.parametrize("classes", [2, 200])
def test_the_same_images_give_the_same_bits(classes):
    one, other = (fit_familiarity(*clusters(0, groups=400, size=2, classes=classes), classes=classes) for _ in range(2))
    assert one.bank.rows.tobytes() == other.bank.rows.tobytes()
    assert one.table == other.table
