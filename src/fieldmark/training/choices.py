"""Choices: a recipe with every default of its network filled in, so that nothing is decided later."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from fieldmark.errors import RecipeError, missing_extra
from fieldmark.images.augment import find_augmentation
from fieldmark.networks.table import NETWORKS, NetworkSpec, spec
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import BY_NETWORK, CHOICES, Recipe, option

if TYPE_CHECKING:
    from torch import nn

# The fields that a head fitted to convergence on a frozen backbone gives nothing to act on.
BY_STEPS = (*BY_NETWORK[1:], "steps_per_epoch", "until_accuracy")
# What an own torch.nn.Module gets where the caller chooses nothing: pixels / 255, as most examples do.
OWN_NETWORK: dict[str, Any] = {
    "image_size": 224,
    "epochs": 15,
    "least_steps": 0,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "optimizer": "adam",
    "schedule": "constant",
    "weight_decay": 0.0,
    "augmentation": "none",
    "folds": 0,
}


@dataclasses.dataclass(frozen=True)
class StepChoices:
    """The choices of a training by steps, every one decided; the meanings are those of Recipe's fields."""

    epochs: int
    least_steps: int
    steps_per_epoch: int | None
    batch_size: int
    learning_rate: float
    optimizer: str
    schedule: str
    weight_decay: float
    augmentation: str
    until_accuracy: float | None
    keep: str
    class_weights: str
    seed: int

    @classmethod
    def of(cls, recipe: Recipe) -> StepChoices:
        """Take them from a resolved recipe."""
        return cls(**{field.name: getattr(recipe, field.name) for field in dataclasses.fields(cls)})


def choose(network: str | nn.Module, choices: dict[str, Any]) -> tuple[Recipe, Preprocessing]:
    """The resolved recipe and the preprocessing it means.

    `network` is a name of NETWORKS or the caller's own module, `choices` are fields of Recipe. Returns the recipe with
    every default of its network filled in (None stays only where nothing acts on a field), and how images become its
    input. Raises RecipeError for an unknown network, augmentation or field, a value out of its range, or a choice that
    the network cannot follow, MissingExtraError for --device cuda or a network from scratch without torch.

    >>> recipe, preprocessing = choose("efficientnet-lite0", {"seed": 3})
    >>> recipe.image_size, recipe.epochs, recipe.seed, preprocessing.shape
    (224, None, 3, (224, 224, 3))
    """
    unknown = sorted(set(choices) - {field.name for field in dataclasses.fields(Recipe)})
    if unknown:
        raise RecipeError(
            f"a recipe has no field {', '.join(unknown)}",
            hint="the fields are " + ", ".join(field.name for field in dataclasses.fields(Recipe)),
        )
    _require_network(network)
    _require_device(choices.get("device"))
    if not isinstance(network, str):
        _refuse_fine_tune(choices, type(network).__name__)
        recipe = Recipe(network=type(network).__name__, **choices)
        return _filled(recipe, OWN_NETWORK), _preprocessing(recipe, OWN_NETWORK["image_size"], 0.0, 255.0)
    recipe, entry = Recipe(network=network, **choices), spec(network)
    if not entry.pretrained:
        _refuse_fine_tune(choices, network)
    frozen = entry.pretrained and not recipe.fine_tune
    if frozen:
        _refuse(recipe, [name for name in BY_STEPS if getattr(recipe, name) is not None])
        _refuse(recipe, ["keep"] if recipe.keep != CHOICES["keep"][0] else [])
    if recipe.channels is not None and not entry.takes_channels:
        raise RecipeError(f"{option('channels')}: the channels of {network} are fixed", hint="leave it out")
    filled = _filled(recipe, {name: getattr(entry, name) for name in (BY_NETWORK[:1] if frozen else BY_NETWORK)})
    _require_size(filled, entry)
    return filled, _preprocessing(filled, entry.image_size, entry.mean, entry.deviation)


def _filled(recipe: Recipe, defaults: dict[str, Any]) -> Recipe:
    if recipe.epochs is not None and "least_steps" in defaults:
        defaults = {**defaults, "least_steps": 0}  # whoever says how many epochs gets as many
    missing = {name: value for name, value in defaults.items() if getattr(recipe, name) is None}
    filled = dataclasses.replace(recipe, **missing)
    if filled.augmentation is not None:
        find_augmentation(filled.augmentation)
    return filled


def _preprocessing(recipe: Recipe, image_size: int, mean: float, deviation: float) -> Preprocessing:
    size = recipe.image_size or image_size
    return Preprocessing(width=size, height=size, fit=recipe.fit, mean=mean, deviation=deviation)  # type: ignore[arg-type]


def _require_network(network: object) -> None:
    """Raise unless it is a name or an instance of torch.nn.Module, without importing torch: who has one has it, too."""
    torch = sys.modules.get("torch")
    if isinstance(network, str) or (torch is not None and isinstance(network, torch.nn.Module)):
        return
    expected = f"expected one of {', '.join(NETWORKS)}, or a torch.nn.Module"
    name = getattr(network, "__name__", "")
    if isinstance(network, type):
        raise RecipeError(
            f"network={name}: a class; {expected}", hint=f"make one of it: network={name}(), with its arguments"
        )
    if callable(network) and name:
        raise RecipeError(
            f"network={name}: a function; {expected}",
            hint=f"give what it returns, network={name}(), or a module whose forward calls it",
        )
    raise RecipeError(f"network={network!r}: {type(network).__name__}; {expected}", hint="network='course'")


def _require_device(device: str | None) -> None:
    """Raise before any image is read where there is no GPU for --device cuda."""
    if device != "cuda":
        return
    try:
        from fieldmark.training.device import find_device
    except ImportError as error:
        raise missing_extra("training on a GPU", error) from error
    find_device(device)


def _require_size(recipe: Recipe, entry: NetworkSpec) -> None:
    """Raise before any image is read what `networks.table.build` would raise after."""
    try:
        minimum = entry.minimum_image_size(recipe.channels)
    except ImportError as error:
        raise missing_extra(f"training the network {recipe.network}", error) from error
    if recipe.image_size is not None and recipe.image_size < minimum:
        blocks = f" with {len(recipe.channels)} blocks" if recipe.channels else ""
        raise RecipeError(
            f"--image-size {recipe.image_size} is below what {recipe.network}{blocks} needs: at least {minimum} pixels",
            hint=f"--image-size {minimum} or more",
        )


def _refuse(recipe: Recipe, names: list[str]) -> None:
    if names:
        raise RecipeError(
            f"{', '.join(option(name) for name in names)}: {recipe.network} stays frozen and its head is fitted to "
            "convergence, so there is nothing for this to act on",
            hint="train the backbone too with --fine-tune, train from scratch with --network convnet, or leave it out",
        )


def _refuse_fine_tune(choices: dict[str, Any], network: str) -> None:
    if choices.get("fine_tune"):
        pretrained = [name for name, entry in NETWORKS.items() if entry.pretrained]
        raise RecipeError(
            f"--fine-tune: {network} learns from scratch, it has no pretrained backbone",
            hint=f"leave it out, or take --network {' or '.join(pretrained)}",
        )
