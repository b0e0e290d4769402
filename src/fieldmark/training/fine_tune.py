"""Fine-tune: a pretrained backbone is trained on, from the linear head that was fitted to it while it was frozen.

A head of random weights would first send noise through the backbone and spoil what it knows (LP-FT: Kumar et al. 2022,
arXiv:2202.10054). Early stages see edges and colours, which serve every dataset, so that they move less than late ones
(discriminative learning rates: Howard and Ruder 2018, arXiv:1801.06146). BatchNorm is folded into the convolutions:
no statistics of a small dataset replace those of ImageNet, and an image's answer does not depend on its batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fieldmark.networks.efficientnet_lite import STAGES, EfficientNetLite0, folded, pretrained
from fieldmark.training.head import Head

# Each stage learns at this share of the next one's learning rate; the head and the last convolution at all of it.
SHARE_OF_NEXT = 0.7


def with_fitted_head(image_size: tuple[int, int], head: Head) -> EfficientNetLite0:
    """The folded backbone for images of (height, width) with this head, every weight of it free to move."""
    with torch.random.fork_rng(devices=[]):  # random first weights are drawn, only to be replaced
        network = folded(pretrained(image_size))
        network.head = nn.Linear(head.weights.shape[1], len(head.bias))
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(head.weights))
        network.head.bias.copy_(torch.from_numpy(head.bias))
    return network.requires_grad_(True)  # folding left the biases fixed


def parameter_groups(network: EfficientNetLite0) -> list[dict[str, Any]]:
    """The weights from the head down to the stem, each group with its `share` of the learning rate (0 to 1).

    >>> [round(group["share"], 2) for group in parameter_groups(EfficientNetLite0((32, 32), outputs=1))]
    [1.0, 0.7, 0.49, 0.34, 0.24, 0.17, 0.12, 0.08, 0.06]
    """
    parts: list[list[nn.Module]] = [[network.head, network.last], *reversed(_stages(network)), [network.stem]]
    return [
        {"params": [weight for layer in layers for weight in layer.parameters()], "share": SHARE_OF_NEXT**depth}
        for depth, layers in enumerate(parts)
    ]


def _stages(network: EfficientNetLite0) -> list[list[nn.Module]]:
    blocks = iter(network.blocks)
    return [[next(blocks) for _ in range(repeats)] for repeats, *_ in STAGES]
