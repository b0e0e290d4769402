"""The plain stack of the introductory courses: convolution, pooling, ..., dense 512, one output.

It computes what Keras computes for the same layers, from the same distribution of first weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

HIDDEN_UNITS = 512

# Shorter side in pixels from which a stack is the default: the course's own two (five blocks at 300 px, three
# at 150 px), and shallower ones that still leave a few positions to small images (28 px: 5 x 5).
DEFAULT_CHANNELS = (
    (200, (16, 32, 64, 64, 64)),
    (48, (16, 32, 64)),
    (20, (16, 32)),
    (0, (16,)),
)


class Course(nn.Module):
    """Blocks of 3x3 convolution, 2x2 max-pooling and ReLU; flatten; dense 512 with ReLU; the head.

    Input float32 (batch, 3, height, width) of exactly `image_size`; output logits float32 (batch, outputs).
    A convolution takes 2 pixels off each side length, pooling halves it and drops an odd last row.

    Flattening is in torch's order (channel, row, column). Keras flattens (row, column, channel), so its dense
    weights fit here after the rows of the first dense layer are permuted accordingly.

    >>> network = Course((300, 300), outputs=1)
    >>> network.hidden.in_features, network(torch.zeros(2, 3, 300, 300)).shape
    (3136, torch.Size([2, 1]))
    """

    def __init__(self, image_size: tuple[int, int], outputs: int, channels: tuple[int, ...] | None = None) -> None:
        super().__init__()
        channels = channels or default_channels(image_size)
        height, width = (side_after(side, len(channels)) for side in image_size)
        self.blocks = _blocks(channels)
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(channels[-1] * height * width, HIDDEN_UNITS)
        self.relu = nn.ReLU()
        self.head = nn.Linear(HIDDEN_UNITS, outputs)
        self.apply(_initialise)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the head sees: float32 (batch, 512), never negative."""
        features: torch.Tensor = self.relu(self.hidden(self.flatten(self.blocks(x))))
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits float32 (batch, outputs)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits


def default_channels(image_size: tuple[int, int]) -> tuple[int, ...]:
    """Return the channels of each block for images of (height, width) pixels.

    >>> default_channels((300, 300)), default_channels((150, 200)), default_channels((28, 28))
    ((16, 32, 64, 64, 64), (16, 32, 64), (16, 32))
    """
    return next(channels for pixels, channels in DEFAULT_CHANNELS if min(image_size) >= pixels)


def side_after(side: int, blocks: int) -> int:
    """Return the side length in pixels that `blocks` blocks leave; below 1 the image was too small.

    >>> [side_after(300, blocks) for blocks in range(6)]
    [300, 149, 73, 35, 16, 7]
    """
    for _ in range(blocks):
        side = (side - 2) // 2
    return side


def minimum_image_size(channels: tuple[int, ...] | None = None) -> int:
    """Return the least side length in pixels that leaves one position after the last pooling.

    Without `channels` the depth follows the image, so that one block has to fit.

    >>> minimum_image_size(), minimum_image_size((16, 32, 64)), minimum_image_size((16, 32, 64, 64, 64))
    (4, 22, 94)
    """
    side = 1
    for _ in channels or (0,):
        side = 2 * side + 2
    return side


def _blocks(channels: tuple[int, ...]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(zip((3, *channels), channels, strict=False), start=1):
        layers[f"convolution{number}"] = nn.Conv2d(before, after, kernel_size=3)
        # Pooling before ReLU: the largest of four stays the largest after max(0, .), so the order does not
        # change the result, and ReLU has only a quarter of the values to read and write.
        layers[f"pooling{number}"] = nn.MaxPool2d(2)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)


def _initialise(module: nn.Module) -> None:
    # Keras's default. Its fans of a convolution count the kernel's 9 positions, as torch's do.
    # Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
