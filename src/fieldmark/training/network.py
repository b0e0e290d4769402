"""Network: the module that a recipe means, ready to train, and its answers for a few images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

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

    Raises RecipeError if an own network cannot take float32 (batch, 3, height, width), does not answer one tensor
    (batch, classes), or (batch, 1) for two classes, or answers probabilities instead of logits.
    """
    size = (preprocessing.height, preprocessing.width)
    if own is None:
        outputs = 1 if classes == 2 and not recipe.softmax else classes
        return build(recipe.network, size, outputs, channels=recipe.channels, seed=recipe.seed)
    own.eval()
    _require_logits(_first_answer(own, recipe.network, size), recipe.network, classes)
    return own


def _first_answer(own: nn.Module, name: str, size: tuple[int, int]) -> object:
    """What an own network answers two black images of (height, width) pixels; a tensor remembers its last step."""
    try:
        with torch.enable_grad():
            return own(torch.zeros(2, 3, *size, requires_grad=True))
    except Exception as error:  # the caller's code, which may raise whatever it likes
        raise RecipeError(
            f"{name} cannot take images float32 (2, 3, {size[0]}, {size[1]}): {type(error).__name__}: {error}",
            hint="choose the image_size it was made for; it is called with the images and nothing else",
        ) from error


def _require_logits(answer: object, name: str, classes: int) -> None:
    allowed = [(2, classes)] + ([(2, 1)] if classes == 2 else [])
    expected = f"expected logits {' or '.join(map(str, allowed))} for {classes} classes"
    if not isinstance(answer, torch.Tensor):
        raise RecipeError(
            f"{name} answers two images with {_kind(answer)}; {expected}",
            hint="wrap it in a module whose forward returns the logits alone, one tensor",
        )
    if tuple(answer.shape) not in allowed:
        raise RecipeError(
            f"{name} answers two images with shape {tuple(answer.shape)}; {expected}",
            hint="let its last layer have one output a class, and no softmax behind it",
        )
    if (last := _last_step(answer)) in PROBABILITIES:
        raise RecipeError(
            f"{name} ends in a {PROBABILITIES[last]}; {expected}, the numbers before it",
            hint=f"leave the {PROBABILITIES[last]} out: the loss and the exported classifier apply their own",
        )


# What makes probabilities of logits, by autograd's names. A second one on top makes them nearly equal, and the network
# hardly learns. A logarithm of softmax does no harm.
PROBABILITIES = {"SigmoidBackward0": "sigmoid", "SoftmaxBackward0": "softmax"}
_SHAPING = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Flatten", "Alias", "Clone")


def _last_step(answer: torch.Tensor) -> str:
    """Autograd's name of what computed a tensor, changes of shape aside."""
    step = answer.grad_fn
    while step is not None and step.name().startswith(_SHAPING):
        step = step.next_functions[0][0]
    return step.name() if step is not None else ""


def _kind(answer: object) -> str:
    """What an answer is that is no tensor: "a dict of logits, features"."""
    kind = f"a {type(answer).__name__}"
    if isinstance(answer, Mapping):  # also the ModelOutput of Hugging Face
        return f"{kind} of {', '.join(map(str, answer))}"
    return f"{kind} of {len(answer)}" if isinstance(answer, tuple | list) else kind


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
