"""Keras's side of reading.py: `keras.utils.image_dataset_from_directory`, one pass a line of stdin.

    KERAS_PYTHON benchmarks/keras_reading.py      # a line is {"folder": ..., "image_size": ...}

Each line is a new dataset (listing included), iterated once; the answer is its seconds and images.
"""

from __future__ import annotations

import json
import os
import sys
import time

BATCH = 32  # Keras's default


def main() -> None:
    """Answer until stdin ends."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Libraries print too; only the answers may reach the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import keras
    import tensorflow

    print(json.dumps({"keras": keras.__version__, "tensorflow": tensorflow.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        size, images = asked["image_size"], 0
        start = time.perf_counter()
        dataset = keras.utils.image_dataset_from_directory(
            asked["folder"], image_size=(size, size), batch_size=BATCH, shuffle=False, verbose=False
        )
        for batch, _ in dataset:
            images += len(batch)
        print(json.dumps({"seconds": time.perf_counter() - start, "images": images}), file=answers, flush=True)


if __name__ == "__main__":
    main()
