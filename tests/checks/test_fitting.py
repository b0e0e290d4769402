"""Fitting: the small classifiers of the checks answer as scikit-learn's do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from fieldmark.checks.fitting import fit_logistic, fit_tree


def data(classes: int, columns: int, *, images: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.choice(classes, images, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    features = random.normal(size=(images, columns)) + random.normal(size=(classes, columns))[labels]
    return features.astype(np.float32), labels * 2 + 1  # labels need not be 0..k-1


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("strength", "columns"), [(1e-3, 300), (0.1, 12), (10.0, 3)])
def test_the_regression_is_that_of_scikit_learn(classes: int, strength: float, columns: int) -> None:
    features, labels = data(classes, columns)
    got = fit_logistic(features, labels, strength=strength, tolerance=1e-5, steps=1000)
    want = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    want.fit(features.astype(np.float64), labels)
    assert got.classes.tolist() == want.classes_.tolist()
    np.testing.assert_allclose(got.probabilities(features), want.predict_proba(features), atol=2e-3)
    assert (got.predict(features) == want.predict(features)).mean() > 0.99


def test_separable_classes_end_the_search() -> None:
    features = np.array([[-1.0], [-2], [1], [2]], np.float32)
    model = fit_logistic(features, np.array([0, 0, 1, 1]), strength=1e6, tolerance=1e-9, steps=50)
    assert model.predict(features).tolist() == [0, 0, 1, 1]
    assert np.isfinite(model.probabilities(1e4 * features)).all()


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_tree_is_that_of_scikit_learn(classes: int, seed: int) -> None:
    features, labels = data(classes, 3, seed=seed)
    want = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, class_weight="balanced", random_state=0)
    want.fit(features, labels)
    tree = fit_tree(features, labels, depth=4, leaf=5)
    # Where two classes or two questions are equally good, either may be taken.
    assert (tree.predict(features) == want.predict(features)).mean() > 0.85
    root = want.tree_
    assert (tree.column, tree.threshold) == (root.feature[0], pytest.approx(root.threshold[0], abs=1e-5))
    assert tree.below is not None
    assert tree.below.threshold == pytest.approx(root.threshold[root.children_left[0]], abs=1e-5)


def test_a_tree_needs_enough_images_at_each_end_and_ends_at_its_depth() -> None:
    features = np.arange(9, dtype=np.float32)[:, None]
    labels = (np.arange(9) >= 5).astype(int)
    assert fit_tree(features, labels, depth=4, leaf=5).below is None
    one = fit_tree(features, labels, depth=1, leaf=4)
    assert (one.column, one.threshold) == (0, 4.5)
    assert one.below is not None
    assert one.below.below is None
    assert one.predict(features).tolist() == labels.tolist()


def test_what_never_varies_asks_no_question() -> None:
    tree = fit_tree(np.ones((20, 2), np.float32), np.repeat([3, 4], 10), depth=4, leaf=5)
    assert tree.below is None
    assert set(tree.predict(np.ones((2, 2), np.float32))) <= {3, 4}
