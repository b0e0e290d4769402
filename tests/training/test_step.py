"""A step in micro-batches is the step of the whole batch, and the same whatever the threads do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fieldmark.networks.table import build
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.optimizers import OPTIMIZERS
from fieldmark.training.step import Loss, Step, make_step

SIZE = 40  # pixels
PREPROCESSING = Preprocessing(width=SIZE, height=SIZE, mean=10.0, deviation=50.0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def images(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return pixels, generator.integers(0, 2, count).astype(np.int32)


def step_of(network: nn.Module, micro_batch: int | None, **choices: Any) -> Step:
    step = make_step(network, PREPROCESSING, Loss(), 13)
    return dataclasses.replace(step, micro_batch=micro_batch, **choices)


def gradients(network: nn.Module, micro_batch: int | None, **choices: Any) -> tuple[float, int, list[torch.Tensor]]:
    """Loss, number right and all gradients of one step whose learning rate is 0."""
    optimizer = OPTIMIZERS["sgd"](network.parameters(), 0.0, 0.0)
    summed, correct = step_of(network, micro_batch, **choices).train(optimizer, *images(13))
    return summed, correct, [weight.grad for weight in network.parameters() if weight.grad is not None]


def expected(network: nn.Module, loss: Loss) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of the batch's mean loss, as a textbook would compute them."""
    pixels, labels = images(13)
    logits = network((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 10.0) / 50.0)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    targets = torch.from_numpy(labels).long()
    weights = torch.tensor(loss.class_weights or (1.0, 1.0))
    losses = weights[targets] * cross_entropy(logits, targets, reduction="none")
    return losses.sum().item(), list(torch.autograd.grad(losses.mean(), list(network.parameters())))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("loss", [Loss(), Loss((0.5, 3.0))])
@pytest.mark.parametrize("micro_batch", [None, 1, 3, 13])
@pytest.mark.parametrize("blocked", [False, True], ids=["", "blocked"])
def test_micro_batches_add_up_to_the_whole(blocked: bool, micro_batch: int | None, loss: Loss, outputs: int) -> None:
    if blocked and not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    network = build("course", (SIZE, SIZE), outputs=outputs)
    summed, _, found = gradients(network, micro_batch, loss=loss, blocked=blocked)
    expected_sum, expected_gradients = expected(network, loss)
    assert summed == pytest.approx(expected_sum, rel=1e-5)
    for gradient, wanted in zip(found, expected_gradients, strict=True):
        assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.usefixtures("two_threads")
def test_the_same_bits_in_every_run() -> None:
    network = build("course", (SIZE, SIZE), outputs=1)
    first, again = gradients(network, 2), gradients(network, 2)
    assert first[:2] == again[:2]
    assert all(torch.equal(a, b) for a, b in zip(first[2], again[2], strict=True))


@pytest.mark.usefixtures("two_threads")
def test_torch_keeps_the_callers_threads() -> None:
    step = step_of(build("course", (SIZE, SIZE), outputs=1), 2)
    step.evaluate(*images(13))
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["course", "convnet"])
def test_evaluation_is_the_networks_answer_for_each_image(name: str) -> None:
    network = build(name, (SIZE, SIZE), outputs=2)
    step = dataclasses.replace(step_of(network, None), micro_batch_evaluation=3)
    summed, correct = step.evaluate(*images(13))
    pixels, labels = images(13)
    with torch.no_grad():
        logits = network.eval()((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 10.0) / 50.0)
    targets = torch.from_numpy(labels).long()
    assert summed == pytest.approx(cross_entropy(logits, targets, reduction="sum").item(), rel=1e-5)
    assert correct == int((logits.argmax(dim=1) == targets).sum())


def one_step(threads: int) -> nn.Module:
    """convnet after one step on 70 images: ghosts of 24, 23 and 23."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        network = build("convnet", (SIZE, SIZE), outputs=1)
        step = make_step(network, PREPROCESSING, Loss(), 70)
        step.train(OPTIMIZERS["sgd"](network.parameters(), 0.1, 0.0), *images(70))
    finally:
        torch.set_num_threads(before)
    return network


def test_ghosts_learn_the_same_bits_with_any_number_of_threads() -> None:
    alone, many = one_step(1).state_dict(), one_step(3).state_dict()
    assert all(torch.equal(alone[name], many[name]) for name in alone)


def test_each_ghost_is_normalised_by_itself_and_the_statistics_are_their_mean() -> None:
    pixels, labels = images(70)
    scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 10.0) / 50.0
    network = build("convnet", (SIZE, SIZE), outputs=1).train()
    parts = [slice(0, 24), slice(24, 47), slice(47, 70)]
    losses = [Loss().sum(copy.deepcopy(network)(scaled[part]), torch.from_numpy(labels[part])) for part in parts]
    means = [network.stem.convolution(scaled[part]).mean(dim=(0, 2, 3)) for part in parts]
    expected_mean = 0.1 * sum(len(labels[part]) * mean for part, mean in zip(parts, means, strict=True)) / 70

    step = make_step(network, PREPROCESSING, Loss(), 70)
    summed, _ = step.train(OPTIMIZERS["sgd"](network.parameters(), 0.0, 0.0), pixels, labels)
    assert summed == pytest.approx(sum(losses).item(), rel=1e-5)
    assert torch.allclose(network.stem.norm.running_mean, expected_mean, atol=1e-5)
    assert {int(ghost.stem.norm.num_batches_tracked) for ghost in step.ghosts} == {1}
    assert torch.equal(step.ghosts[2].stem.norm.running_var, network.stem.norm.running_var)


def test_one_output_counts_as_right_by_its_sign() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 1))
    nn.init.zeros_(network[1].weight)
    nn.init.constant_(network[1].bias, 0.3)
    _, correct = step_of(network, 2).evaluate(*images(13))
    assert correct == int(images(13)[1].sum())


@pytest.mark.parametrize("logit", [-15.0, 15.0])
def test_small_losses_are_exact(logit: float) -> None:
    """binary_cross_entropy_with_logits is several per cent off here, in the loss and in its gradient."""
    logits = torch.tensor([[logit]], requires_grad=True)
    loss = Loss().sum(logits, torch.tensor([logit > 0], dtype=torch.int32))
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-15.0)), rel=1e-5)
    assert abs(logits.grad.item()) == pytest.approx(1 / (1 + np.exp(15.0)), rel=1e-5)


def test_an_unused_parameter_is_no_obstacle() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3 * SIZE * SIZE, 2)
            self.unused = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x.flatten(1))

    network = Network()
    network.used.bias.requires_grad_(False)
    _, _, found = gradients(network, 3)
    assert len(found) == 3
    assert found[1].abs().sum() == 0
