"""The course's network in Keras: the other side of `course_against_keras.py`, run in Keras's own environment.

    python benchmarks/keras_course.py --batch-size 128 [--data DIR]

builds the network, then answers each line of stdin, a number of steps, with one line of JSON on stdout. The weights,
the images and their order are made here by NumPy alone, so that both sides (and the tests) start from the same bits;
Keras itself is imported only where it is used.
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

Weights = list[npt.NDArray[np.float32]]


class Images(NamedTuple):
    """uint8 pixels (n, size, size, 3) and float32 targets (n,), 0 or 1."""

    pixels: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]


def course_weights(seed: int, image_size: int, channels: tuple[int, ...] = CHANNELS) -> Weights:
    """Glorot-uniform kernels and zero biases in Keras's order and layout.

    Kernels are (3, 3, in, out) for each convolution, then (height·width·channels, 512) and (512, 1), each followed
    by its bias; the rows of the first dense kernel run over (height, width, channels), channels fastest.
    """
    generator = np.random.default_rng(seed)
    side, inputs, weights = image_size, 3, []
    for outputs in channels:
        weights += [_glorot(generator, (3, 3, inputs, outputs)), np.zeros(outputs, np.float32)]
        side, inputs = (side - 2) // 2, outputs
    for shape in ((side * side * inputs, DENSE_UNITS), (DENSE_UNITS, 1)):
        weights += [_glorot(generator, shape), np.zeros(shape[1], np.float32)]
    return weights


def _glorot(generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    window = int(np.prod(shape[:-2]))
    limit = np.sqrt(6.0 / (window * (shape[-2] + shape[-1])))
    return generator.uniform(-limit, limit, shape).astype(np.float32)


def generated_images(seed: int, count: int, image_size: int) -> Images:
    """Noise with one soft bright blob, in the left half (target 0) or in the right half (target 1)."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, count).astype(np.float32)
    axis = np.arange(image_size, dtype=np.float32) / image_size
    pixels = np.empty((count, image_size, image_size, 3), np.uint8)
    for image, target in zip(pixels, targets, strict=True):
        x, y = generator.uniform(0.15, 0.35) + 0.5 * target, generator.uniform(0.2, 0.8)
        blob = np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / 0.01)
        noise = generator.integers(0, 100, image.shape, dtype=np.uint8)
        image[:] = noise + (blob[:, :, None] * generator.uniform(60, 155, 3)).astype(np.uint8)
    return Images(pixels, targets)


def folder_images(folder: Path, image_size: int) -> Images:
    """The images of a folder with two class folders, in the order of their sorted relative paths."""
    from PIL import Image

    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    paths = [(path, label) for label, entry in enumerate(classes) for path in sorted(entry.iterdir())]
    pixels = np.empty((len(paths), image_size, image_size, 3), np.uint8)
    for image, (path, _) in zip(pixels, paths, strict=True):
        with Image.open(path) as opened:
            image[:] = np.asarray(opened.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR))
    return Images(pixels, np.asarray([label for _, label in paths], np.float32))


def batches(images: Images, batch_size: int, seed: int) -> Iterator[Images]:
    """Full batches without end: each epoch is a new permutation of one generator, its short rest left out."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(images.pixels))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield Images(images.pixels[chosen], images.targets[chosen])


def build_keras(image_size: int, weights: Weights, *, channels: tuple[int, ...] = CHANNELS, jit: bool = True) -> Any:
    """The compiled Keras model; pixels come in as uint8 and are scaled inside, as fast as Keras can."""
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((image_size, image_size, 3), dtype="uint8"), layers.Rescaling(1 / 255)])
    for outputs in channels:
        model.add(layers.Conv2D(outputs, 3, activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(DENSE_UNITS, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    optimizer = keras.optimizers.RMSprop(LEARNING_RATE, rho=RHO, epsilon=EPSILON)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", jit_compile=jit)
    model.set_weights(weights)
    return model


def keras_step(model: Any) -> Callable[[Images], float]:
    """One training step as a function: a batch in, its mean loss before the update out."""

    def step(batch: Images) -> float:
        # Keras's train_on_batch answers with the mean since the last reset.
        model.reset_metrics()
        return float(model.train_on_batch(batch.pixels, batch.targets[:, None]))

    return step


def prepare(arguments: argparse.Namespace) -> tuple[Iterator[Images], Weights]:
    """The endless batches and the first weights that the arguments ask for, the same on both sides."""
    size, seed = arguments.image_size, arguments.seed
    images = folder_images(arguments.data, size) if arguments.data else generated_images(seed, 512, size)
    return batches(images, arguments.batch_size, seed), course_weights(seed, size)


def parser() -> argparse.ArgumentParser:
    """The options both sides know."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batch-size", type=int, default=128, help="images of one step")
    options.add_argument("--image-size", type=int, default=300, help="pixels")
    options.add_argument("--data", type=Path, help="folder of two class folders; generated images without it")
    options.add_argument("--seed", type=int, default=1)
    return options


def answer(step: Callable[[Images], float], stream: Iterator[Images], versions: dict[str, str]) -> None:
    """Answer each line of stdin, a number of steps, with their seconds, losses and the peak memory so far.

    Making the batch is not timed: both sides do it with the same lines of NumPy.
    """
    # Libraries may print; only our answers may reach the pipe.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"versions": versions}), file=replies, flush=True)
    for line in sys.stdin:
        seconds, losses = 0.0, []
        for _ in range(int(line)):
            batch = next(stream)
            start = time.perf_counter()
            losses.append(step(batch))
            seconds += time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "losses": losses, "peak_bytes": peak}), file=replies, flush=True)


def main() -> None:
    """Build the network and answer until stdin ends."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    options = parser()
    options.add_argument("--no-jit", action="store_true", help="do not let XLA compile the step, as Keras does by default")
    arguments = options.parse_args()
    stream, weights = prepare(arguments)
    import keras
    import tensorflow

    model = build_keras(arguments.image_size, weights, jit=not arguments.no_jit)
    versions = {"keras": keras.__version__, "tensorflow": tensorflow.__version__, "numpy": np.__version__}
    answer(keras_step(model), stream, versions)


if __name__ == "__main__":
    main()
