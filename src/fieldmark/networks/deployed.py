"""Deployed: a network as the exported file runs it, from uint8 images to probabilities."""

from __future__ import annotations

import torch
from torch import nn

from fieldmark.networks.convnet import ConvNet
from fieldmark.networks.course import Course
from fieldmark.networks.efficientnet_lite import EfficientNetLite0
from fieldmark.preprocessing import Preprocessing

WITH_FEATURES = (Course, ConvNet, EfficientNetLite0)


class Deployed(nn.Module):
    """Scaling, network and probabilities in one module.

    Input uint8 (batch, height, width, 3); output probabilities float32 (batch, classes), with the embedding
    float32 (batch, d) behind them where the network has features; the embedding alone without head.
    Logits are divided by the temperature before they become probabilities.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, *, head: bool = True, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.network = network
        self.mean = preprocessing.mean
        self.deviation = preprocessing.deviation
        self.head = head
        self.temperature = temperature

    @staticmethod
    def has_features(network: nn.Module) -> bool:
        """Whether the network tells its features apart from its head, as all of NETWORKS do."""
        return isinstance(network, WITH_FEATURES)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Answer for a batch; see the class."""
        x = scaled(images, self.mean, self.deviation)
        if not isinstance(self.network, WITH_FEATURES):
            return self._probabilities(self.network(x))
        embedding = self.network.features(x)
        return (self._probabilities(self.network.head(embedding)), embedding) if self.head else embedding

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return probabilities(logits if self.temperature == 1.0 else logits / self.temperature)


def scaled(images: torch.Tensor, mean: float, deviation: float) -> torch.Tensor:
    """Turn uint8 (batch, height, width, 3) into float32 (batch, 3, height, width): (pixel - mean) / deviation."""
    return (images.permute(0, 3, 1, 2).to(torch.float32) - mean) / deviation


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Turn logits (batch, 1) or (batch, classes) into probabilities (batch, classes); one unit is class 1's."""
    if logits.shape[1] > 1:
        return torch.softmax(logits, dim=1)
    positive = torch.sigmoid(logits)
    return torch.cat([1 - positive, positive], dim=1)
