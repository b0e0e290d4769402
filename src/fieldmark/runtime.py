"""Runtime: ONNX Runtime, opened in one place, without its telemetry; and run on many batches at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fieldmark.images.threads import ordered_map
from fieldmark.preprocessing import Pixels

Batch = TypeVar("Batch")

# What the graph of a classifier is given and answers, by name; programs in other languages rely on them, too.
INPUT, PROBABILITIES, EMBEDDING = "images", "probabilities", "embedding"
FAMILIARITY, SIMILARITY = "familiarity", "similarity"
# Images a call: their activations stay in a core's own cache (16 take a fifth longer an image), and the weights
# of a large dense layer are still read for several images at a time.
BATCH = 4


def open_session(model: bytes | Path, *, threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU; `threads` of one call to it, None: one for each core.

    One thread a call and several calls at once (`run_batches`) is faster than several threads a call, which wait for
    each other after every layer; and it opens in a third of the time.
    Raises whatever ONNX Runtime raises for a file that it cannot load; its exceptions share no base class.
    """
    # The official builds report to their maker from their first import on, unless this is set before it: they leave
    # an identity in the home folder and may connect. Nothing in Fieldmark asks the network.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings would end up between a program's own lines
    options.intra_op_num_threads = threads or 0
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_batches(
    session: Any,
    outputs: Sequence[str],
    batches: Iterable[Batch],
    *,
    prepare: Callable[[Batch], Pixels],
    workers: int | None = None,
) -> Iterator[list[npt.NDArray[np.float32]]]:
    """Yield the named outputs of a session for each batch, float32 (images, ...) each, in the order of the batches.

    `prepare` makes the pixels uint8 (images, height, width, channels) of a batch, in the same threads: what it reads
    or decodes overlaps with what others compute. `workers` threads (None: one for each core) share the session, whose
    `run` any number of threads may call; open it with `threads=1`. Memory is bounded: that of one batch a worker.
    """

    def run(batch: Batch) -> list[npt.NDArray[np.float32]]:
        return list(session.run(list(outputs), {INPUT: np.ascontiguousarray(prepare(batch))}))

    return ordered_map(run, batches, workers=workers)
