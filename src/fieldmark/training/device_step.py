"""DeviceStep: one batch forward and backward on a GPU, without ever waiting for it.

A step of a small network is some hundred kernels of a few microseconds each; to launch them from Python takes longer
than to run them. So after a few steps, the work of one is recorded as a CUDA graph and launched as a whole. The
optimizer stays outside: it is a handful of launches, and the same code as on the CPU.

Everything here runs on the CPU too, and is tested there; only `CudaRecorder` needs a GPU.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from fieldmark.images.augment import Augmentation
from fieldmark.preprocessing import Preprocessing
from fieldmark.training.augmentation import vary
from fieldmark.training.device import is_recorded, repeatable, trains_in_bfloat16
from fieldmark.training.ghosts import GHOST, replicas, share_statistics
from fieldmark.training.step import cross_entropies
from fieldmark.training.suit import in_ghosts

# Batches of a size that run kernel by kernel before one is recorded: torch asks for three, in which libraries choose
# their algorithms and fetch their workspaces. They are steps of the training like any other.
STEPS_BEFORE_RECORDING = 3

# Sum of the losses, number of right answers, gradients of the mean loss.
Work = tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]


class Recorder(Protocol):
    """Records a function of no arguments, to run it again at once."""

    def first(self, function: Callable[[], Work]) -> Work:
        """Run it as it is, before it is recorded."""
        ...

    def record(self, function: Callable[[], Work]) -> tuple[Work, Callable[[], None]]:
        """Its results, which stay where they are in memory, and what computes them anew; runs nothing yet."""
        ...


@dataclass
class DeviceStep:
    """How a network is trained and judged on a device; make one with `device_step`."""

    network: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation
    class_weights: torch.Tensor | None  # float32 (classes,) on the device
    ghosts: tuple[nn.Module, ...]  # as in step.Step
    bfloat16: bool
    recorder: Recorder | None  # None: every step kernel by kernel
    _steps: Counter[int] = field(default_factory=Counter)  # that ran with so many images
    _graphs: dict[int, _Graph] = field(default_factory=dict, repr=False)  # by number of images

    def train(
        self, optimizer: torch.optim.Optimizer, pixels: torch.Tensor, labels: torch.Tensor, changes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Move the weights once, by the mean loss of uint8 (n, height, width, channels), labels (n,) and changes.

        Returns the sum of the images' losses and how many were right, both before the move, as tensors () on the
        device; the next call may overwrite them.
        """
        loss, correct, gradients = self._work(pixels, labels, changes)
        for weight, gradient in zip(self._weights(), gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
        return loss, correct

    def evaluate(
        self, pixels: torch.Tensor, labels: torch.Tensor, changes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum of the images' losses and how many are right, in evaluation mode and float32; () on the device."""
        self.network.eval()
        with torch.no_grad():
            logits = self.network(self._scaled(vary(pixels, changes, Augmentation())))
            return self._losses(logits, labels).sum(), _correct(logits, labels)

    def _work(self, *batch: torch.Tensor) -> Work:
        if self.recorder is None:
            return self._gradients(*batch)
        images = len(batch[0])
        self._steps[images] += 1
        if self._steps[images] <= STEPS_BEFORE_RECORDING:
            return self.recorder.first(functools.partial(self._gradients, *batch))
        if images not in self._graphs:
            self._graphs[images] = _Graph(self.recorder, self._gradients, batch)
        return self._graphs[images].run(batch)

    def _gradients(self, pixels: torch.Tensor, labels: torch.Tensor, changes: torch.Tensor) -> Work:
        with torch.no_grad():
            x = self._scaled(vary(pixels, changes, self.augmentation))
            # Parts as step.Step has them, each normalised by itself.
            parts = math.ceil(len(labels) / GHOST) if self.ghosts else 1
            images = torch.tensor_split(x, parts)
        # Without the cache of cast weights, which would outlive the recording of a graph.
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
            logits = torch.cat(
                [network(part) for network, part in zip(self.ghosts or (self.network,), images, strict=False)]
            )
        loss = self._losses(logits.float(), labels).sum()
        found = torch.autograd.grad(loss / len(labels), self._weights(), allow_unused=True, materialize_grads=True)
        if self.ghosts:
            share_statistics(self.network, self.ghosts, [len(part) for part in images])
        return loss.detach(), _correct(logits.detach(), labels), list(found)

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.preprocessing.mean) / self.preprocessing.deviation
        return x.contiguous(memory_format=torch.channels_last)

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # As step.Loss has it, but with class weights that are on the device already.
        losses = cross_entropies(logits, labels)
        return losses if self.class_weights is None else losses * self.class_weights[labels.long()]

    def _weights(self) -> list[torch.Tensor]:
        return [weight for weight in self.network.parameters() if weight.requires_grad]


class _Graph:
    """The recorded work of one step: batches are copied to where the recording reads them."""

    def __init__(self, recorder: Recorder, function: Callable[..., Work], batch: tuple[torch.Tensor, ...]) -> None:
        self._inputs = tuple(tensor.clone() for tensor in batch)
        self._results, self._replay = recorder.record(functools.partial(function, *self._inputs))

    def run(self, batch: tuple[torch.Tensor, ...]) -> Work:
        """Do the work on another batch; the results are the same tensors every time."""
        for place, tensor in zip(self._inputs, batch, strict=True):
            place.copy_(tensor)
        self._replay()
        return self._results


class CudaRecorder:
    """Records CUDA graphs. First runs and recording share a stream, as libraries keep their handles by stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def first(self, function: Callable[[], Work]) -> Work:
        """Run it on the recorder's stream; the device, not this thread, waits for the result."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss, correct, gradients = function()
        current.wait_stream(self._stream)
        for tensor in (loss, correct, *gradients):
            tensor.record_stream(current)
        return loss, correct, gradients

    def record(self, function: Callable[[], Work]) -> tuple[Work, Callable[[], None]]:
        """Record its kernels as a graph, which runs none of them."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: the feed's thread may fetch page-locked memory meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            results = function()
        return results, graph.replay


@contextlib.contextmanager
def device_step(
    network: nn.Module,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    class_weights: tuple[float, ...] | None,
    batch_size: int,
    device: torch.device,
    **changed: Any,
) -> Iterator[DeviceStep]:
    """A step for this network, which moves to the device, and back to the CPU when the block ends.

    Make optimizers inside the block. `changed` replaces fields of the step that the device decides otherwise.
    """
    chosen = {
        "bfloat16": trains_in_bfloat16(device),
        "recorder": CudaRecorder(device) if is_recorded(network, device) else None,
    }
    weights = None if class_weights is None else torch.tensor(class_weights, device=device)
    by_ghosts = in_ghosts(network, preprocessing.shape)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with repeatable():
            ghosts = replicas(network.train(), batch_size) if by_ghosts else ()
            yield DeviceStep(network, preprocessing, augmentation, weights, ghosts, **{**chosen, **changed})
    finally:
        network.to("cpu")


def _correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    answers = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
    return (answers == labels).sum()
