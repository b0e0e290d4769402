"""Network: the module that a recipe means, ready to train, and its answers for a few images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fieldmark.errors import RecipeError
from fieldmark.images.read import Images
from fieldmark.networks.deployed import Deployed, scaled
from fieldmark.networks.table import build
from fieldmark.preprocessing import Pixels, Preprocessing
from fieldmark.recipe import Recipe
from fieldmark.runtime import BATCH


def make_network(own: nn.Module | None, recipe: Recipe, preprocessing: Preprocessing, *, classes: int) -> nn.Module:
    """A network of NETWORKS for this many classes, or the caller's own after a look at its answer's shape.

    Raises RecipeError if an own network does not answer float32 (batch, classes), or (batch, 1) for two classes.
    """
    size = (preprocessing.height, preprocessing.width)
    if own is None:
        outputs = 1 if classes == 2 and not recipe.softmax else classes
        return build(recipe.network, size, outputs, channels=recipe.channels, seed=recipe.seed)
    own.eval()
    try:
        with torch.no_grad():
            shape = tuple(own(torch.zeros(2, 3, *size)).shape)
    except RuntimeError as error:
        raise RecipeError(
            f"{recipe.network} cannot take images float32 (2, 3, {size[0]}, {size[1]}): {error}",
            hint="choose the image_size it was made for",
        ) from error
    allowed = {(2, classes)} | ({(2, 1)} if classes == 2 else set())
    if shape not in allowed:
        raise RecipeError(
            f"{recipe.network} answers two images with shape {shape}; "
            f"expected logits {(2, classes)} for {classes} classes",
            hint="let its last layer have one output a class, and no softmax behind it",
        )
    return own


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[int]:
    """Let torch use this many threads inside the block (None: as many as it has), and its own number after it."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def network_logits(
    network: nn.Module, preprocessing: Preprocessing, images: Images, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Logits float32 (rows, outputs) of the network in evaluation mode; a few images are in memory at a time."""
    network.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            pixels = torch.from_numpy(np.ascontiguousarray(images.pixels(rows[start : start + BATCH])))
            parts.append(network(scaled(pixels, preprocessing.mean, preprocessing.deviation)).numpy())
    return np.concatenate(parts)


def network_answers(
    network: nn.Module, preprocessing: Preprocessing, pixels: Pixels, *, temperature: float = 1.0
) -> npt.NDArray[np.float32]:
    """Probabilities float32 (n, classes) of the network itself, in evaluation mode, for a few images."""
    deployed = Deployed(network, preprocessing, temperature=temperature).eval()
    with torch.no_grad():
        answer = deployed(torch.from_numpy(np.ascontiguousarray(pixels)))
    return np.asarray((answer[0] if isinstance(answer, tuple) else answer).numpy())
