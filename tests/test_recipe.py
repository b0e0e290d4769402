"""Recipe: every field has a kind, and a value of another one is said in one sentence, whoever trains."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldmark
from fieldmark.errors import RecipeError
from fieldmark.recipe import CHOICES, KINDS, Recipe
from fieldmark.training.choices import choose

KIND_OF = {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    ("choices", "message", "hint"),
    [
        ({"image_size": (150, 150)}, "image_size=(150, 150): expected a whole number", "image_size=150"),
        ({"epochs": "3"}, "epochs='3': expected a whole number", "without quotes: epochs=3"),
        ({"epochs": 3.0}, "epochs=3.0: expected a whole number", "epochs=3"),
        ({"epochs": True}, "epochs=True: expected a whole number", "such as epochs=100"),
        ({"learning_rate": "x"}, "learning_rate='x': expected a number", "such as learning_rate=0.001"),
        ({"learning_rate": 10**400}, "learning_rate=1000", "such as learning_rate=0.001"),
        ({"seed": None}, "seed=None: expected a whole number", "such as seed=100"),
        ({"softmax": "yes"}, "softmax='yes': expected True or False", "such as softmax=True"),
        ({"channels": 16}, "channels=16: expected whole numbers", "such as channels=(16, 32, 64)"),
        ({"channels": "16,32"}, "channels='16,32': expected whole numbers", "such as channels=(16, 32, 64)"),
        ({"channels": (16, 2.5)}, "channels=(16, 2.5): expected whole numbers", "such as channels=(16, 32, 64)"),
        ({"optimizer": torch.optim.Adam}, "expected text", "such as optimizer='rmsprop'"),
        ({"group_by": 3}, "group_by=3: expected text", "such as group_by='none'"),
    ],
)
def test_a_value_of_another_kind(choices: dict[str, Any], message: str, hint: str, faces: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        fieldmark.train(faces, network="course", **choices)
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", KIND_OF)
def test_no_field_takes_any_kind(name: str) -> None:
    for wrong in (object(), {"a": 1}, b"x", np.zeros(2)):
        with pytest.raises(RecipeError, match=f"{name}="):
            Recipe(**{name: wrong})  # type: ignore[arg-type]
    assert KIND_OF[name] in KINDS
    assert name not in CHOICES or KIND_OF[name] == "str"


def test_numbers_of_numpy_become_plain_ones() -> None:
    recipe = Recipe(
        network="course",
        image_size=np.int64(32),  # type: ignore[arg-type]
        learning_rate=np.float32(0.5),  # type: ignore[arg-type]
        weight_decay=1,
        channels=[np.int32(8)],  # type: ignore[arg-type, list-item]
    )
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert (recipe.channels, recipe.learning_rate, type(recipe.weight_decay)) == ((8,), 0.5, float)


class Net(torch.nn.Module):
    """A network of somebody's own."""


def answer(images: torch.Tensor) -> torch.Tensor:
    return images


@pytest.mark.parametrize(
    ("network", "message", "hint"),
    [
        (Net, "network=Net: a class; expected one of course", "network=Net(), with its arguments"),
        (answer, "network=answer: a function; expected one of course", "a module whose forward calls it"),
        (None, "network=None: NoneType; expected one of course", "network='course'"),
        (3, "network=3: int; expected one of course", "network='course'"),
    ],
)
def test_a_network_that_is_none(network: Any, message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose(network, {})
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert choose(Net(), {})[0].network == "Net"
