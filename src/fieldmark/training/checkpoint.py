"""Checkpoint: the weights of a network as safetensors, never as pickled objects."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from fieldmark import storage


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights and statistics, by name."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def restore(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put a snapshot back."""
    network.load_state_dict(state)


def write_checkpoint(path: Path, network: nn.Module) -> None:
    """Write all weights, whole or not at all. Raises OutputError."""
    state = {name: tensor.contiguous() for name, tensor in snapshot(network).items()}
    storage.write_bytes(path, safetensors.torch.save(state))


def read_checkpoint(path: Path, network: nn.Module) -> None:
    """Load weights written by `write_checkpoint` into a network of the same shape."""
    restore(network, safetensors.torch.load(path.read_bytes()))
