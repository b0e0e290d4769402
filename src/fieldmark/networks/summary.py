"""What a network is made of, as plain values: the journey of the shapes and the parameters of each layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """One step of the journey."""

    name: str  # path of the module inside the network, "input" for the image
    kind: str  # class of the module, such as Conv2d
    shape: tuple[int, ...]  # of one output: (height, width, channels) or (values,)
    parameters: int  # weights and biases, frozen ones too; not running statistics


def journey(network: nn.Module, image_size: tuple[int, int]) -> list[Layer]:
    """Return the layers in the order an image of (height, width) pixels passes them.

    Layers that neither change the shape nor have parameters (activations, dropout) are left out.
    The network keeps its mode, weights and running statistics.

    >>> from fieldmark.networks.table import build
    >>> for layer in journey(build("course", (28, 28), outputs=1, channels=(16,)), (28, 28)):
    ...     layer.shape, layer.parameters
    ((28, 28, 3), 0)
    ((26, 26, 16), 448)
    ((13, 13, 16), 0)
    ((2704,), 0)
    ((512,), 1384960)
    ((1,), 513)
    """
    layers = [Layer("input", "Input", (*image_size, 3), 0)]
    hooks = []
    for name, module in network.named_modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(_recorder(name, layers)))
    training_modules = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *image_size, device=_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
        for module in training_modules:
            module.training = True
    return layers


def total_parameters(network: nn.Module) -> int:
    """Return the number of weights and biases, frozen ones too; a shared one counts once.

    >>> total_parameters(nn.Linear(512, 1))
    513
    """
    return sum(parameter.numel() for parameter in network.parameters())


def _recorder(name: str, layers: list[Layer]) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, tuple):  # recurrent and attention layers: the answer comes first
            output = output[0]
        parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if parameters or not inputs or output.shape != inputs[0].shape:
            layers.append(Layer(name, type(module).__name__, _shape(output), parameters))

    return record


def _shape(output: torch.Tensor) -> tuple[int, ...]:
    # torch keeps (channels, height, width); people and images say (height, width, channels)
    sizes = tuple(output.shape[1:])
    return (*sizes[1:], sizes[0]) if len(sizes) == 3 else sizes


def _device(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
