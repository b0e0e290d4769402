"""Embed: what a frozen backbone sees in every image, computed once and kept in the cache.

The backbone runs as an ONNX graph on ONNX Runtime, the same nodes that end up in `model.onnx`: converted from the
pretrained weights once, then neither this nor any later training of a head imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldmark import export, storage
from fieldmark.classifier import Classifier
from fieldmark.errors import missing_extra
from fieldmark.images.cache import RowStore, cache_folder
from fieldmark.images.read import Images, Progress
from fieldmark.preprocessing import Preprocessing
from fieldmark.runtime import BATCH, EMBEDDING, INPUT, open_session, run_batches

# Raised when the conversion changes its result, so that no old graph is used.
CONVERSION = "2"
# Numbers in an embedding of EfficientNet-Lite0; to ask the graph would need onnx, which a base install lacks.
FEATURES = 1280


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A converted backbone: uint8 (batch, height, width, 3) to embedding float32 (batch, d)."""

    path: Path
    sha256: str

    def load(self) -> Any:
        """Return its graph as an onnx.ModelProto. Raises MissingExtraError without onnx."""
        try:
            import onnx
        except ImportError as error:
            raise missing_extra("building on the pretrained backbone", error) from error
        return onnx.load(self.path)


def find_backbone(preprocessing: Preprocessing) -> Backbone:
    """The EfficientNet-Lite0 graph for this image size, converted now if the cache has none.

    Raises MissingExtraError if it has to be converted and torch is not installed.
    """
    name = f"efficientnet-lite0-{_key(preprocessing)}-{CONVERSION}"
    path = cache_folder() / "backbones" / f"{name}.onnx"
    seal = path.with_suffix(".sha256")
    # As bytes: a damaged seal need not be text.
    if not (seal.is_file() and path.is_file() and _sha256(path).encode() == seal.read_bytes()):
        _convert(preprocessing, path)
        storage.write_text(seal, _sha256(path))
    return Backbone(path, seal.read_text())


def embed(
    images: Images, backbone: Backbone, *, threads: int | None = None, on_progress: Progress | None = None
) -> npt.NDArray[np.float32]:
    """The embeddings float32 (n, d) of all images of a dataset, in its order."""
    store = _store(backbone, images)
    hashes = images.dataset.hashes
    missing = [row for row, hash_ in enumerate(hashes) if store.find(hash_) is None]
    if missing:
        _compute(images, missing, backbone, store, threads=threads, on_progress=on_progress)
    store.touch(hashes)
    return np.asarray(store.take(hashes), dtype=np.float32)


def own_embeddings(classifier: Classifier, images: Images) -> npt.NDArray[np.float32] | None:
    """What a classifier's own last layer sees in all images of a dataset, (n, d); None where its file does not tell."""
    if EMBEDDING not in {output.name for output in classifier.session.get_outputs()}:
        return None
    rows = range(len(images.dataset))
    batches = [list(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    parts = run_batches(classifier.session, [EMBEDDING], batches, prepare=images.pixels, workers=classifier.threads)
    return np.concatenate([part for (part,) in parts])


def _compute(
    images: Images,
    rows: Sequence[int],
    backbone: Backbone,
    store: RowStore,
    *,
    threads: int | None,
    on_progress: Progress | None,
) -> None:
    # Each thread reads the pixels of a batch and runs it on its own: none waits for another inside a layer.
    session = open_session(backbone.path, threads=1)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    results = run_batches(session, [EMBEDDING], batches, prepare=images.pixels, workers=threads)
    done = 0
    with store.writer() as writer:
        for batch, (embeddings,) in zip(batches, results, strict=True):
            for row, embedding in zip(batch, embeddings, strict=True):
                writer.add(images.dataset.hashes[row], embedding)
            done += len(batch)
            if on_progress:
                on_progress(done, len(rows))


def _store(backbone: Backbone, images: Images) -> RowStore:
    # The pixels' folder names everything that shaped them; a new ONNX Runtime may change the last bits.
    version = importlib.metadata.version("onnxruntime")
    name = f"{backbone.sha256[:16]}-{images.store.folder.name}-{version}"
    return RowStore(cache_folder() / "embeddings" / name, np.dtype((np.float32, (FEATURES,))))


def _convert(preprocessing: Preprocessing, path: Path) -> None:
    try:
        from fieldmark.networks import efficientnet_lite
        from fieldmark.networks.efficientnet_lite_graph import backbone_graph
    except ImportError as error:
        raise missing_extra("converting the pretrained backbone (once)", error) from error
    network = efficientnet_lite.folded(efficientnet_lite.pretrained((preprocessing.height, preprocessing.width)))
    graph = backbone_graph(network, preprocessing, images=INPUT, embedding=EMBEDDING, opset=export.OPSET)
    storage.write_bytes(path, graph.SerializeToString(deterministic=True))


def _key(preprocessing: Preprocessing) -> str:
    # All that is written into the graph: its input's size and the scaling of pixels.
    scaling = f"{preprocessing.mean:g}-{preprocessing.deviation:g}"
    return f"{preprocessing.width}x{preprocessing.height}-{scaling}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
