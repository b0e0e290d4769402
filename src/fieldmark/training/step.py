"""Step: one batch forward and backward, in micro-batches that the threads share.

The gradient of a batch is a sum over its images, so it may be summed in parts. Parts of few images keep their
activations in the cache, and each thread works on parts of its own: none waits for another inside a layer,
which is what costs most on a machine that also does other work. BatchNorm normalises parts of a fixed size, each by
itself (see `ghosts`); networks that look at the batch in any other way, and those with dropout, which draws from one
generator, are trained on the whole batch at once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from fieldmark.networks.deployed import scaled
from fieldmark.preprocessing import Pixels, Preprocessing
from fieldmark.training.ghosts import GHOST, replicas, share_statistics
from fieldmark.training.linear import LateLinear
from fieldmark.training.suit import depends_on_company, images_in_cache, in_ghosts, runs_blocked

Labels = npt.NDArray[np.int32]
Gradients = list[torch.Tensor]
Result = TypeVar("Result")

# Spans of a batch for each thread: more than one, so that a thread that is held up leaves some to the others.
SPANS_A_THREAD = 4


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of logits: binary for one output, softmax for more.

    >>> round(Loss().sum(torch.zeros(2, 1), torch.tensor([0, 1])).item() / math.log(2), 6)
    2.0
    """

    class_weights: tuple[float, ...] | None = None  # how much an image of each class counts; None: 1

    def sum(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum over images of logits (n, outputs) and labels (n,), each times its class's weight."""
        losses = cross_entropies(logits, labels)
        if self.class_weights is not None:
            losses = losses * losses.new_tensor(self.class_weights)[labels.long()]
        return losses.sum()


def cross_entropies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss (n,) of each image, from logits (n, outputs) and labels (n,): binary for one output.

    >>> [round(loss, 4) for loss in cross_entropies(torch.zeros(2, 4), torch.tensor([0, 3])).tolist()]
    [1.3863, 1.3863]
    """
    if logits.shape[1] > 1:
        return cross_entropy(logits, labels.long(), reduction="none")
    # The same as binary_cross_entropy_with_logits, which subtracts a logit from nearly itself: of a loss
    # of 5e-7 it is 6 % off in float32, and so is its gradient.
    return softplus(logits[:, 0] * (1 - 2 * labels))


@dataclass(frozen=True)
class Step:
    """How a network is trained on batches and judged on them; make one with `make_step`."""

    network: nn.Module
    preprocessing: Preprocessing
    loss: Loss
    micro_batch: int | None  # images of one forward and backward; None: the whole batch
    ghosts: tuple[nn.Module, ...]  # the network once for each part of a batch that BatchNorm looks at; mostly none
    micro_batch_evaluation: int  # images of one forward
    blocked: bool  # activations in oneDNN's own memory layout
    pool: ThreadPoolExecutor  # kept, because a new thread's memory has to be fetched from the system first
    threads: int

    def train(self, optimizer: torch.optim.Optimizer, pixels: Pixels, labels: Labels) -> tuple[float, int]:
        """Move the weights once, by the mean loss of uint8 (n, height, width, 3) and their labels (n,).

        Returns the sum of the images' losses and how many were right, both before the move.
        """
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        loss, correct, total = 0.0, 0, [torch.zeros_like(weight) for weight in weights]
        with self._threads_of_layers(self.micro_batch):
            parts = self._ghost_spans(pixels, labels) if self.ghosts else self._micro_spans(pixels, labels)
            # Spans come in their order, whichever thread was first: the sums are the same in every run.
            for part in parts:
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

    def _ghost_spans(self, pixels: Pixels, labels: Labels) -> Iterator[tuple[float, int, Gradients]]:
        """Every ghost of a batch forward and backward, then one set of statistics for all."""
        parts = np.array_split(np.arange(len(labels)), math.ceil(len(labels) / GHOST))

        def one(ghost: nn.Module, rows: npt.NDArray[np.int64]) -> tuple[float, int, Gradients]:
            return self._gradients(pixels[rows], labels[rows], len(rows), network=ghost)

        yield from self.pool.map(one, self.ghosts, parts)
        share_statistics(self.network, self.ghosts, [len(rows) for rows in parts])

    def _micro_spans(self, pixels: Pixels, labels: Labels) -> Iterator[tuple[float, int, Gradients]]:
        return self._spans(self._gradients, pixels, labels, self.micro_batch)

    def _gradients(
        self, pixels: Pixels, labels: Labels, micro_batch: int, network: nn.Module | None = None
    ) -> tuple[float, int, Gradients]:
        network = network or self.network
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        loss, correct, total = 0.0, 0, [torch.zeros_like(weight) for weight in weights]
        late = LateLinear()
        for images, targets in _parts(pixels, labels, micro_batch):
            with late:
                logits = self._logits(images, network)
            losses = self.loss.sum(logits, targets)
            # Not backward(): threads would add to the same .grad.
            found = torch.autograd.grad(losses, [*weights, *late.outputs], allow_unused=True)
            late.keep(found[len(weights) :])
            for sums, gradient in zip(total, found, strict=False):
                if gradient is not None:
                    sums.add_(gradient)
            loss, correct = loss + losses.item(), correct + _correct(logits, targets)
        late.add_to(weights, total)
        return loss, correct, total

    def _judged(self, pixels: Pixels, labels: Labels, micro_batch: int) -> tuple[float, int]:
        loss, correct = 0.0, 0
        with torch.no_grad():
            for images, targets in _parts(pixels, labels, micro_batch):
                logits = self._logits(images, self.network)
                loss += self.loss.sum(logits, targets).item()
                correct += _correct(logits, targets)
        return loss, correct

    def _logits(self, images: torch.Tensor, network: nn.Module) -> torch.Tensor:
        dtype = next(network.parameters()).dtype
        x = scaled(images, self.preprocessing.mean, self.preprocessing.deviation).to(dtype)
        logits: torch.Tensor = network(x.contiguous().to_mkldnn() if self.blocked else x)
        return logits.to_dense() if logits.is_mkldnn else logits

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
        count = math.ceil(len(labels) / micro_batch)
        spans = min(count, SPANS_A_THREAD * self.threads)
        # Whole micro-batches: a rest of one image in each span costs nearly what a full one does.
        edges = np.minimum(micro_batch * np.linspace(0, count, spans + 1).astype(int), len(labels))

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

    The network's weights may be laid out anew in memory (channels last); their values stay.
    """
    threads = torch.get_num_threads()
    shape = preprocessing.shape
    whole = depends_on_company(network, shape)
    ghosts = replicas(network.train(), batch_size) if in_ghosts(network, shape) else ()
    in_cache = images_in_cache(network, shape, threads=threads)
    blocked = not whole and runs_blocked(network, shape)
    if not blocked:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Step(
        network,
        preprocessing,
        loss,
        # So few that every thread gets some.
        None if whole else min(in_cache, math.ceil(batch_size / threads)),
        ghosts,
        in_cache,
        blocked,
        # Ghosts that are fewer than threads leave the others to their layers.
        ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(max(1, threads // len(ghosts)) if ghosts else 1,)
        ),
        threads,
    )


def _parts(pixels: Pixels, labels: Labels, micro_batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, len(labels), micro_batch):
        part = slice(start, start + micro_batch)
        yield (
            torch.from_numpy(np.ascontiguousarray(pixels[part])),
            torch.from_numpy(np.ascontiguousarray(labels[part])),
        )


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    answers = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    return int((answers == labels).sum())
