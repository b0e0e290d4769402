"""The summary of a network that a recipe means, as plain values for people and JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from fieldmark.errors import missing_extra
from fieldmark.preprocessing import Preprocessing
from fieldmark.recipe import Recipe


def network_summary(recipe: Recipe, preprocessing: Preprocessing, *, classes: int) -> dict[str, Any]:
    """The layers with their output shapes (height, width, channels) and parameters, and the total.

    `recipe` is a resolved one. Raises MissingExtraError without torch, RecipeError for an image too small.
    """
    try:
        from fieldmark.networks.summary import journey, total_parameters
        from fieldmark.training.network import make_network
    except ImportError as error:
        raise missing_extra("a summary", error) from error
    network = make_network(None, recipe, preprocessing, classes=classes)
    layers = journey(network, (preprocessing.height, preprocessing.width))
    return {
        "network": recipe.network,
        "image_size": preprocessing.width,
        "layers": [{**dataclasses.asdict(layer), "shape": list(layer.shape)} for layer in layers],
        "parameters": total_parameters(network),
    }
