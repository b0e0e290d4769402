"""EfficientNet-Lite0 as an ONNX graph, written node by node.

`torch.onnx.export` takes 3-14 s for it, a large part of a first training; these nodes take none. Zero padding is part
of each convolution here, not a node of its own. Whatever is exported is checked against the network on images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from torch import nn

from fieldmark.networks.efficientnet_lite import FEATURES, EfficientNetLite0, InvertedResidual
from fieldmark.preprocessing import Preprocessing

IR_VERSION = 10  # the newest that every ONNX Runtime we allow reads


class _Graph:
    """Nodes and weights in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer; returns its name."""
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output; returns the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def convolution(self, x: str, name: str, layers: nn.Module) -> str:
        """Padding, convolution and ReLU6, as `efficientnet_lite` lines them up, after folding."""
        parts: dict[str, Any] = dict(layers.named_children())
        convolution = parts["convolution"]
        down, across = convolution.padding
        left, right, top, bottom = parts["padding"].padding if "padding" in parts else (across, across, down, down)
        weight = self.constant(f"{name}.weight", convolution.weight.detach().numpy())
        bias = self.constant(f"{name}.bias", convolution.bias.detach().numpy())
        y = self.node(
            "Conv",
            [x, weight, bias],
            name,
            kernel_shape=list(convolution.kernel_size),
            strides=list(convolution.stride),
            pads=[top, left, bottom, right],
            group=convolution.groups,
        )
        return self.node("Clip", [y, "zero", "six"], f"{name}.relu6") if "relu6" in parts else y

    def block(self, x: str, name: str, block: InvertedResidual) -> str:
        """Expand, filter, project, and add the input where it fits."""
        wide = x if isinstance(block.expand, nn.Identity) else self.convolution(x, f"{name}.expand", block.expand)
        y = self.convolution(wide, f"{name}.depthwise", block.depthwise)
        y = self.convolution(y, f"{name}.project", block.project)
        return self.node("Add", [x, y], f"{name}.sum") if block.residual else y


def backbone_graph(
    network: EfficientNetLite0, preprocessing: Preprocessing, *, images: str, embedding: str, opset: int
) -> Any:
    """The onnx.ModelProto of a folded network without its head; `images` and `embedding` name input and output.

    It maps uint8 (batch, height, width, 3) to float32 (batch, 1280).
    """
    graph = _Graph()
    for name, value in (("mean", preprocessing.mean), ("deviation", preprocessing.deviation), ("zero", 0), ("six", 6)):
        graph.constant(name, np.array(value, np.float32))
    x = graph.node("Transpose", [images], "channels_first", perm=[0, 3, 1, 2])
    x = graph.node("Cast", [x], "floats", to=TensorProto.FLOAT)
    x = graph.node("Sub", [x, "mean"], "centred")
    x = graph.node("Div", [x, "deviation"], "scaled")
    x = graph.convolution(x, "stem", network.stem)
    for number, block in enumerate(network.blocks):
        x = graph.block(x, f"blocks.{number}", block)  # type: ignore[arg-type]
    x = graph.convolution(x, "last", network.last)
    x = graph.node("GlobalAveragePool", [x], "pooling")
    graph.node("Flatten", [x], embedding)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info(images, TensorProto.UINT8, ["batch", *preprocessing.shape])],
            [helper.make_tensor_value_info(embedding, TensorProto.FLOAT, ["batch", FEATURES])],
            graph.weights,
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    checker.check_model(model)
    return model
