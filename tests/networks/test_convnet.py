import pytest
import torch

from fieldmark.networks.convnet import ConvNet
from fieldmark.networks.summary import journey, total_parameters


@pytest.mark.parametrize(
    ("size", "first", "last"), [(16, 16, 2), (28, 28, 4), (33, 17, 3), (64, 16, 2), (96, 24, 3), (225, 57, 8)]
)
def test_stem_keeps_small_images_and_shrinks_photographs(size, first, last):
    maps = {}
    network = ConvNet((size, size), outputs=2).eval()
    network.stem.register_forward_hook(lambda module, inputs, output: maps.update(first=output.shape[2:]))
    network.stages.register_forward_hook(lambda module, inputs, output: maps.update(last=output.shape[2:]))
    network(torch.zeros(1, 3, size, size))
    assert maps == {"first": (first, first), "last": (last, last)}


def test_is_small_enough_for_a_laptop():
    network = ConvNet((96, 96), outputs=1)
    macs = 0
    weights = {name: p.numel() for name, p in network.named_parameters() if p.dim() == 4}
    for layer in journey(network, (96, 96)):
        if layer.kind == "Conv2d":
            height, width, _ = layer.shape
            macs += weights[f"{layer.name}.weight"] * height * width
    assert total_parameters(network) < 1_500_000
    assert 30e6 < macs < 60e6  # multiply-adds an image


def test_block_adds_its_input():
    network = ConvNet((32, 32), outputs=2).eval()
    block = network.stages[0]
    torch.nn.init.zeros_(block.second.convolution.weight)
    x = torch.rand(2, 32, 8, 8)
    assert torch.equal(block(x), x)
