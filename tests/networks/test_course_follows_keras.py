"""The course's network trains as in Keras: same weights, same batches, the losses that Keras was recorded with.

Recorded by benchmarks/record_keras_losses.py, which also says why there are cases in float32 and in float64.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.keras_course import LEARNING_RATE, Weights, batches, blobs, course_weights
from fieldmark.networks.course import HIDDEN_UNITS, Course
from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, make_step

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "keras_course_losses.json").read_text("utf-8"))
GENERATED = [name for name, case in RECORDED["cases"].items() if case["noise"] is not None]
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def losses(case: dict[str, Any], *, micro_batch: int | None = None) -> list[float]:
    """Our losses before each of the recorded steps; `micro_batch` instead of the one that suits the machine."""
    size, batch_size = case["image_size"], case["batch_size"]
    network = course_from_keras(size, tuple(case["channels"]), case["seed"]).to(DTYPES[case["floats"]])
    step = make_step(network, Preprocessing(width=size, height=size), Loss(), batch_size)
    if micro_batch is not None:
        step = dataclasses.replace(step, micro_batch=micro_batch)
    optimizer = OPTIMIZERS["rmsprop"](network.parameters(), LEARNING_RATE, 0.0)
    images = blobs(case["seed"], len(case["losses"]) * batch_size, size, noise=case["noise"])
    stream = batches(images, batch_size, case["seed"])
    return [step.train(optimizer, *next(stream))[0] / batch_size for _ in case["losses"]]


def course_from_keras(image_size: int, channels: tuple[int, ...], seed: int) -> Course:
    network = build("course", (image_size, image_size), outputs=1, channels=channels)
    assert isinstance(network, Course)
    load_keras_weights(network, course_weights(seed, image_size, channels))
    return network


def load_keras_weights(network: Course, weights: Weights) -> None:
    """Copy kernels and biases in Keras's order and layout into the network."""
    remaining = [torch.from_numpy(np.ascontiguousarray(weight)) for weight in weights]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                # (row, column, in, out) to (out, in, row, column)
                layer.weight.copy_(remaining.pop(0).permute(3, 2, 0, 1))
                layer.bias.copy_(remaining.pop(0))
        # Keras flattens (row, column, channel), torch (channel, row, column).
        kernel = remaining.pop(0)
        channels = network.blocks[-3].out_channels
        side = int((len(kernel) // channels) ** 0.5)
        kernel = kernel.reshape(side, side, channels, HIDDEN_UNITS).permute(3, 2, 0, 1)
        network.hidden.weight.copy_(kernel.reshape(HIDDEN_UNITS, -1))
        network.hidden.bias.copy_(remaining.pop(0))
        network.head.weight.copy_(remaining.pop(0).T)
        network.head.bias.copy_(remaining.pop(0))
    assert not remaining


if __name__ == "__main__":
    import time
    for name in GENERATED:
        case = RECORDED["cases"][name]; k=np.array(case["losses"])
        for mb in (None, 4, 8):
            s=time.time(); o = np.array(losses(case,micro_batch=mb)); print(name, mb, time.time()-s, np.array2string(abs(o-k)/k,precision=1,max_line_width=250))
