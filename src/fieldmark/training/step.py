"""One step of training: a batch's gradient, gathered from micro-batches that fit the processor's cache.

The gradient of a batch is the mean over its images, so it may be summed over parts of any size: the same mathematics,
with activations that stay in the last-level cache instead of travelling to memory and back.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fieldmark.networks.deployed import scaled
from fieldmark.preprocessing import Pixels, Preprocessing

Labels = npt.NDArray[np.int32]

# Where the size of the last-level cache cannot be read: that of a small laptop.
DEFAULT_CACHE_BYTES = 8 * 2**20
# How much of the activations (kept for the backward pass) may exceed the cache: each is read again once only, so
# a little more than fits is still the fastest. Measured for `course` at 300 px, see docs/log.md.
CACHE_SHARE = 1.5
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclasses.dataclass(frozen=True)
class Loss:
    """Binary cross-entropy of one sigmoid unit, or cross-entropy of a softmax; classes may weigh differently."""

    class_weights: tuple[float, ...] | None

    def total(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum over images of the loss, natural logarithm: logits (batch, 1 or classes), labels int64 (batch,)."""
        if logits.shape[1] == 1:
            targets = labels.to(logits.dtype)
            losses = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
        else:
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        if self.class_weights is not None:
            losses = losses * torch.tensor(self.class_weights, device=logits.device)[labels]
        return losses.sum()


@dataclasses.dataclass(frozen=True)
class Step:
    """A network with all that a step needs; `train` and `evaluate` return (sum of losses, right answers)."""

    network: nn.Module
    preprocessing: Preprocessing
    loss: Loss
    batch_size: int  # images
    micro_batch: int  # images whose activations are held at a time

    def train(self, optimizer: torch.optim.Optimizer, pixels: Pixels, labels: Labels) -> tuple[float, int]:
        """Move the weights once by the gradient of a batch: uint8 (batch, height, width, 3), labels (batch,)."""
        optimizer.zero_grad(set_to_none=False)
        total, correct = 0.0, 0
        for images, answers in self._parts(pixels, labels):
            logits = self.network(images)
            loss = self.loss.total(logits, answers)
            (loss / len(labels)).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            correct += _correct(logits, answers)
        optimizer.step()
        return total, correct

    @torch.no_grad()
    def evaluate(self, pixels: Pixels, labels: Labels) -> tuple[float, int]:
        """The unweighted loss and the right answers for a batch; the network is left in evaluation mode."""
        self.network.eval()
        total, correct = 0.0, 0
        for images, answers in self._parts(pixels, labels):
            logits = self.network(images)
            total += Loss(None).total(logits, answers).item()
            correct += _correct(logits, answers)
        return total, correct

    def _parts(self, pixels: Pixels, labels: Labels) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Micro-batches as the network reads them: float32 (part, 3, height, width), labels int64 (part,)."""
        for start in range(0, len(labels), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            images = torch.from_numpy(np.ascontiguousarray(pixels[part]))
            # A permuted view of (height, width, channels) is channels_last already: nothing is copied.
            images = scaled(images, self.preprocessing.mean, self.preprocessing.deviation)
            yield images, torch.from_numpy(labels[part].astype(np.int64))


def make_step(network: nn.Module, preprocessing: Preprocessing, loss: Loss, batch_size: int) -> Step:
    """Make the network ready (channels_last) and choose its micro-batch."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    micro_batch = batch_size
    if not takes_statistics_of_the_batch(network):
        micro_batch = min(
            batch_size, micro_batch_size(activation_bytes(network, preprocessing), cache_bytes())
        )
    return Step(network, preprocessing, loss, batch_size, micro_batch)


def takes_statistics_of_the_batch(network: nn.Module) -> bool:
    """Whether a layer normalises by the whole batch, so that a part of it is another mathematics."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def micro_batch_size(activation_bytes: int, cache_bytes: int) -> int:
    """How many images to hold at a time, at least 1.

    >>> micro_batch_size(activation_bytes=12_000_000, cache_bytes=32 * 2**20)
    4
    """
    return max(1, round(CACHE_SHARE * cache_bytes / activation_bytes))


@torch.no_grad()
def activation_bytes(network: nn.Module, preprocessing: Preprocessing) -> int:
    """Bytes of all activations of one image, measured by one forward pass."""
    sizes: list[int] = []

    def record(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        sizes.append(output.numel() * output.element_size())

    hooks = [
        module.register_forward_hook(record) for module in network.modules() if not any(module.children())
    ]
    training = network.training
    try:
        network.eval()
        network(torch.zeros(1, 3, preprocessing.height, preprocessing.width))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return sum(sizes)


def cache_bytes(caches: Path = CACHES) -> int:
    """Size of the processor's last-level cache; a default where the system does not tell."""
    found = []
    for index in caches.glob("index*/size"):
        size = re.fullmatch(r"(\d+)([KM])", index.read_text().strip())
        if size:
            found.append(int(size[1]) * {"K": 2**10, "M": 2**20}[size[2]])
    return max(found, default=DEFAULT_CACHE_BYTES)


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    answers = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
    return int((answers == labels).sum())
