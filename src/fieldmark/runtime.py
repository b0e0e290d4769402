"""Runtime: ONNX Runtime, opened in one place, without its telemetry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def open_session(model: bytes | Path, *, threads: int | None = None) -> Any:
    """An onnxruntime.InferenceSession on the CPU; `threads` None: one for each core.

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
