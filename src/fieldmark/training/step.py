"""Step: one batch forward and backward, in micro-batches that the threads share.

The gradient of a batch is a sum over its images, so it may be summed in parts. Parts of few images keep their
activations in the cache, and each thread works on parts of its own: none waits for another inside a layer,
which is what costs most on a machine that also does other work. Networks that look at the batch as a whole
(BatchNorm) are trained on the whole batch at once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from fieldmark.networks.deployed import scaled
from fieldmark.preprocessing import Pixels, Preprocessing

Labels = npt.NDArray[np.int32]
Gradients = list[torch.Tensor]
Result = TypeVar("Result")

CACHE_FILES = Path("/sys/devices/system/cpu/cpu0/cache")  # Linux only
# Assumed where the system does not tell its cache. Also the most we use of a larger one (a server's, which
# many cores share): glibc hands blocks above 32 MiB back to the system, which clears them before every use.
CACHE_BYTES = 32 * 2**20
# Spans of a batch for each thread: more than one, so that a thread that is held up leaves some to the others.
SPANS_A_THREAD = 4
# How much an answer may depend on the other images, relative: sums in float32 differ by less.
COMPANY_TOLERANCE = 1e-3
NEEDS_WHOLE_BATCH = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of logits: binary for one output, softmax for more.

    >>> round(Loss().sum(torch.zeros(2, 1), torch.tensor([0, 1])).item() / math.log(2), 6)
    2.0
    """

    class_weights: tuple[float, ...] | None = None  # how much an image of each class counts; None: 1

    def sum(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum over images of logits (n, outputs) and labels (n,), each times its class's weight."""
        if logits.shape[1] == 1:
            # The same as binary_cross_entropy_with_logits, which subtracts a logit from nearly itself: of a loss
            # of 5e-7 it is 6 % off in float32, and so is its gradient.
            losses = softplus(logits[:, 0] * (1 - 2 * labels))
        else:
            losses = cross_entropy(logits, labels.long(), reduction="none")
        if self.class_weights is not None:
            losses = losses * losses.new_tensor(self.class_weights)[labels.long()]
        return losses.sum()


@dataclass(frozen=True)
class Step:
    """How a network is trained on batches and judged on them; make one with `make_step`."""

    network: nn.Module
    preprocessing: Preprocessing
    loss: Loss
    batch_size: int  # images
    micro_batch: int | None  # images of one forward and backward; None: the whole batch
    micro_batch_evaluation: int  # images of one forward
    pool: ThreadPoolExecutor  # kept, because a new thread's memory has to be fetched from the system first
    threads: int

    def train(self, optimizer: torch.optim.Optimizer, pixels: Pixels, labels: Labels) -> tuple[float, int]:
        """Move the weights once, by the mean loss of uint8 (n, height, width, 3) and their labels (n,).

        Returns the sum of the images' losses and how many were right, both before the move.
        """
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        loss, correct, total = 0.0, 0, [torch.zeros_like(weight) for weight in weights]
        with self._threads_of_layers(self.micro_batch):
            # Spans come in their order, whichever thread was first: the sums are the same in every run.
            for part in self._spans(self._gradients, pixels, labels, self.micro_batch):
                loss, correct = loss + part[0], correct + part[1]
                torch._foreach_add_(total, part[2])
            torch._foreach_div_(total, len(labels))
            for weight, gradient in zip(weights, total, strict=True):
                weight.grad = gradient
            optimizer.step()
        return loss, correct

    def evaluate(self, pixels: Pixels, labels: Labels) -> tuple[float, int]:
        """The sum of the images' losses and how many are right, in evaluation mode."""
        self.network.eval()
        with self._threads_of_layers(self.micro_batch_evaluation):
            parts = list(self._spans(self._judged, pixels, labels, self.micro_batch_evaluation))
        return sum(loss for loss, _ in parts), sum(correct for _, correct in parts)

    def _gradients(self, pixels: Pixels, labels: Labels, micro_batch: int) -> tuple[float, int, Gradients]:
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        loss, correct, total = 0.0, 0, [torch.zeros_like(weight) for weight in weights]
        for logits, targets in self._answers(pixels, labels, micro_batch):
            losses = self.loss.sum(logits, targets)
            # Not backward(): threads would add to the same .grad.
            gradients = torch.autograd.grad(losses, weights, allow_unused=True, materialize_grads=True)
            torch._foreach_add_(total, gradients)
            loss, correct = loss + losses.item(), correct + _correct(logits, targets)
        return loss, correct, total

    def _judged(self, pixels: Pixels, labels: Labels, micro_batch: int) -> tuple[float, int]:
        loss, correct = 0.0, 0
        with torch.no_grad():
            for logits, targets in self._answers(pixels, labels, micro_batch):
                loss += self.loss.sum(logits, targets).item()
                correct += _correct(logits, targets)
        return loss, correct

    def _answers(self, pixels: Pixels, labels: Labels, micro_batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        dtype = next(self.network.parameters()).dtype
        for start in range(0, len(labels), micro_batch):
            span = slice(start, start + micro_batch)
            images = torch.from_numpy(np.ascontiguousarray(pixels[span]))
            x = scaled(images, self.preprocessing.mean, self.preprocessing.deviation)
            yield self.network(x.to(dtype)), torch.from_numpy(np.ascontiguousarray(labels[span]))

    def _spans(
        self,
        work: Callable[[Pixels, Labels, int], Result],
        pixels: Pixels,
        labels: Labels,
        micro_batch: int | None,
    ) -> Iterator[Result]:
        """Yield the work's results for spans of the batch, in order; threads share what has micro-batches."""
        if micro_batch is None or self.threads == 1 or len(labels) <= micro_batch:
            yield work(pixels, labels, micro_batch or len(labels))
            return
        spans = min(math.ceil(len(labels) / micro_batch), SPANS_A_THREAD * self.threads)
        edges = np.linspace(0, len(labels), spans + 1).astype(int)

        def one(edge: tuple[int, int]) -> Result:
            return work(pixels[slice(*edge)], labels[slice(*edge)], micro_batch)

        yield from self.pool.map(one, pairwise(edges))

    @contextlib.contextmanager
    def _threads_of_layers(self, micro_batch: int | None) -> Iterator[None]:
        """One thread a layer while micro-batches keep every thread busy; then as many as the caller had."""
        torch.set_num_threads(1 if micro_batch else self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(self.threads)


def make_step(network: nn.Module, preprocessing: Preprocessing, loss: Loss, batch_size: int) -> Step:
    """The fastest step for this network on this machine, with as many threads as torch has now.

    The network's weights are laid out anew in memory (channels last); their values stay.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    threads = torch.get_num_threads()
    shape = preprocessing.shape
    return Step(
        network,
        preprocessing,
        loss,
        batch_size,
        micro_batch_size(network, shape, batch_size=batch_size, threads=threads),
        images_in_cache(network, shape, threads=threads),
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)),
        threads,
    )


def micro_batch_size(
    network: nn.Module, image_shape: tuple[int, int, int], *, batch_size: int, threads: int = 1
) -> int | None:
    """How many images (height, width, channels) go forward and backward at once; None: the whole batch must.

    As many as stay in a thread's share of the cache, but at least one and so few that every thread has some.

    >>> micro_batch_size(nn.Sequential(nn.Flatten(), nn.Linear(48, 1)), (4, 4, 3), batch_size=10, threads=2)
    5
    >>> micro_batch_size(nn.BatchNorm2d(3), (4, 4, 3), batch_size=10) is None
    True
    """
    if depends_on_company(network, image_shape):
        return None
    return min(images_in_cache(network, image_shape, threads=threads), math.ceil(batch_size / threads))


def images_in_cache(network: nn.Module, image_shape: tuple[int, int, int], *, threads: int = 1) -> int:
    """At least one, and as many images as fit a thread's share of the cache in the widest layer."""
    widest = 1

    def measure(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal widest
        tensors = [tensor for tensor in (*inputs, output) if isinstance(tensor, torch.Tensor)]
        widest = max(widest, sum(tensor.nbytes for tensor in tensors))

    layers = [layer for layer in network.modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(_images(network, image_shape, 1))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return max(1, min(last_level_cache_bytes(), CACHE_BYTES) // threads // widest)


def depends_on_company(network: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether an image's answer in training depends on its batch, or on chance as with dropout."""
    # Asked by name first: a trial would move BatchNorm's running statistics.
    if any(isinstance(layer, NEEDS_WHOLE_BATCH) for layer in network.modules()):
        return True
    images = _images(network, image_shape, 4)
    training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whole = network.train()(images)
            halves = torch.cat([network(images[:2]), network(images[2:])])
    finally:
        network.train(training)
    difference = (whole - halves).abs().max()
    return bool(difference > COMPANY_TOLERANCE * whole.abs().max())


def last_level_cache_bytes(folder: Path = CACHE_FILES) -> int:
    """The size of this processor's largest cache; CACHE_BYTES where the system does not tell."""
    sizes = []
    for file in folder.glob("index*/size"):
        text = file.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) * 1024)
    return max(sizes, default=CACHE_BYTES)


def _images(network: nn.Module, image_shape: tuple[int, int, int], count: int) -> torch.Tensor:
    height, width, channels = image_shape
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, channels, height, width, generator=generator)
    return images.to(next(network.parameters()).dtype)


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    answers = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    return int((answers == labels).sum())
