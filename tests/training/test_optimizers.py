"""Every optimizer follows Keras's formula, written out here in NumPy in 64-bit floats."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from fieldmark.recipe import CHOICES
from fieldmark.training.optimizers import OPTIMIZERS

Array = npt.NDArray[np.float64]
LEARNING_RATE = 1e-2
# From so small that epsilon decides to so large that it does not matter.
GRADIENTS = np.random.default_rng(5).standard_normal((6, 4)) * 10.0 ** np.array([-9, -5, -3, 1])


def rmsprop(gradients: Array) -> Array:
    weight, velocity = np.ones(4), np.zeros(4)
    for gradient in gradients:
        velocity = 0.9 * velocity + 0.1 * gradient**2
        weight = weight - LEARNING_RATE * gradient / np.sqrt(velocity + 1e-7)
    return weight


def adam(gradients: Array) -> Array:
    weight, momentum, velocity = np.ones(4), np.zeros(4), np.zeros(4)
    for number, gradient in enumerate(gradients, start=1):
        momentum = 0.9 * momentum + 0.1 * gradient
        velocity = 0.999 * velocity + 0.001 * gradient**2
        alpha = LEARNING_RATE * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        weight = weight - alpha * momentum / (np.sqrt(velocity) + 1e-7)
    return weight


def sgd(gradients: Array) -> Array:
    weight, momentum = np.ones(4), np.zeros(4)
    for gradient in gradients:
        momentum = 0.9 * momentum - LEARNING_RATE * gradient
        weight = weight + 0.9 * momentum - LEARNING_RATE * gradient
    return weight


FORMULAS: dict[str, Callable[[Array], Array]] = {"rmsprop": rmsprop, "adam": adam, "sgd": sgd}


def test_there_is_one_for_every_name_of_the_recipe() -> None:
    assert set(OPTIMIZERS) == set(CHOICES["optimizer"]) == set(FORMULAS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_follows_the_formula(name: str) -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight], LEARNING_RATE, 0.0)
    moved = trained(optimizer, weight, GRADIENTS) - 1
    # What a weight has moved, so that small moves count as much as large ones.
    np.testing.assert_allclose(moved, FORMULAS[name](GRADIENTS) - 1, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_goes_on_from_its_state(name: str) -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
    first = OPTIMIZERS[name]([weight], LEARNING_RATE, 0.0)
    trained(first, weight, GRADIENTS[:3])
    other = nn.Parameter(weight.detach().clone())
    second = OPTIMIZERS[name]([other], LEARNING_RATE, 0.0)
    # A copy, as from a file: torch's load_state_dict takes the tensors themselves.
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert trained(second, other, GRADIENTS[3:]).tolist() == trained(first, weight, GRADIENTS[3:]).tolist()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_decay_and_biases_do_not(name: str) -> None:
    kernel, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS[name]([kernel, bias], 0.1, 0.5)
    kernel.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert kernel.tolist() == [[pytest.approx(0.95)] * 2] * 2
    assert bias.tolist() == [1, 1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_without_gradient_stays(name: str) -> None:
    moving, resting = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS[name]([moving, resting], 0.1, 0.5)
    moving.grad = torch.ones(2)
    optimizer.step()
    assert moving[0] < 1
    assert resting.tolist() == [1, 1]


def trained(optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradients: Array) -> Array:
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
    return weight.detach().numpy().copy()
