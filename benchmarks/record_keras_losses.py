"""Record how Keras's loss goes, for `tests/networks/test_course_follows_keras.py`; run in Keras's own environment.

    python benchmarks/record_keras_losses.py [--data DIR/horses-or-humans/train]

writes tests/golden/keras_course_losses.json: for each case, the loss before each of 20 steps of the course's network
from the weights and batches of `keras_course.py`; `keras_against_itself` is how much they differ, relative, when XLA
compiles the same steps. Cases of a folder are recorded with --data only, and kept as they are without it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import keras_course
from keras_course import CHANNELS, Images

STEPS = 20
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "keras_course_losses.json"


class Case(NamedTuple):
    """One training to record; every field goes into the file."""

    image_size: int  # pixels
    channels: tuple[int, ...]
    batch_size: int
    floats: str  # of weights and pixels, float32 or float64
    noise: int | None  # of generated images; None: a folder
    seed: int = 1


# With noise or photographs this training is chaotic in float32: Keras leaves itself (XLA on or off) by more than 1e-3
# within ten steps, as any two orders of summation do. So there are two kinds of case: images on which Keras does
# follow itself, in float32; and the others in float64 as well, whose rounding does not grow to anything in 20 steps,
# so that a difference would be one of mathematics.
CASES = {
    "blobs": Case(300, CHANNELS, 8, "float32", noise=0),
    "noisy blobs": Case(126, CHANNELS, 8, "float64", noise=100),
    "horses-or-humans": Case(300, CHANNELS, 128, "float32", noise=None),
    "horses-or-humans, float64": Case(300, CHANNELS, 128, "float64", noise=None),
}


def losses(case: Case, images: Images, *, xla: bool) -> list[float]:
    """Keras's loss before each step."""
    import keras

    keras.config.set_floatx(case.floats)
    # Layers ask the policy instead, which keeps what the first model found.
    keras.config.set_dtype_policy(case.floats)
    weights = keras_course.course_weights(case.seed, case.image_size, case.channels)
    model = keras_course.build_keras(case.image_size, weights, case.channels, inputs=case.floats, xla=xla)
    train_once = keras_course.keras_training(model)
    stream = keras_course.batches(images, case.batch_size, case.seed)
    found = []
    for _ in range(STEPS):
        batch = next(stream)
        # Divided in float32, as Fieldmark does it, so that both sides see the same bits.
        scaled = (batch.pixels.astype(np.float32) / np.float32(255)).astype(case.floats)
        found.append(train_once(batch._replace(pixels=scaled)))
    return found


def record(case: Case, images: Images) -> dict[str, Any]:
    """The case with its losses and, in float32, how well Keras repeats them."""
    fields = {**case._asdict(), "losses": losses(case, images, xla=False)}
    if case.floats == "float32":
        again = losses(case, images, xla=True)
        fields["keras_against_itself"] = [abs(b - a) / a for a, b in zip(fields["losses"], again, strict=True)]
    return fields


def main() -> None:
    """Record all cases that can be."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    options = keras_course.parser(__doc__)
    arguments = options.parse_args()
    import keras
    import tensorflow

    recorded = json.loads(GOLDEN.read_text())["cases"] if GOLDEN.exists() else {}
    for name, case in CASES.items():
        if case.noise is not None:
            images = keras_course.blobs(case.seed, STEPS * case.batch_size, case.image_size, noise=case.noise)
        elif arguments.data:
            images = keras_course.folder_images(arguments.data, case.image_size)
        else:
            continue
        recorded[name] = record(case, images)
        print(name, recorded[name], flush=True)
    versions = {"keras": keras.__version__, "tensorflow": tensorflow.__version__}
    GOLDEN.write_text(json.dumps({"versions": versions, "cases": recorded}, indent=2) + "\n")


if __name__ == "__main__":
    main()
