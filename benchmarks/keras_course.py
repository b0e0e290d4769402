"""The course's network in Keras: the other side of `course_against_keras.py`, run in Keras's own environment.

    python benchmarks/keras_course.py [--data DIR]

answers each line of stdin, a number of training steps, with one line of JSON. Weights, images and their order are made
here by NumPy alone, so that both sides, the recorder and the tests start from the same bits; Keras is imported only
where it is used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CHANNELS = (16, 32, 64, 64, 64)
DENSE_UNITS = 512
LEARNING_RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7
GENERATED = 512  # images of a benchmark without --data

Weights = list[npt.NDArray[np.float32]]
TrainOnce = Callable[["Images"], float]


class Images(NamedTuple):
    """uint8 pixels (n, size, size, 3) and targets (n,), 0 or 1."""

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int32]


def course_weights(seed: int, image_size: int, channels: tuple[int, ...] = CHANNELS) -> Weights:
    """Glorot-uniform kernels and zero biases, float32, in Keras's order and layout.

    A kernel (3, 3, in, out) and a bias for each convolution, then (rows·columns·channels, 512) and (512, 1), each
    followed by its bias. The rows of the first dense kernel run over (row, column, channel), channels fastest.
    """
    generator = np.random.default_rng(seed)
    side, inputs, shapes = image_size, 3, []
    for outputs in channels:
        shapes.append((3, 3, inputs, outputs))
        side, inputs = (side - 2) // 2, outputs
    shapes += [(side * side * inputs, DENSE_UNITS), (DENSE_UNITS, 1)]
    weights = []
    for shape in shapes:
        fans = int(np.prod(shape[:-2])) * (shape[-2] + shape[-1])
        limit = np.sqrt(6.0 / fans)
        weights += [generator.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[-1], np.float32)]
    return weights


def torch_layout(weights: Weights) -> Weights:
    """The same weights in the order and layout of `fieldmark.networks.course.Course.parameters()`."""
    arranged, channels = [], 0
    for weight in weights:
        if weight.ndim == 4:  # (row, column, in, out) to (out, in, row, column)
            weight, channels = weight.transpose(3, 2, 0, 1), weight.shape[-1]
        elif weight.ndim == 2 and channels:  # flattened as (row, column, channel), in torch as (channel, row, column)
            side = round((len(weight) / channels) ** 0.5)
            weight = weight.reshape(side, side, channels, -1).transpose(3, 2, 0, 1).reshape(weight.shape[1], -1)
            channels = 0
        elif weight.ndim == 2:
            weight = weight.T
        arranged.append(np.ascontiguousarray(weight))
    return arranged


def blobs(seed: int, count: int, image_size: int, *, noise: int) -> Images:
    """One soft bright blob on black in the left half (target 0) or the right half (1), and noise from 0 to `noise`."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, count).astype(np.int32)
    axis = np.arange(image_size) / image_size
    pixels = np.empty((count, image_size, image_size, 3), np.uint8)
    for image, target in zip(pixels, targets, strict=True):
        x, y = generator.uniform(0.15, 0.35) + 0.5 * target, generator.uniform(0.2, 0.8)
        blob = np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / 0.01)
        color = generator.uniform(0.4, 1.0, 3) * (255 - noise)
        image[:] = generator.integers(0, noise + 1, image.shape) + blob[:, :, None] * color
    return Images(pixels, targets)


def folder_images(folder: Path, image_size: int) -> Images:
    """The images below two class folders, by class and then by file name; resized where they are not of the size."""
    from PIL import Image

    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    paths = [(path, label) for label, entry in enumerate(classes) for path in sorted(entry.iterdir())]
    pixels = np.empty((len(paths), image_size, image_size, 3), np.uint8)
    for image, (path, _) in zip(pixels, paths, strict=True):
        with Image.open(path) as opened:
            image[:] = np.asarray(opened.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR))
    return Images(pixels, np.asarray([label for _, label in paths], np.int32))


def batches(images: Images, batch_size: int, seed: int) -> Iterator[Images]:
    """Full batches without end: each epoch is the generator's next permutation, its short rest left out."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(images.pixels))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield Images(images.pixels[chosen], images.targets[chosen])


def build_keras(image_size: int, weights: Weights, channels: tuple[int, ...], *, inputs: str, xla: bool) -> Any:
    """The compiled Keras model with these weights, in keras.config.floatx(); uint8 inputs are divided by 255 inside."""
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((image_size, image_size, 3), dtype=inputs)])
    if inputs == "uint8":
        model.add(layers.Rescaling(1 / 255))
    for outputs in channels:
        model.add(layers.Conv2D(outputs, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(DENSE_UNITS, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    optimizer = keras.optimizers.RMSprop(LEARNING_RATE, rho=RHO, epsilon=EPSILON)
    # "auto" is Keras's default and means no XLA on a CPU, where it is the slower (measured: 10 against 44 images/s).
    model.compile(optimizer=optimizer, loss="binary_crossentropy", jit_compile=True if xla else "auto")
    model.set_weights(weights)
    return model


def keras_training(model: Any) -> TrainOnce:
    """One training step as a function: a batch in, its mean loss before the step out."""

    def train_once(batch: Images) -> float:
        # train_on_batch answers with the mean since the last reset.
        model.reset_metrics()
        return float(model.train_on_batch(batch.pixels, batch.targets[:, None]))

    return train_once


def parser(description: str) -> argparse.ArgumentParser:
    """The options that both sides know."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batch-size", type=int, default=128, help="images of one step")
    options.add_argument("--image-size", type=int, default=300, help="pixels")
    options.add_argument("--data", type=Path, help="folder with two class folders; generated images without it")
    options.add_argument("--seed", type=int, default=1)
    return options


def chosen_images(arguments: argparse.Namespace) -> Images:
    """The images that the options ask for."""
    if arguments.data:
        return folder_images(arguments.data, arguments.image_size)
    return blobs(arguments.seed, max(GENERATED, arguments.batch_size), arguments.image_size, noise=100)


def answer(train_once: TrainOnce, stream: Iterator[Images], versions: dict[str, str]) -> None:
    """Say the versions; then answer each line of stdin, a number of steps, with seconds, losses and peak memory.

    Choosing the batch is not timed; scaling its pixels is.
    """
    # Libraries print too; only the answers may reach the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        seconds, losses = 0.0, []
        for _ in range(int(line)):
            batch = next(stream)
            start = time.perf_counter()
            losses.append(train_once(batch))
            seconds += time.perf_counter() - start
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "losses": losses, "peak_bytes": peak_bytes}), file=answers, flush=True)


def main() -> None:
    """Build the network and answer until stdin ends."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    arguments = parser(__doc__).parse_args()
    import keras
    import tensorflow

    weights = course_weights(arguments.seed, arguments.image_size)
    model = build_keras(arguments.image_size, weights, CHANNELS, inputs="uint8", xla=False)
    stream = batches(chosen_images(arguments), arguments.batch_size, arguments.seed)
    answer(keras_training(model), stream, {"keras": keras.__version__, "tensorflow": tensorflow.__version__})


if __name__ == "__main__":
    main()
