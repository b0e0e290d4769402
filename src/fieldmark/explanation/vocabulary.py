"""Vocabulary: the thousand ImageNet classes that the pretrained backbone was trained to name, as words for images.

The backbone's own last layer is linear on the embedding, so that applying it to an embedding is exact. Its numbers
come out of the same wheel as the backbone's and stay in the cache as plain 32-bit floats.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np

from fieldmark import storage
from fieldmark.evaluation.kinds import Vocabulary
from fieldmark.images.cache import cache_folder, checksum

CLASSES, FEATURES = 1000, 1280
# Raised when what is stored changes, so that no old file is used.
VERSION = "2"


def imagenet_vocabulary() -> Vocabulary | None:
    """The layer of EfficientNet-Lite0 for embeddings (n, 1280); None where it has to be read and torch is missing.

    The names are the usual short English ones of the ILSVRC 2012 classes (Russakovsky et al. 2015, arXiv:1409.0575), in
    the order of its labels, which is the order of these weights.
    """
    path = cache_folder() / "backbones" / f"efficientnet-lite0-imagenet-layer-{VERSION}.f32"
    content = _kept(path)
    if content is None:
        try:
            from fieldmark.networks import efficientnet_lite
        except ImportError:
            return None
        head = efficientnet_lite.pretrained().head
        weights, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
        content = np.concatenate([weights, bias[:, None]], axis=1).astype("<f4").tobytes()
        storage.write_bytes(path, content + _seal(content))
    table = np.frombuffer(content, dtype="<f4").reshape(CLASSES, FEATURES + 1)
    return Vocabulary(class_names(), table[:, :-1], table[:, -1])


def _kept(path: Path) -> bytes | None:
    """The numbers in a file of the cache; None where there is none, or one that is not as it was written."""
    if not path.is_file() or path.stat().st_size != 4 * CLASSES * (FEATURES + 1) + 4:
        return None
    content = path.read_bytes()
    return content[:-4] if content[-4:] == _seal(content[:-4]) else None


def _seal(content: bytes) -> bytes:
    return checksum(content).to_bytes(4, "little")


def class_names() -> tuple[str, ...]:
    """The names of the thousand classes, in the order of their labels.

    >>> names = class_names()
    >>> len(names), names[339], names[578]
    (1000, 'sorrel', 'gown')
    """
    text = importlib.resources.files("fieldmark.networks").joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())
