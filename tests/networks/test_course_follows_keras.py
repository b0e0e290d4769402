"""The course's network trains as in Keras: same weights, same batches, the losses that Keras was recorded with.

Recorded by benchmarks/record_keras_losses.py, which also says why there are cases in float32 and in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.keras_course import LEARNING_RATE, batches, blobs, course_weights, torch_layout

from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, make_step

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "keras_course_losses.json").read_text("utf-8"))
GENERATED = {name: case for name, case in RECORDED["cases"].items() if case["noise"] is not None}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Largest relative difference found: 2e-5 in float32, as between two runs of Keras itself, and 4e-16 in float64.
TOLERANCES = {"float32": 1e-3, "float64": 1e-12}


@pytest.mark.parametrize("case", GENERATED.values(), ids=GENERATED.keys())
def test_loss_follows_keras_for_20_steps(case: dict[str, Any]) -> None:
    assert len(case["losses"]) == 20
    assert our_losses(case) == pytest.approx(case["losses"], rel=TOLERANCES[case["floats"]])


def test_the_cases_are_the_courses_network_and_keras_repeats_itself_in_them() -> None:
    assert {case["floats"] for case in GENERATED.values()} == {"float32", "float64"}
    assert all(case["channels"] == [16, 32, 64, 64, 64] for case in GENERATED.values())
    assert max(GENERATED["blobs"]["keras_against_itself"]) < 1e-4


def our_losses(case: dict[str, Any]) -> list[float]:
    """Our mean loss before each of the recorded steps, with the micro-batches that suit this machine."""
    size, batch_size, seed = case["image_size"], case["batch_size"], case["seed"]
    channels = tuple(case["channels"])
    network = build("course", (size, size), outputs=1, channels=channels)
    weights = torch_layout(course_weights(seed, size, channels))
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    network.to(DTYPES[case["floats"]])
    step = make_step(network, Preprocessing(width=size, height=size), Loss(), batch_size)
    optimizer = OPTIMIZERS["rmsprop"](network.parameters(), LEARNING_RATE, 0.0)
    images = blobs(seed, len(case["losses"]) * batch_size, size, noise=case["noise"])
    stream = batches(images, batch_size, seed)
    return [step.train(optimizer, *next(stream))[0] / batch_size for _ in case["losses"]]
