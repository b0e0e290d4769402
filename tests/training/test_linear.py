"""Gradients of linear layers that waited are those that torch would have computed at once."""

from __future__ import annotations

import torch
from torch import nn

from fieldmark.training.linear import LateLinear


def late_gradients(network: nn.Module, batches: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = list(network.parameters())
    totals = [torch.zeros_like(weight) for weight in weights]
    late = LateLinear()
    for batch in batches:
        with late:
            loss = network(batch).square().sum()
        found = torch.autograd.grad(loss, [*weights, *late.outputs], allow_unused=True)
        late.keep(found[len(weights) :])
        assert late.outputs == []
        for total, gradient in zip(totals, found, strict=False):
            if gradient is not None:
                total += gradient
    late.add_to(weights, totals)
    return totals


def assert_as_torch(network: nn.Module, width: int) -> None:
    batches = [torch.randn(count, width, generator=torch.Generator().manual_seed(count)) for count in (3, 1)]
    loss = sum(network(batch).square().sum() for batch in batches)
    expected = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
    for late, wanted in zip(late_gradients(network, batches), expected, strict=True):
        torch.testing.assert_close(late, wanted)


def test_layers_with_and_without_bias() -> None:
    assert_as_torch(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)), 4)


def test_one_layer_without_bias() -> None:
    assert_as_torch(nn.Linear(4, 2, bias=False), 4)


def test_a_layer_used_twice_and_one_whose_answer_is_thrown_away() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.wasted = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.wasted(x)
            return self.twice(torch.relu(self.twice(x))) + x @ self.twice.weight

    assert_as_torch(Network(), 4)


def test_weights_that_are_computed_are_left_to_torch() -> None:
    assert_as_torch(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), 4)


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.Linear(4, 2)
    layer.weight.requires_grad_(False)
    late = LateLinear()
    with late:
        layer(torch.ones(1, 4))
    assert late.outputs == []


def test_a_sequence_of_vectors_is_left_to_torch() -> None:
    late = LateLinear()
    with late:
        nn.Linear(4, 2)(torch.ones(1, 3, 4))
    assert late.outputs == []
