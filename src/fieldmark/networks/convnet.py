"""A small modern network for training from scratch on a laptop: residual stages, global average pooling."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from fieldmark.networks.pooling import GlobalAveragePooling

CHANNELS = (32, 64, 128, 256)


class ConvNet(nn.Module):
    """A stem, one residual block a stage, global average pooling, the head.

    Input float32 (batch, 3, height, width); output logits float32 (batch, outputs). Each stage after the
    first halves the side lengths. `image_size` only chooses how much the stem shrinks.
    In training mode BatchNorm needs at least two images a batch.

    Residual blocks: He et al. 2015, arXiv:1512.03385.

    >>> network = ConvNet((96, 96), outputs=3).eval()
    >>> network.features(torch.zeros(2, 3, 96, 96)).shape, network(torch.zeros(2, 3, 96, 96)).shape
    (torch.Size([2, 256]), torch.Size([2, 3]))
    """

    def __init__(self, image_size: tuple[int, int], outputs: int, channels: tuple[int, ...] | None = None) -> None:
        super().__init__()
        channels = channels or CHANNELS
        self.stem = _stem(image_size, channels[0])
        stages = [ResidualBlock(channels[0], channels[0], stride=1)]
        stages += [ResidualBlock(before, after, stride=2) for before, after in pairwise(channels)]
        self.stages = nn.Sequential(*stages)
        self.pooling = GlobalAveragePooling()
        self.head = nn.Linear(channels[-1], outputs)
        self.apply(_initialise)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the head sees: float32 (batch, channels of the last stage), never negative."""
        features: torch.Tensor = self.pooling(self.stages(self.stem(x)))
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits float32 (batch, outputs)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to their input; a 1x1 convolution adapts the input where shapes differ."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.first = _sequence(**_convolution(before, after, kernel=3, stride=stride), relu=nn.ReLU())
        self.second = _sequence(**_convolution(after, after, kernel=3))
        unchanged = before == after and stride == 1
        self.shortcut = nn.Identity() if unchanged else _shortcut(before, after, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, before, height, width) to (batch, after, height / stride, width / stride)."""
        y: torch.Tensor = self.relu(self.second(self.first(x)) + self.shortcut(x))
        return y


def _stem(image_size: tuple[int, int], channels: int) -> nn.Sequential:
    # Photographs shrink fourfold before the first stage, which would otherwise cost most of the time;
    # small drawings (28 px) keep every pixel.
    side = min(image_size)
    layers = _convolution(3, channels, kernel=3, stride=2 if side >= 64 else 1)
    layers["relu"] = nn.ReLU()
    if side >= 32:
        layers["pooling"] = nn.MaxPool2d(2, ceil_mode=True)
    return _sequence(**layers)


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential:
    # Averaging first lets every position count; a strided 1x1 convolution alone drops three of four
    # (He et al. 2018, arXiv:1812.01187).
    pooling = nn.AvgPool2d(stride, ceil_mode=True)
    return _sequence(pooling=pooling, **_convolution(before, after, kernel=1))


def _convolution(before: int, after: int, *, kernel: int, stride: int = 1) -> dict[str, nn.Module]:
    # BatchNorm brings its own bias.
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return {"convolution": convolution, "norm": nn.BatchNorm2d(after)}


def _sequence(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _initialise(module: nn.Module) -> None:
    # He et al. 2015, arXiv:1502.01852, for layers followed by ReLU.
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
