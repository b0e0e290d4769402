import pytest
import torch
from torch import nn

from fieldmark.networks.summary import Layer, journey, total_parameters
from fieldmark.networks.table import build


def test_journey_of_the_course_network_at_300_pixels():
    layers = journey(build("course", (300, 300), outputs=1), (300, 300))
    assert layers[0] == Layer("input", "Input", (300, 300, 3), 0)
    sides = [layer.shape[0] for layer in layers]
    assert sides == [300, 298, 149, 147, 73, 71, 35, 33, 16, 14, 7, 3136, 512, 1]
    assert [layer.kind for layer in layers[1:3]] == ["Conv2d", "MaxPool2d"]
    assert [layer.shape[2] for layer in layers[1:11:2]] == [16, 32, 64, 64, 64]
    assert layers[-2:] == [Layer("hidden", "Linear", (512,), 1606144), Layer("head", "Linear", (1,), 513)]
    assert sum(layer.parameters for layer in layers) == 1_704_097


@pytest.mark.parametrize(("size", "side"), [(300, 35), (150, 17)])
def test_journey_of_three_blocks(size, side):
    network = build("course", (size, size), outputs=1, channels=(16, 32, 64))
    flat = next(layer for layer in journey(network, (size, size)) if layer.kind == "Flatten")
    last = [layer for layer in journey(network, (size, size)) if layer.kind == "MaxPool2d"][-1]
    assert last.shape == (side, side, 64)
    assert flat.shape == (side * side * 64,)


def test_journey_names_height_before_width():
    layers = journey(build("convnet", (96, 64), outputs=2), (96, 64))
    assert layers[0].shape == (96, 64, 3)
    assert layers[1].shape == (48, 32, 32)


@pytest.mark.parametrize("name", ["course", "convnet", "efficientnet-lite0"])
def test_layers_add_up_to_the_total(name):
    network = build(name, (64, 64), outputs=3)
    assert sum(layer.parameters for layer in journey(network, (64, 64))) == total_parameters(network)


def test_network_is_left_as_it_was():
    network = build("convnet", (32, 32), outputs=2)
    network.stem.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    journey(network, (32, 32))
    assert network.stages.training
    assert not network.stem.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_go_when_the_image_does_not_fit():
    network = build("course", (32, 32), outputs=2)
    with pytest.raises(RuntimeError):
        journey(network, (64, 64))
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


def test_any_module_has_a_journey():
    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 5, batch_first=True)
            self.drop = nn.Dropout()
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            values, _ = self.gru(x.flatten(2).transpose(1, 2))
            return self.head(self.drop(values[:, -1]))

    layers = journey(Strange(), (4, 6))
    assert [(layer.name, layer.shape) for layer in layers[1:]] == [("gru", (24, 5)), ("head", (2,))]


def test_frozen_parameters_count_and_shared_ones_once():
    layer = nn.Linear(4, 4)
    layer.requires_grad_(False)
    assert total_parameters(nn.Sequential(layer, layer)) == 20
