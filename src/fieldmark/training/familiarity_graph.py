"""Familiarity graph: the nodes by which a classifier file tells how familiar an image is (`fieldmark.evaluation`).

A file with familiarity answers `familiarity` float32 (batch,), 0 to 1, and `similarity` float32 (batch, classes), which
it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldmark.errors import missing_extra
from fieldmark.evaluation.familiarity import NEIGHBOURS, Bank, Familiarity, Table
from fieldmark.evaluation.mahalanobis import Mahalanobis
from fieldmark.networks.operators import ACTIVATIONS
from fieldmark.runtime import EMBEDDING, FAMILIARITY, SIMILARITY

if TYPE_CHECKING:
    import onnx

CHANNELS = "channels"
# The first layers tell what kind of picture it is; later ones were taught to overlook that.
LAYERS = 3
# Statistics; no layer after the first is looked at that would make them more. A file holds a square of them.
MOST_STATISTICS = 512
# What may stand between a convolution and its activation.
BETWEEN = ("BatchNormalization", "Add", "MaxPool", "AveragePool")
REGISTER = 16  # 32-bit floats in the widest vector register, of 512 bits

Node = tuple[str, list[str], list[str], dict[str, Any]]


def with_channels(model: onnx.ModelProto) -> bool:
    """Add the value `channels` float32 (batch, d) as an output; False where the network has no convolution to look at.

    Of each of the first layers: means and deviations over positions of its channels, together of length 1, so that
    neither an image's contrast nor how much of it is plain changes them much.
    """
    tensors = _first_layers(model)
    if not tensors:
        return False
    nodes: list[Node] = []
    for number, tensor in enumerate(tensors):
        mean, deviation, both = f"channels.mean.{number}", f"channels.deviation.{number}", f"channels.both.{number}"
        squares, power, variance = f"channels.squares.{number}", f"channels.power.{number}", f"channels.var.{number}"
        length = f"channels.length.{number}"
        nodes += [
            ("ReduceMean", [tensor, "channels.positions"], [mean], {"keepdims": 0}),
            ("Mul", [tensor, tensor], [squares], {}),
            ("ReduceMean", [squares, "channels.positions"], [power], {"keepdims": 0}),
            ("Mul", [mean, mean], [f"{mean}.squared"], {}),
            ("Sub", [power, f"{mean}.squared"], [f"{variance}.rough"], {}),
            ("Max", [f"{variance}.rough", "channels.zero"], [variance], {}),
            ("Sqrt", [variance], [deviation], {}),
            ("Concat", [mean, deviation], [both], {"axis": 1}),
            ("ReduceL2", [both, "channels.axis"], [f"{length}.rough"], {"keepdims": 1}),
            ("Max", [f"{length}.rough", "channels.shortest"], [length], {}),
            ("Div", [both, length], [f"channels.of.{number}"], {}),
        ]
    nodes.append(("Concat", [f"channels.of.{number}" for number in range(len(tensors))], [CHANNELS], {"axis": 1}))
    constants: dict[str, npt.NDArray[Any]] = {
        "channels.positions": np.array([2, 3], np.int64),
        "channels.axis": np.array([1], np.int64),
        "channels.zero": np.array(0, np.float32),
        "channels.shortest": np.array(1e-12, np.float32),
    }
    _add(model, nodes, constants, {CHANNELS: ["batch", None]})
    return True


def without_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Answer `channels` no longer; what needs the value inside still has it."""
    kept = [output for output in model.graph.output if output.name != CHANNELS]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def with_familiarity(model: onnx.ModelProto, familiarity: Familiarity) -> onnx.ModelProto:
    """Add the outputs `familiarity` and `similarity`, and what they are computed from; `channels` is one no longer.

    The bank is kept in 16 bits; ONNX Runtime widens it once, when it loads the file.
    """
    classes = len(familiarity.bank.counts) if familiarity.bank else 0
    if familiarity.channels:
        without_channels(model)
        _add_mahalanobis(model, familiarity.channels)
        classes = len(familiarity.channels.centres)
    if familiarity.bank:
        _add_bank(model, familiarity.bank, "bank.similarity" if familiarity.channels else SIMILARITY)
    _add_table(model, familiarity.table, classes)
    return model


