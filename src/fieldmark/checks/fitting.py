"""Fitting: the two small classifiers that checks put questions to, a logistic regression and a decision tree.

They answer as scikit-learn's do (the tests compare them). But importing scikit-learn takes 1.2 s, more than all the
fits of an audit together, and an audit whose embeddings are cached takes 4 s in all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]

MEMORY = 10  # steps that the search for the minimum remembers
SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo)
SHORTEST = 1e-10  # of a step


@dataclasses.dataclass(frozen=True)
class Logistic:
    """Multinomial logistic regression; two classes share one row of weights."""

    classes: Labels  # (k,), sorted
    weights: Doubles  # (k, d), or (1, d)
    bias: Doubles  # (k,) or (1,)

    def probabilities(self, features: Floats) -> Doubles:
        """Probabilities (n, k) for features (n, d)."""
        return _softmax(_logits(features, self.weights, self.bias))

    def predict(self, features: Floats) -> Labels:
        """The likeliest class of each, (n,)."""
        return np.asarray(self.classes[self.probabilities(features).argmax(axis=1)])


def fit_logistic(features: Floats, labels: Labels, *, strength: float, tolerance: float, steps: int) -> Logistic:
    """Fit to features (n, d), all classes weighing the same; `strength` is the inverse L2 penalty.

    Minimises mean loss + |weights|² / (2 · strength · n), the bias free, until no slope exceeds `tolerance` or
    `steps` are made (L-BFGS: Liu & Nocedal 1989, doi:10.1007/BF01589116).
    """
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    wanted = np.eye(len(classes))[places.ravel()]
    weight = (len(labels) / (len(classes) * counts))[places.ravel(), None] / len(labels)
    penalty = 1 / (strength * len(labels))
    outputs, d = (1 if len(classes) == 2 else len(classes)), features.shape[1]

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        table = flat.reshape(outputs, d + 1)
        weights, bias = table[:, :d], table[:, d]
        logits = _logits(features, weights, bias)
        value = float((weight[:, 0] * (np.logaddexp.reduce(logits, axis=1) - (logits * wanted).sum(axis=1))).sum())
        error = (weight * (_softmax(logits) - wanted))[:, -outputs:]
        slopes = np.column_stack([error.T.astype(np.float32) @ features + penalty * weights, error.sum(axis=0)])
        return value + penalty / 2 * float((weights**2).sum()), slopes.ravel()

    table = _minimum(loss, np.zeros(outputs * (d + 1)), tolerance, steps).reshape(outputs, d + 1)
    return Logistic(classes, table[:, :d], table[:, d])


@dataclasses.dataclass(frozen=True)
class Tree:
    """A node of a decision tree: `label` where it ends, else a question with two trees."""

    label: int
    column: int = -1
    threshold: float = 0.0
    below: Tree | None = None  # where the column is at most the threshold
    above: Tree | None = None

    def predict(self, features: Floats) -> Labels:
        """The class of each row of features (n, d), (n,)."""
        if self.below is None or self.above is None:
            return np.full(len(features), self.label, dtype=np.int64)
        low = features[:, self.column] <= self.threshold
        return np.where(low, self.below.predict(features), self.above.predict(features))


def fit_tree(features: Floats, labels: Labels, *, depth: int, leaf: int) -> Tree:
    """Fit a tree of at most `depth` questions, `leaf` images or more at each end, all classes weighing the same.

    Each question is the one that leaves the least Gini impurity (Breiman et al. 1984).
    """
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = np.eye(len(classes))[places.ravel()] / counts[places.ravel(), None]
    return _grow(features.astype(np.float64), shares, classes, depth, leaf)


def _grow(features: Doubles, shares: Doubles, classes: Labels, depth: int, leaf: int) -> Tree:
    totals = shares.sum(axis=0)
    label = int(classes[totals.argmax()])
    if not depth or len(features) < 2 * leaf or np.count_nonzero(totals) < 2:
        return Tree(label)
    score, column, threshold = max(_best_question(features[:, each], shares, leaf, each) for each in _columns(features))
    if score == -np.inf:
        return Tree(label)
    low = features[:, column] <= threshold
    below, above = (_grow(features[side], shares[side], classes, depth - 1, leaf) for side in (low, ~low))
    return Tree(label, column, threshold, below, above)


def _columns(features: Doubles) -> range:
    return range(features.shape[1])


def _best_question(values: Doubles, shares: Doubles, leaf: int, column: int) -> tuple[float, int, float]:
    """(score, column, threshold) of the best place to cut one column; the score is -inf where there is none."""
    order = np.argsort(values, kind="stable")
    values = values[order]
    below = np.cumsum(shares[order], axis=0)
    above = below[-1] - below
    # A cut after row i leaves i + 1 images below it.
    cuts = np.arange(leaf - 1, len(values) - leaf)
    cuts = cuts[values[cuts] < values[cuts + 1]]
    if not len(cuts):
        return -np.inf, column, 0.0
    below, above = below[cuts], above[cuts]
    scores = (below**2).sum(axis=1) / below.sum(axis=1) + (above**2).sum(axis=1) / above.sum(axis=1)
    best = int(scores.argmax())
    return float(scores[best]), column, float(values[cuts[best]] + values[cuts[best] + 1]) / 2


def _logits(features: Floats, weights: Doubles, bias: Doubles) -> Doubles:
    logits = np.asarray(features @ weights.T.astype(np.float32) + bias, dtype=np.float64)
    return logits if len(bias) > 1 else np.column_stack([np.zeros(len(logits)), logits])


def _softmax(logits: Doubles) -> Doubles:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _minimum(
    function: Callable[[Doubles], tuple[float, Doubles]], point: Doubles, tolerance: float, steps: int
) -> Doubles:
    """Where a smooth convex function, which returns its value and slopes, has its minimum (L-BFGS)."""
    value, slope = function(point)
    past: list[tuple[Doubles, Doubles]] = []  # what was moved, and by how much the slope changed
    for _ in range(steps):
        if np.abs(slope).max() <= tolerance:
            break
        direction = _direction(slope, past)
        length, promised = 1.0, float(slope @ direction)
        while True:
            moved = point + length * direction
            new_value, new_slope = function(moved)
            if new_value <= value + SUFFICIENT * length * promised:
                break
            length /= 2
            if length < SHORTEST:  # no lower: as near as the numbers' digits allow
                return point
        past = [*past[1 - MEMORY :], (moved - point, new_slope - slope)]
        point, value, slope = moved, new_value, new_slope
    return point


def _direction(slope: Doubles, past: list[tuple[Doubles, Doubles]]) -> Doubles:
    """Where to go next: down the slope, bent by the curvature that past steps have met (two-loop recursion)."""
    past = [(step, change) for step, change in past if step @ change > 0]
    direction = -slope
    if not past:
        return np.asarray(direction / max(1.0, float(np.abs(slope).sum())))
    shares = []
    for step, change in reversed(past):
        share = (step @ direction) / (step @ change)
        shares.append(share)
        direction = direction - share * change
    step, change = past[-1]
    direction = direction * ((step @ change) / (change @ change))
    for (step, change), share in zip(past, reversed(shares), strict=True):
        direction = direction + step * (share - (change @ direction) / (step @ change))
    return direction
