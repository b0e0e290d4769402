"""The linear head on a frozen backbone: multinomial logistic regression, fitted to convergence.

Its regularisation is chosen by cross-validation inside the training split, whole groups left out together, so that
nothing is ever chosen on validation. The same left-out answers tell the temperature that makes its probabilities mean
what they say.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fieldmark.evaluation.calibration import calibrate
from fieldmark.training.left_out import TOO_FEW_GROUPS, make_folds

Floats = npt.NDArray[np.float32]

# Inverse strengths of the L2 penalty on standardised features, strongest penalty first. Below the first nothing is
# learnt, above the last the training images of 1,280 features are separated perfectly anyway.
STRENGTHS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
FALLBACK_STRENGTH = 1e-2
FOLDS = 5
MAX_ITERATIONS = 2000


@dataclasses.dataclass(frozen=True)
class Head:
    """A fitted linear layer: logits = embedding @ weights.T + bias, already divided by the temperature."""

    weights: Floats  # (1, d) for two classes with a sigmoid unit, else (classes, d)
    bias: Floats  # (outputs,)
    strength: float  # the chosen inverse penalty
    note: str  # how it was chosen, for people
    temperature: float  # what the fitted weights and bias were divided by
    calibration: str  # how that was found, for people

    def probabilities(self, embeddings: Floats) -> Floats:
        """Probabilities float32 (n, classes)."""
        logits = embeddings.astype(np.float64) @ self.weights.T.astype(np.float64) + self.bias
        if logits.shape[1] == 1:
            positive = 1 / (1 + np.exp(-logits))
            return np.hstack([1 - positive, positive]).astype(np.float32)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_head(
    embeddings: Floats,
    labels: npt.NDArray[np.int32],
    groups: Sequence[str],
    *,
    softmax: bool = False,
    balanced: bool = False,
    seed: int = 0,
) -> Head:
    """Fit a head to embeddings (n, d) with labels (n,) in 0..classes-1; deterministic for one seed and machine.

    `groups` names the group of each image; those of one group are left out together. `softmax` gives two classes two
    outputs instead of one sigmoid unit, `balanced` weighs classes by the inverse of their number of images. Returns a
    head whose probabilities are calibrated, as far as there are groups enough to do so; its notes say how.

    >>> random = np.random.default_rng(0)
    >>> labels = np.arange(40, dtype=np.int32) % 2
    >>> embeddings = (random.normal(size=(40, 3)) + 4 * labels[:, None]).astype(np.float32)
    >>> head = fit_head(embeddings, labels, [str(row) for row in range(40)])
    >>> head.weights.shape, head.probabilities(embeddings).argmax(axis=1).tolist() == labels.tolist()
    ((1, 3), True)
    """
    chosen = _choose_strength(embeddings, labels, np.asarray(groups), balanced=balanced, seed=seed)
    strength = chosen.strength
    ((weights, bias),) = _fit(embeddings, labels, (strength,), balanced)
    if softmax and len(weights) == 1:  # the same probabilities from two opposite outputs
        weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return Head(
        (weights / chosen.temperature).astype(np.float32),
        (bias / chosen.temperature).astype(np.float32),
        strength,
        chosen.note,
        chosen.temperature,
        chosen.calibration,
    )


def fitted_logits(
    embeddings: Floats,
    labels: npt.NDArray[np.int32],
    others: Floats,
    strength: float,
    *,
    balanced: bool = False,
) -> Floats:
    """Logits (m, outputs) for `others` (m, d) of a head fitted at one strength, not calibrated."""
    ((weights, bias),) = _fit(embeddings, labels, (strength,), balanced)
    return np.asarray(others @ weights.T + bias, dtype=np.float32)


def standardisation(embeddings: Floats) -> tuple[Floats, Floats]:
    """The mean (d,) and the deviation (d,) by which features (n, d) are standardised before a fit.

    No deviation counts for less than half the root mean square of all. Where images are few or plain, many features
    are the same in nearly all of them; divided by their own deviation they are thousands in the next image, and outvote
    the others.
    Held-out log loss of 150 drawn digits 1.87 without this floor and .69 with it, of 540 leaves .068 and .057
    (docs/log.md).

    >>> mean, deviation = standardisation(np.array([[0, 0, 2, 8], [0, 0, 8, 0]], np.float32))
    >>> mean.tolist(), deviation.tolist()
    ([0.0, 0.0, 5.0, 4.0], [1.25, 1.25, 3.0, 4.0])
    """
    deviation = embeddings.std(axis=0)
    floor = float(np.sqrt(np.square(deviation).mean())) / 2 or 1.0  # where no feature varies
    return embeddings.mean(axis=0), np.maximum(deviation, floor).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """What groups left out have told."""

    strength: float
    note: str
    temperature: float
    calibration: str


def _choose_strength(
    features: Floats,
    labels: npt.NDArray[np.int32],
    groups: npt.NDArray[np.str_],
    *,
    balanced: bool,
    seed: int,
) -> _Chosen:
    """The strength of least log loss on left-out groups, its temperature there, and the sentences that say so."""
    folds = make_folds(labels, groups.tolist(), FOLDS, seed=seed)
    if not folds:
        note = f"{TOO_FEW_GROUPS}, so the penalty was not chosen; {FALLBACK_STRENGTH:g} was taken"
        calibration = f"{TOO_FEW_GROUPS}, so nothing could be left out to calibrate the probabilities by"
        return _Chosen(FALLBACK_STRENGTH, note, 1.0, calibration)
    losses, judged = np.zeros(len(STRENGTHS)), sum(len(outside) for _, outside in folds)
    outputs = len(np.unique(labels)) if len(np.unique(labels)) > 2 else 1
    left_out = np.full((len(STRENGTHS), len(labels), outputs), np.nan, np.float32)
    for inside, outside in folds:
        for index, (weights, bias) in enumerate(_fit(features[inside], labels[inside], STRENGTHS, balanced)):
            left_out[index, outside] = features[outside] @ weights.T + bias
            losses[index] += _log_loss(left_out[index, outside].astype(np.float64), labels[outside])
    best = int(losses.argmin())
    note = (
        f"penalty 1/{STRENGTHS[best]:g} chosen by {len(folds)}-fold cross-validation over groups of the training split "
        f"(log loss {losses[best] / judged:.4f})"
    )
    calibrated = calibrate(left_out[best], labels, groups.tolist())
    return _Chosen(STRENGTHS[best], note, calibrated.value, calibrated.note)


def _fit(
    features: Floats, labels: npt.NDArray[np.int32], strengths: Sequence[float], balanced: bool
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Fit once for each strength, each from the last solution: (weights, bias) with one row for two classes.

    The features are standardised by these images alone, never by any that are left out; that is folded into weights and
    bias, so that neither the graph nor who asks needs to know of it.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(
        tol=1e-5, max_iter=MAX_ITERATIONS, warm_start=True, class_weight="balanced" if balanced else None
    )
    mean, deviation = standardisation(features)
    standardised = (features - mean) / deviation
    solutions = []
    # One thread: each product takes under a millisecond, less than two threads need to meet (a fit of 820 × 1,280
    # took 0.14 s on one thread and 1-4 s on two, on two busy cores); and the bits depend on no core count.
    with threadpool_limits(1), warnings.catch_warnings():
        # Weak penalties on separable features have no finite optimum to reach; they lose the comparison.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Of many classes with two images each scikit-learn asks whether the labels are not numbers to predict.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        for strength in strengths:
            model.set_params(C=strength).fit(standardised, labels)
            weights = model.coef_ / deviation
            solutions.append((weights, model.intercept_ - weights @ mean))
    return solutions


def _log_loss(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int32]) -> float:
    """The sum over images of -log(probability of the label)."""
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    return float(np.sum(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]))
