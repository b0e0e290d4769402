"""Embed on a GPU: the pretrained backbone's embeddings by torch instead of the exported nodes.

The same weights, folded as they are exported, in float32: no TF32 and no bfloat16, whose errors (1e-3 of a value) would
reach the probabilities. What is left are other orders of summation. So these embeddings are near those of the
exported file, not equal to the bit: they have a cache of their own, and the export check is what vouches for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from fieldmark.images.augment import Augmentation
from fieldmark.images.cache import RowStore, cache_folder
from fieldmark.images.read import Images, Progress
from fieldmark.networks import efficientnet_lite
from fieldmark.networks.deployed import Deployed
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.device import describe
from fieldmark.training.feed import StreamFeed

# Raised when the way to compute changes its result, so that no old embedding is used.
VERSION = "1"
BATCH = 256
# |difference| from the exported nodes' embedding, over the largest value of that embedding; tested on the CPU.
TOLERANCE = 1e-4


def embed_on_device(
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    on_progress: Progress = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """The embeddings float32 (n, d) of all images of a dataset, in its order, within TOLERANCE of the exported nodes'.

    Kept in the cache by content, device and version of torch.
    """
    network = Deployed(
        efficientnet_lite.folded(efficientnet_lite.pretrained((preprocessing.height, preprocessing.width))),
        preprocessing,
        head=False,
    )
    network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    with torch.no_grad(), exact_float32():
        width = int(network(torch.zeros((1, *preprocessing.shape), dtype=torch.uint8, device=device)).shape[1])
        store = _store(images, device, width)
        missing = np.array([r for r, key in enumerate(images.dataset.hashes) if store.find(key) is None], np.int64)
        batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        feed, done = StreamFeed(images, Augmentation(), 0, device), 0
        with store.writer() as writer:
            for rows, (pixels, _, _) in zip(batches, feed.plain(batches), strict=True):
                for row, embedding in zip(rows, network(pixels).cpu().numpy(), strict=True):
                    writer.add(images.dataset.hashes[row], embedding)
                done += len(rows)
                on_progress(done, len(missing))
    store.touch(images.dataset.hashes)
    return np.asarray(store.take(images.dataset.hashes), dtype=np.float32)


def _store(images: Images, device: torch.device, width: int) -> RowStore:
    name = describe(device).get("gpu", device.type).replace(" ", "-").replace("/", "-")
    folder = f"efficientnet-lite0-{VERSION}-{images.store.folder.name}-torch-{torch.__version__}-{name}"
    return RowStore(cache_folder() / "embeddings" / folder, np.dtype((np.float32, (width,))))


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Inside, neither products nor convolutions shorten float32 to TF32."""
    flags = torch.backends.cudnn
    before = flags.allow_tf32, torch.get_float32_matmul_precision(), flags.deterministic
    flags.allow_tf32, flags.deterministic = False, True
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        flags.allow_tf32, flags.deterministic = before[0], before[2]
        torch.set_float32_matmul_precision(before[1])
