"""Contributions: how much every place of the last feature map adds to the score of a class, exactly.

The score is the log-odds of one class against another: the difference of their logits. Behind the last feature map a
network pools and weighs it, or flattens it and goes through dense layers. For one image both are linear in the feature
map (a ReLU is either open or shut), so that the score is a sum over places and a constant:

    score = sum over places of (sum over channels of gradient × feature map) + rest

With global average pooling this is the class activation map (Zhou et al. 2016, arXiv:1512.04150), and Grad-CAM
(arXiv:1610.02391) gives the same picture. Behind flatten and dense layers, the gradient differs from place to place;
Grad-CAM's mean over places would lose that, so the product is taken at each place (HiResCAM, arXiv:2011.08891).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.explanation.graph import Graph, Node, Values
from fieldmark.runtime import PROBABILITIES

Array = npt.NDArray[Any]

POOLED = "class activation map: the last feature map times the weights of the head; it adds up to the score exactly"
DENSE = (
    "gradient times the last feature map, place by place, exact through the dense layers behind it for this image; "
    "it adds up to the score"
)


@dataclasses.dataclass(frozen=True)
class Contributions:
    """What each place of the last feature map adds to the score, or why that cannot be told."""

    places: npt.NDArray[np.float64] | None  # (height, width) of the feature map; positive: speaks for the class
    rest: float  # what no place adds: the biases
    score: float  # log-odds; places.sum() + rest
    method: str  # in words, for the reader


class _Unknown(Exception):
    """An operator through which nothing can be traced back."""


def contributions(graph: Graph, values: Values, *, towards: int, against: int) -> Contributions:
    """What speaks for class `towards` and against class `against` in the image whose `values` these are."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    try:
        tensor = _logits(makers)
        gradient, score = _seed(values[tensor], towards, against)
        gates = False
        # From the logits back to the last value with a height and a width.
        while not _has_places(values[tensor]):
            node = makers.get(tensor)
            if node is None or node.operator not in BACKWARD:
                raise _Unknown(node.operator if node else tensor)
            data = _data(node, graph.constants)
            gradient = BACKWARD[node.operator](node, gradient, values, data)
            gates = gates or node.operator in ("Relu", "Clip", "LeakyRelu")
            tensor = data
    except _Unknown as error:
        return Contributions(None, 0.0, 0.0, f"no activation map: {error} stands behind the last feature map")
    places = (gradient * values[tensor].astype(np.float64)).sum(axis=1)[0]
    return Contributions(places, score - float(places.sum()), score, DENSE if gates else POOLED)


def _logits(makers: dict[str, Node]) -> str:
    """The value that softmax or sigmoid turns into probabilities."""
    name = PROBABILITIES
    while name in makers:
        node = makers[name]
        if node.operator in ("Softmax", "Sigmoid"):
            return node.inputs[0]
        if node.operator not in ("Concat", "Identity"):
            raise _Unknown(node.operator)
        name = node.inputs[-1]  # of (1 - p, p) the second
    raise _Unknown(name)


def _seed(logits: Array, towards: int, against: int) -> tuple[Array, float]:
    gradient = np.zeros(logits.shape)
    if logits.shape[1] == 1:  # one unit: the log-odds of class 1
        gradient[0, 0] = 1.0 if towards == 1 else -1.0
    else:
        gradient[0, towards], gradient[0, against] = 1.0, -1.0
    return gradient, float((gradient * logits).sum())


def _has_places(value: Array) -> bool:
    return value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def _data(node: Node, constants: Values) -> str:
    """The one input of an operator that depends on the image."""
    varying = [name for name in node.inputs if name and name not in constants]
    if len(varying) != 1:
        raise _Unknown(f"{node.operator} of {len(varying)} values")
    return varying[0]


def _gemm(node: Node, gradient: Array, values: Values, data: str) -> Array:
    if node.inputs[0] != data or node.attributes.get("transA"):
        raise _Unknown("a transposed Gemm")
    weights = values[node.inputs[1]]
    weights = weights if node.attributes.get("transB") else weights.T
    return np.asarray(gradient @ weights * node.attributes.get("alpha", 1.0))


def _matmul(node: Node, gradient: Array, values: Values, data: str) -> Array:
    if node.inputs[0] != data:
        raise _Unknown("MatMul from the left")
    return np.asarray(gradient @ values[node.inputs[1]].T)


def _add(node: Node, gradient: Array, values: Values, data: str) -> Array:
    _require_same_shape(node, values, data)
    return -gradient if node.operator == "Sub" and node.inputs[1] == data else gradient


def _scale(node: Node, gradient: Array, values: Values, data: str) -> Array:
    _require_same_shape(node, values, data)
    if node.operator == "Mul":
        return np.asarray(gradient * values[next(name for name in node.inputs if name != data)])
    if node.inputs[0] != data:
        raise _Unknown("division by a value")
    return np.asarray(gradient / values[node.inputs[1]])


def _norm(node: Node, gradient: Array, values: Values, data: str) -> Array:
    scale, _, _, variance = (values[name] for name in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return np.asarray(gradient * factor.reshape(1, -1, *[1] * (values[data].ndim - 2)))


def _relu(node: Node, gradient: Array, values: Values, data: str) -> Array:
    return np.asarray(gradient * (values[data] > 0))


def _leaky(node: Node, gradient: Array, values: Values, data: str) -> Array:
    return np.asarray(gradient * np.where(values[data] > 0, 1.0, node.attributes.get("alpha", 0.01)))


def _clip(node: Node, gradient: Array, values: Values, data: str) -> Array:
    # Where it is clipped the answer does not depend on the value
    return np.asarray(gradient * (values[node.outputs[0]] == values[data]))


def _reshape(node: Node, gradient: Array, values: Values, data: str) -> Array:
    return gradient.reshape(values[data].shape)


def _mean(node: Node, gradient: Array, values: Values, data: str) -> Array:
    shape = values[data].shape
    axes = values[node.inputs[1]] if len(node.inputs) > 1 else node.attributes.get("axes", (2, 3))
    if len(shape) != 4 or sorted(int(axis) % 4 for axis in np.asarray(axes)) != [2, 3]:
        raise _Unknown("a mean over something else than places")
    return np.broadcast_to(gradient.reshape(*shape[:2], 1, 1) / (shape[2] * shape[3]), shape)


def _same(node: Node, gradient: Array, values: Values, data: str) -> Array:
    return gradient


def _require_same_shape(node: Node, values: Values, data: str) -> None:
    if values[node.outputs[0]].shape != values[data].shape:
        raise _Unknown(f"{node.operator} that changes the shape")


# From the gradient of an operator's output to that of its input.
BACKWARD: dict[str, Callable[[Node, Array, Values, str], Array]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Sub": _add,
    "Mul": _scale,
    "Div": _scale,
    "BatchNormalization": _norm,
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "ReduceMean": _mean,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "Dropout": _same,
    "Cast": _same,
}
