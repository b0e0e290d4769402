"""Retraining: the command that trains a run's classifier again, as it was trained."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldmark.errors import RecipeError
from fieldmark.evaluation.predictions import Predictions
from fieldmark.networks.table import NETWORKS
from fieldmark.recipe import BY_NETWORK, Recipe, option


def retrain_command(recipe: Mapping[str, Any], root: Path, validation: Path | None = None) -> str | None:
    """Return the line for a shell; None where the network is the user's own, or the recipe of a newer Fieldmark.

    Names every choice that differs from the default, and honours the corrections.csv of the dataset. Its run folder
    is a new one.

    >>> retrain_command({"network": "course", "image_size": 150, "softmax": True}, Path("/data/my photos"))
    "fieldmark train '/data/my photos' --network course --image-size 150 --softmax"
    """
    try:
        chosen = Recipe.from_json(dict(recipe))
    except RecipeError:
        return None
    if chosen.network not in NETWORKS:
        return None
    words = ["fieldmark", "train", str(root)]
    if validation is not None:
        words += ["--validation", str(validation)]
    for field in dataclasses.fields(Recipe):
        value = getattr(chosen, field.name)
        usual = getattr(NETWORKS[chosen.network], field.name) if field.name in BY_NETWORK else field.default
        if value is not None and value != usual:
            words += _words(option(field.name), value)
    return shlex.join(words)


def validation_folder(predictions: Predictions) -> Path | None:
    """The folder of `--validation` where it lies outside of the dataset's, told by the paths of its images.

    A path outside is absolute: the folder, the class, the name; a corrected image does not tell.
    """
    for path, label, split in zip(predictions.paths, predictions.labels, predictions.splits, strict=True):
        folder, name = Path(path).parent, predictions.classes[label]
        if split == "validation" and folder.is_absolute() and folder.as_posix().endswith(f"/{name}"):
            return Path(folder.as_posix().removesuffix(f"/{name}") or "/")
    return None


def _words(name: str, value: Any) -> list[str]:
    if value is True:
        return [name]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    # What begins with a dash would be taken for an option
    return [f"{name}={text}"] if text.startswith("-") else [name, text]
