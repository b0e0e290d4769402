"""Device: where a network trains, and what is safe there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fieldmark.errors import RecipeError
from fieldmark.networks.deployed import Deployed

CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """The device that a recipe's `device` means: "auto" is the GPU where torch can use one, else the CPU.

    Raises RecipeError for "cuda" where torch can use no GPU.

    >>> find_device("cpu")
    device(type='cpu')
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        built = f"was built for CUDA {torch.version.cuda}, but finds no GPU" if torch.version.cuda else "has no CUDA"
        raise RecipeError(
            f"--device cuda: torch {torch.__version__} {built}",
            hint="leave --device out to train on the CPU; nvidia-smi lists the GPUs that the driver sees",
        )
    return torch.device("cuda") if name != "cpu" and available else CPU


def describe(device: torch.device) -> dict[str, str]:
    """The device for run.json: its kind and, for a GPU, the maker's name.

    >>> describe(CPU)
    {'device': 'cpu'}
    """
    if device.type != "cuda":
        return {"device": device.type}
    return {"device": device.type, "gpu": torch.cuda.get_device_name(device)}


def trains_in_bfloat16(device: torch.device) -> bool:
    """Whether layers compute in bfloat16 there: on GPUs whose matrix units do (from Ampere on), and nowhere else.

    On a CPU it would cost accuracy and, on most, time as well.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def is_recorded(network: nn.Module, device: torch.device) -> bool:
    """Whether its steps become a CUDA graph: only networks of NETWORKS.

    A graph repeats the kernels of one step; what another's `forward` decides in Python would be frozen in silence.
    """
    return device.type == "cuda" and Deployed.has_features(network)


def how_it_trains(network: nn.Module, device: torch.device, threads: str) -> str:
    """The sentence for run.json on what a reader has to know of the device's arithmetic.

    >>> how_it_trains(nn.Flatten(), CPU, "2 threads")
    'trained on 2 threads; another number may change the last bits'
    """
    if device.type == "cpu":
        return f"trained on {threads}; another number may change the last bits"
    floats = "layers in bfloat16, weights and loss in float32" if trains_in_bfloat16(device) else "all in float32"
    # Deterministic kernels are asked of cuDNN only. Max-pooling adds gradients in any order where windows overlap, as
    # in no network here; an own network may hold such layers.
    own = "" if Deployed.has_features(network) else " if all its layers have deterministic kernels"
    return (
        f"trained on {describe(device).get('gpu', device.type)}, {floats}; the same seed gives the same bits on the "
        f"same GPU with the same versions{own}; a CPU or another GPU gives others"
    )


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Inside, cuDNN uses only algorithms that add up in one order, picked by rule and not by a race against time."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    flags.deterministic, flags.benchmark = True, False
    try:
        yield
    finally:
        flags.deterministic, flags.benchmark = before


def send(array: npt.NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Copy an array to the device without waiting for it: from page-locked memory, which no one may write to after."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    # torch keeps the page-locked block until the copy is through.
    return tensor.pin_memory().to(device, non_blocking=True)