def _add_mahalanobis(model: onnx.ModelProto, fitted: Mahalanobis) -> None:
    nodes: list[Node] = [
        ("Sub", [CHANNELS, "channels.average"], ["channels.centred"], {}),
        ("MatMul", ["channels.centred", "channels.weights"], ["channels.place"], {}),
        ("Unsqueeze", ["channels.place", "channels.axis"], ["channels.places"], {}),
        ("Sub", ["channels.places", "channels.centres"], ["channels.away"], {}),
        ("ReduceL2", ["channels.away", "channels.last"], ["channels.distance.rough"], {"keepdims": 0}),
        ("Max", ["channels.distance.rough", "channels.one"], ["channels.distance"], {}),
        # Not the logarithm, whose last bit depends on where in a batch an image stands.
        ("Reciprocal", ["channels.distance"], [SIMILARITY], {}),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "channels.average": fitted.mean,
        "channels.weights": fitted.weights,
        "channels.centres": fitted.centres[None],
        "channels.last": np.array([2], np.int64),
        "channels.one": np.array(1, np.float32),
    }
    _add(model, nodes, constants, {})


def _add_bank(model: onnx.ModelProto, bank: Bank, similarity: str) -> None:
    import onnx

    nodes: list[Node] = [
        ("ReduceL2", [EMBEDDING, "bank.axis"], ["bank.length"], {"keepdims": 1}),
        ("Max", ["bank.length", "bank.shortest"], ["bank.divisor"], {}),
        ("Div", [EMBEDDING, "bank.divisor"], ["bank.unit"], {}),
        ("Cast", ["bank.rows"], ["bank.wide"], {"to": onnx.TensorProto.FLOAT}),
        ("Gemm", ["bank.unit", "bank.wide"], ["bank.cosines"], {"transB": 1}),
        ("Split", ["bank.cosines", "bank.counts"], [f"bank.of.{n}" for n in range(len(bank.counts))], {"axis": 1}),
    ]
    kept = []
    for number, count in enumerate(bank.counts):
        nearest, kth = f"bank.nearest.{number}", f"bank.similarity.{number}"
        if not count:  # a class without images is as far as can be
            nodes.append(("Mul", ["bank.length", "bank.zero"], [nearest], {}))
            nodes.append(("Sub", [nearest, "bank.one"], [kth], {}))
            kept.append(kth)
            continue
        neighbours = "bank.k" if count >= NEIGHBOURS else f"bank.k.{count}"
        nodes.append(("TopK", [f"bank.of.{number}", neighbours], [nearest, f"bank.rows.{number}"], {"axis": 1}))
        nodes.append(("ReduceMin", [nearest, "bank.axis"], [kth], {"keepdims": 1}))
        kept.append(kth)
    nodes.append(("Concat", kept, [similarity], {"axis": 1}))
    constants: dict[str, npt.NDArray[Any]] = {
        "bank.rows": bank.rows,
        "bank.counts": np.asarray(bank.counts, np.int64),
        "bank.axis": np.array([1], np.int64),
        "bank.k": np.array([NEIGHBOURS], np.int64),
        "bank.shortest": np.array(1e-12, np.float32),
        "bank.zero": np.array(0, np.float32),
        "bank.one": np.array(1, np.float32),
    }
    for count in sorted({count for count in bank.counts if 0 < count < NEIGHBOURS}):
        constants[f"bank.k.{count}"] = np.array([count], np.int64)
    _add(model, nodes, constants, {})


