import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fieldmark.networks.course import Course, default_channels, minimum_image_size, side_after

FIVE = (16, 32, 64, 64, 64)


@pytest.mark.parametrize(
    ("size", "channels"),
    [(300, FIVE), (600, FIVE), (200, FIVE), (199, FIVE[:3]), (150, FIVE[:3]), (75, FIVE[:3]), (28, FIVE[:2])],
)
def test_default_stack_follows_the_image_size(size, channels):
    assert default_channels((size, size)) == default_channels((size + 100, size)) == channels


@given(st.integers(minimum_image_size(), 2000))
def test_default_stack_fits_every_image(side):
    assert side_after(side, len(default_channels((side, side)))) >= 1


@given(st.integers(1, 9))
def test_minimum_image_size_is_the_least_that_fits(blocks):
    minimum = minimum_image_size((8,) * blocks)
    assert side_after(minimum, blocks) == 1
    assert side_after(minimum - 1, blocks) < 1


@settings(deadline=None)  # the first call of torch is slow
@given(st.integers(94, 400))
def test_side_after_is_what_the_layers_leave(side):
    x = torch.empty(1, 1, side, side, device="meta")
    for blocks in range(1, 6):
        x = nn.functional.max_pool2d(nn.functional.conv2d(x, torch.empty(1, 1, 3, 3, device="meta")), 2)
        assert x.shape[2] == side_after(side, blocks)


def test_pooling_before_relu_is_relu_before_pooling():
    network = Course((75, 75), outputs=1)
    for bias in (p for name, p in network.named_parameters() if name.endswith("bias")):
        nn.init.normal_(bias, generator=torch.Generator().manual_seed(0))
    convolutions = [layer for layer in network.blocks if isinstance(layer, nn.Conv2d)]
    layers = [(c, nn.ReLU(), nn.MaxPool2d(2)) for c in convolutions]
    textbook = nn.Sequential(*(layer for block in layers for layer in block))

    x = torch.randn(4, 3, 75, 75, generator=torch.Generator().manual_seed(1))
    ours, theirs = network.blocks(x), textbook(x)
    assert torch.equal(ours, theirs)
    assert (ours == 0).any()
    assert (ours > 0).any()

    parameters = list(textbook.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), parameters),
        torch.autograd.grad(theirs.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_first_weights_are_glorot_uniform_as_keras_draws_them():
    network = Course((150, 150), outputs=3)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        positions = math.prod(layer.weight.shape[2:])
        fan_in, fan_out = layer.weight.shape[1] * positions, layer.weight.shape[0] * positions
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert 0.95 * limit < layer.weight.abs().max() <= limit
        assert float(layer.weight.detach().std()) == pytest.approx(limit / math.sqrt(3), rel=0.08)
        assert not layer.bias.any()


def test_flattening_is_channel_row_column():
    network = Course((28, 28), outputs=1)
    x = torch.randn(2, 3, 28, 28).to(memory_format=torch.channels_last)
    maps = network.blocks(x)
    assert maps.shape == (2, 32, 5, 5)
    rows = network.hidden.weight.reshape(512, 32, 5, 5)
    expected = torch.einsum("bcij,hcij->bh", maps, rows) + network.hidden.bias
    torch.testing.assert_close(network.features(x), expected.relu(), rtol=1e-4, atol=1e-5)
