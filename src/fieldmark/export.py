"""Export: a network, or a backbone and a head, becomes `model.onnx`: the one file that is deployed and measured.

The graph takes uint8 (batch, height, width, 3) RGB, scales inside, and answers `probabilities` float32
(batch, classes) and, where the network has features, `embedding` float32 (batch, d); where familiarity can be told,
also what `fieldmark.training.familiarity_graph` adds. Class names, preprocessing and provenance travel in its
metadata, with a SHA-256 of the weights and one of the whole file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fieldmark import storage
from fieldmark.errors import ExportError, missing_extra
from fieldmark.preprocessing import Preprocessing
from fieldmark.runtime import EMBEDDING, FAMILIARITY, INPUT, PROBABILITIES, open_session

if TYPE_CHECKING:  # both cost a second to import, and the pretrained path needs no torch here
    import onnx
    from torch import nn

OPSET = 20
METADATA = "fieldmark"
SEAL = "fieldmark_sha256"
UNSEALED = "0" * 64
# Embeddings given to a head at a time.
ROWS = 1024
# The largest difference between a probability of the network and of the exported file that is still the same answer.
TOLERANCE = 1e-4


def network_graph(network: nn.Module, preprocessing: Preprocessing, *, temperature: float = 1.0) -> onnx.ModelProto:
    """The graph of a whole network: uint8 images to probabilities, and to the embedding where it has features.

    Logits are divided by the temperature.
    """
    from fieldmark.networks.deployed import Deployed

    names = [PROBABILITIES, EMBEDDING] if Deployed.has_features(network) else [PROBABILITIES]
    return _trace(Deployed(network, preprocessing, temperature=temperature), preprocessing, names)


def with_head(
    backbone: onnx.ModelProto, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> onnx.ModelProto:
    """Put a linear head on a backbone's embedding: weights (outputs, d), bias (outputs,).

    One output becomes a sigmoid whose probabilities are those of (class 0, class 1); more become a softmax.
    """
    onnx = _onnx()
    graph = backbone.graph
    graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(weights, "head.weight"),
            onnx.numpy_helper.from_array(bias, "head.bias"),
        ]
    )
    make = onnx.helper.make_node
    graph.node.append(make("Gemm", [EMBEDDING, "head.weight", "head.bias"], ["logits"], transB=1))
    if len(bias) == 1:
        one = onnx.numpy_helper.from_array(np.ones((), np.float32), "one")
        graph.initializer.append(one)
        graph.node.append(make("Sigmoid", ["logits"], ["positive"]))
        graph.node.append(make("Sub", ["one", "positive"], ["negative"]))
        graph.node.append(make("Concat", ["negative", "positive"], [PROBABILITIES], axis=1))
    else:
        graph.node.append(make("Softmax", ["logits"], [PROBABILITIES], axis=1))
    shape = ["batch", max(2, len(bias))]
    output = onnx.helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, shape)
    graph.output.insert(0, output)
    return backbone


def write_model(model: onnx.ModelProto, path: Path, metadata: dict[str, Any]) -> str:
    """Write the graph with its metadata and seal; return the SHA-256 of the weights. Raises OutputError."""
    weights = weights_sha256(model)
    for name in list(model.metadata_props):
        model.metadata_props.remove(name)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps({**metadata, "weights_sha256": weights}, sort_keys=True)
    entry = model.metadata_props.add()
    entry.key, entry.value = SEAL, UNSEALED
    content = model.SerializeToString(deterministic=True)
    # The seal is the hash of the file in which the seal reads as zeros, so that it covers every other byte.
    seal = hashlib.sha256(content).hexdigest()
    storage.write_bytes(path, content.replace(UNSEALED.encode(), seal.encode(), 1))
    return weights


def weights_sha256(model: onnx.ModelProto) -> str:
    """SHA-256 over names and values of all weights, in the order of their names."""
    onnx = _onnx()
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: str(tensor.name)):
        values = onnx.numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name}\0{values.dtype}\0{values.shape}\0".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def head_answers(
    path: Path, embeddings: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """What the file makes of embeddings (n, d): probabilities float32 (n, classes), and familiarity (n,) or None."""
    onnx = _onnx()
    model = onnx.load(path)
    known = any(output.name == FAMILIARITY for output in model.graph.output)
    names = [PROBABILITIES, FAMILIARITY] if known else [PROBABILITIES]
    session = open_session(onnx.utils.Extractor(model).extract_model([EMBEDDING], names).SerializeToString())
    # In parts: cosines to the whole bank would take 16 kB an image.
    parts = [
        session.run(names, {EMBEDDING: embeddings[start : start + ROWS]}) for start in range(0, len(embeddings), ROWS)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], columns[1] if known else None


def check(network: npt.NDArray[np.float32], exported: npt.NDArray[np.float32]) -> None:
    """Raise ExportError unless both probabilities (n, classes) of the same images are the same answers."""
    difference = float(np.abs(network - exported).max(initial=0.0))
    # Two classes within the tolerance of each other may change places; nothing else may.
    first, second = np.sort(network, axis=1)[:, -1], np.sort(network, axis=1)[:, -2]
    flipped = (network.argmax(axis=1) != exported.argmax(axis=1)) & (first - second > 2 * TOLERANCE)
    if not difference <= TOLERANCE or flipped.any():
        raise ExportError(
            f"the exported file answers differently from the network: by up to {difference:.2g} in probability, "
            f"{int(flipped.sum())} of {len(network)} images with another class; expected at most {TOLERANCE:g}",
            hint="the classifier was not written; a layer of the network may behave differently in ONNX",
        )


def _trace(module: nn.Module, preprocessing: Preprocessing, names: list[str]) -> onnx.ModelProto:
    import torch

    _onnx()
    try:
        import onnxscript  # noqa: F401  torch needs it; half a second, which the pretrained path does not pay
    except ImportError as error:
        raise missing_extra("exporting", error) from error
    example = torch.zeros(2, preprocessing.height, preprocessing.width, 3, dtype=torch.uint8)
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        # The exporter remarks on torchvision being absent and on its own deprecated helpers.
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=[INPUT],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    finally:
        log.setLevel(level)
    if program is None:
        raise ExportError("torch.onnx.export returned no program")
    return _plain(program.model_proto)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes (stack traces with paths of this machine among them)."""
    for part in (
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    return model


def _onnx() -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
        import onnx.utils
    except ImportError as error:
        raise missing_extra("exporting", error) from error
    return onnx