def _add_table(model: onnx.ModelProto, table: Table, classes: int) -> None:
    # A line from point to point: of each stretch, how much of it lies below, times its rise.
    nodes: list[Node] = [
        ("ReduceMax", [SIMILARITY, "table.axis"], ["table.nearest"], {"keepdims": 1}),
        ("Sub", ["table.nearest", "table.starts"], ["table.beyond"], {}),
        ("Mul", ["table.beyond", "table.steepness"], ["table.parts"], {}),
        ("Clip", ["table.parts", "table.zero", "table.one"], ["table.passed"], {}),
        ("Mul", ["table.passed", "table.rises"], ["table.risen"], {}),
        ("ReduceSum", ["table.risen", "table.axis"], [FAMILIARITY], {"keepdims": 0}),
    ]
    points, levels = np.asarray(table.similarities), np.asarray(table.levels)
    # Stretches without a rise: with rows of whole vector registers, ONNX Runtime adds up every row of a batch in the
    # same order, so that no answer depends on the neighbours by its last bit.
    stretches = np.diff(points)
    rest = (0, -len(stretches) % REGISTER)
    constants: dict[str, npt.NDArray[Any]] = {
        "table.axis": np.array([1], np.int64),
        "table.zero": np.array(0, np.float32),
        "table.one": np.array(1, np.float32),
        "table.starts": np.pad(points[:-1], rest).astype(np.float32),
        "table.steepness": np.pad(1 / stretches, rest).astype(np.float32),
        "table.rises": np.pad(np.diff(levels), rest).astype(np.float32),
    }
    _add(model, nodes, constants, {FAMILIARITY: ["batch"], SIMILARITY: ["batch", classes]})


def _add(
    model: onnx.ModelProto,
    nodes: list[Node],
    constants: dict[str, npt.NDArray[Any]],
    outputs: dict[str, list[Any]],
) -> None:
    """Put nodes, constants and outputs float32 into the graph."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise missing_extra("exporting", error) from error
    model.graph.node.extend([onnx.helper.make_node(kind, x, y, **more) for kind, x, y, more in nodes])
    model.graph.initializer.extend([onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
    for name, shape in outputs.items():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))


def _first_layers(model: onnx.ModelProto) -> list[str]:
    """The feature maps of the first layers of convolutions, after their activation if one follows."""
    shapes = _map_shapes(model)
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: list[str] = []
    statistics = 0
    for node in model.graph.node:
        if node.op_type != "Conv" or node.output[0] not in shapes:
            continue
        tensor = _activated(node.output[0], users)
        channels = 2 * shapes.get(tensor, MOST_STATISTICS)
        if tensor in shapes and tensor not in found and (not found or statistics + channels <= MOST_STATISTICS):
            found.append(tensor)
            statistics += channels
        if len(found) == LAYERS:
            break
    return found


def _map_shapes(model: onnx.ModelProto) -> dict[str, int]:
    """Channels of every value (batch, channels, height, width) with one row an image and more than one position."""
    import onnx.shape_inference

    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    found = {}
    for value in onnx.shape_inference.infer_shapes(model).graph.value_info:
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) == 4 and sizes[0].dim_param == batch and sizes[2].dim_value * sizes[3].dim_value > 1:
            found[value.name] = sizes[1].dim_value
    return found


def _activated(tensor: str, users: dict[str, list[onnx.NodeProto]]) -> str:
    """The value that a convolution's is activated to; its own where something else comes first."""
    at = tensor
    while True:
        following = users.get(at, [])
        activation = next((node for node in following if node.op_type in ACTIVATIONS), None)
        if activation is not None:
            activated = str(activation.output[0])
            # x times sigmoid(x) is one activation (SiLU) in two operators.
            product = next((node for node in following if node.op_type == "Mul" and activated in node.input), None)
            return activated if product is None else str(product.output[0])
        between = next((node for node in following if node.op_type in BETWEEN), None)
        if between is None:
            return tensor
        at = str(between.output[0])
