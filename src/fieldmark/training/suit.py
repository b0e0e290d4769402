"""Suit: how a network is best run on this machine, found by looking at both: micro-batches and memory layout."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

Shape = tuple[int, int, int]  # height, width, channels of an image

CACHE_FILES = Path("/sys/devices/system/cpu/cpu0/cache")  # Linux only
CACHE_BYTES = 32 * 2**20  # assumed where the system does not tell
# The most that one layer's output may take, whatever the cache (that of a server is large, and shared by many cores):
# glibc hands larger blocks back to the system after use, which then clears their pages before the next.
BLOCK_BYTES = 16 * 2**20
USES_CHANCE = (nn.modules.dropout._DropoutNd, nn.RReLU)
# Relative difference of what is the same but for the order of float32 sums; batch statistics differ by more.
TOLERANCE = 1e-3


def images_in_cache(network: nn.Module, shape: Shape, *, threads: int = 1) -> int:
    """At least one, and as many images as fit a thread's share of the cache in the widest layer, input and output.

    >>> images_in_cache(nn.Conv2d(3, 24, 1), (512, 512, 3))
    1
    """
    layer_bytes, block_bytes = 1, 1

    def measure(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal layer_bytes, block_bytes
        sizes = [tensor.nbytes for tensor in (*inputs, output) if isinstance(tensor, torch.Tensor)]
        layer_bytes, block_bytes = max(layer_bytes, sum(sizes)), max(block_bytes, *sizes)

    layers = [layer for layer in network.modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(measure) for layer in layers]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(_images(network, shape, 1))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return max(1, min(last_level_cache_bytes() // threads // layer_bytes, BLOCK_BYTES // block_bytes))


def depends_on_company(network: nn.Module, shape: Shape) -> bool:
    """Whether an image's answer in training depends on its batch, or on chance as with dropout.

    >>> depends_on_company(nn.Conv2d(3, 2, 3), (8, 8, 3)), depends_on_company(nn.BatchNorm2d(3), (8, 8, 3))
    (False, True)
    """
    # Asked by name first: a trial would move BatchNorm's running statistics, and chance may let an image off.
    if normalises_batches(network) or _uses_chance(network):
        return True
    return _differs_in_halves(network, shape)


def in_ghosts(network: nn.Module, shape: Shape) -> bool:
    """Whether BatchNorm alone makes an image's answer depend on its batch, so that parts of a batch may stand for it.

    >>> in_ghosts(nn.BatchNorm2d(3), (8, 8, 3)), in_ghosts(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()), (8, 8, 3))
    (True, False)
    """
    if not normalises_batches(network) or _uses_chance(network):
        return False
    try:
        frozen = copy.deepcopy(network)
    except Exception:  # such as a module that keeps an intermediate tensor: it is trained on whole batches
        return False
    for layer in frozen.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.forward = _unchanged  # type: ignore[method-assign,assignment]
    return not _differs_in_halves(frozen, shape)


def normalises_batches(network: nn.Module) -> bool:
    """Whether a layer is a BatchNorm."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def runs_blocked(network: nn.Module, shape: Shape) -> bool:
    """Whether answers and gradients are the same with activations in oneDNN's own layout, blocks of channels.

    Where all layers know it, this is the fastest way to train on a CPU: pooling keeps one byte a value instead of
    eight. Few kinds of layers do; the others refuse, each with an error of its own.

    >>> runs_blocked(nn.Sequential(nn.Upsample(scale_factor=2), nn.Flatten()), (8, 8, 3))
    False
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or any(weight.dtype != torch.float32 for weight in weights):
        return False
    images = _images(network, shape, 2)
    try:
        plain, blocked = network(images), network(images.to_mkldnn()).to_dense()
        pairs = [
            torch.autograd.grad(answer.square().sum(), weights, allow_unused=True, materialize_grads=True)
            for answer in (plain, blocked)
        ]
    except Exception:
        return False
    return _equal(plain, blocked) and all(_equal(*pair) for pair in zip(*pairs, strict=True))


def last_level_cache_bytes(folder: Path = CACHE_FILES) -> int:
    """The size of this processor's largest cache; CACHE_BYTES where the system does not tell."""
    sizes = []
    for file in folder.glob("index*/size"):
        text = file.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) * 1024)
    return max(sizes, default=CACHE_BYTES)


def _differs_in_halves(network: nn.Module, shape: Shape) -> bool:
    images = _images(network, shape, 4)
    training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whole = network.train()(images)
            halves = torch.cat([network(images[:2]), network(images[2:])])
    finally:
        network.train(training)
    return not _equal(whole, halves)


def _uses_chance(network: nn.Module) -> bool:
    return any(isinstance(layer, USES_CHANCE) for layer in network.modules())


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() <= TOLERANCE * first.abs().max())


def _images(network: nn.Module, shape: Shape, count: int) -> torch.Tensor:
    height, width, channels = shape
    images = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))
    dtypes = [weight.dtype for weight in network.parameters()]
    return images.to(dtypes[0] if dtypes else torch.float32)
