"""Graph: a classifier's network opened up, so that every feature map between its layers can be seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark.classifier import Classifier
from fieldmark.errors import missing_extra
from fieldmark.networks.operators import ACTIVATIONS
from fieldmark.preprocessing import Pixels
from fieldmark.runtime import INPUT, open_session

Values = dict[str, npt.NDArray[Any]]

# The operators that make a new feature map, in words; an activation behind one belongs to it.
LAYERS = {
    "Conv": "convolution",
    "ConvTranspose": "transposed convolution",
    "MaxPool": "max pooling",
    "AveragePool": "average pooling",
    "BatchNormalization": "batch normalization",
    "Add": "sum",
    "Concat": "concatenation",
    "Resize": "resizing",
}


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator of the network."""

    operator: str  # as ONNX calls it, such as Conv
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One step of the way through the network that makes a feature map."""

    name: str  # of its weights, such as blocks.convolution1; empty for a layer without any
    kind: str  # in words
    tensor: str  # the value that holds its feature map


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network whose values can all be seen; owns an ONNX Runtime session."""

    session: Any
    nodes: tuple[Node, ...]
    constants: Values  # weights, and the numbers between the operators
    layers: tuple[Layer, ...]

    def run(self, pixels: Pixels) -> Values:
        """Every value of the network by name, for one image uint8 (height, width, 3)."""
        names = [output.name for output in self.session.get_outputs()]
        values: Values = dict(zip(names, self.session.run(None, {INPUT: pixels[None]}), strict=True))
        return self.constants | values

    def feature_maps(self, values: Values) -> list[tuple[Layer, npt.NDArray[np.float32]]]:
        """Each layer with its feature maps float32 (channels, height, width), in the order of the network."""
        return [(layer, values[layer.tensor][0]) for layer in self.layers if values[layer.tensor].ndim == 4]


def open_graph(classifier: Classifier, *, threads: int | None = None) -> Graph:
    """Open a classifier's file once more with every value as an output. No torch is needed.

    Costs about 50 MB for one image of 224 × 224 pixels in EfficientNet-Lite0. Raises MissingExtraError without onnx,
    ModelFileError where the file is not the one that was loaded any more.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise missing_extra("explaining", error) from error
    model = onnx.load_model_from_string(classifier.read_file())
    nodes = tuple(
        Node(
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
        )
        for node in model.graph.node
    )
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known = {output.name for output in model.graph.output}
    for node in nodes:
        for name in node.outputs:
            if name and name not in known:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = open_session(model.SerializeToString(), threads=threads)
    return Graph(session, nodes, constants, _layers(nodes, constants))


def _layers(nodes: tuple[Node, ...], constants: Values) -> tuple[Layer, ...]:
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    layers = []
    for node in nodes:
        if node.operator not in LAYERS:
            continue
        kind, tensor = LAYERS[node.operator], node.outputs[0]
        following = users.get(tensor, [])
        if len(following) == 1 and following[0].operator in ACTIVATIONS:
            kind, tensor = f"{kind}, {ACTIVATIONS[following[0].operator]}", following[0].outputs[0]
        layers.append(Layer(_name(node, constants), kind, tensor))
    return tuple(layers)


def _name(node: Node, constants: Values) -> str:
    weights = [name for name in node.inputs[1:] if name in constants and name.endswith(".weight")]
    return weights[0].removeprefix("network.").removesuffix(".weight") if weights else ""
