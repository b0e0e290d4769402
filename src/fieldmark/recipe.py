"""Recipe: every choice of one training, frozen, one line of meaning and unit a field.

The command line's options, the table in the documentation and `recipe.json` are made from these fields.
A field of BY_NETWORK that is None takes the network's own default (`fieldmark.networks.table.NETWORKS`).
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from fieldmark.errors import RecipeError

CHOICES: dict[str, tuple[str, ...]] = {
    "fit": ("stretch", "crop", "pad"),
    "optimizer": ("rmsprop", "adam", "sgd"),
    "schedule": ("constant", "cosine"),
    "keep": ("last", "best"),
    "class_weights": ("none", "balanced"),
    "device": ("auto", "cpu", "cuda"),
}

# Least and largest values; beyond them is a slip of the keyboard, and memory would not do.
RANGES: dict[str, tuple[float, float]] = {
    "image_size": (1, 4096),
    "epochs": (1, 1_000_000),
    "least_steps": (0, 1_000_000_000),
    "folds": (0, 100),
    "steps_per_epoch": (1, 1_000_000),
    "batch_size": (1, 1_000_000),
    "learning_rate": (1e-30, 1e30),
    "weight_decay": (0, 1e3),
    "threads": (1, 4096),
}
# The fields whose default is the network's own: None until `fieldmark.training.choices` fills them in.
BY_NETWORK = (
    *("image_size", "epochs", "least_steps", "batch_size", "learning_rate", "optimizer", "schedule", "weight_decay"),
    *("augmentation", "folds"),
)


def choice(default: Any, meaning: str, unit: str = "") -> Any:
    """Declare one field of the recipe with its meaning and unit."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "unit": unit})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Every choice of one training.

    Raises RecipeError for a value of another kind, or out of its range.

    >>> Recipe(network="course", image_size=300).epochs is None
    True
    """

    network: str = choice("efficientnet-lite0", "which network learns")
    image_size: int | None = choice(None, "images are resized to this width and height", "pixels")
    fit: str = choice("stretch", "how an image that is not square fills the size")
    channels: tuple[int, ...] | None = choice(None, "channels of each block; by default chosen by image size")
    fine_tune: bool = choice(False, "train a pretrained backbone too, from the head fitted to it while it is frozen")
    softmax: bool = choice(False, "one output a class even for two classes, instead of one sigmoid unit")
    augmentation: str | None = choice(
        None, "how training images are varied: none, flip, color, standard, erasing, lighten or texture"
    )
    epochs: int | None = choice(None, "how often every training image is seen")
    least_steps: int | None = choice(
        None, "steps in all, at the least: where the epochs are fewer, more are trained; 0 where epochs are chosen"
    )
    folds: int | None = choice(
        None,
        "parts of the training groups that are left out in turn, in three trainings more for each, to calibrate the "
        "probabilities and to tell what more images would bring; 0: none",
    )
    steps_per_epoch: int | None = choice(None, "batches an epoch; without it, all images once")
    batch_size: int | None = choice(None, "images of one step")
    learning_rate: float | None = choice(None, "step size of the optimizer")
    optimizer: str | None = choice(None, "the rule by which the weights follow their gradients")
    schedule: str | None = choice(None, "the learning rate over time; cosine falls to 0, after a short warm-up")
    weight_decay: float | None = choice(None, "decoupled decay of the weights a step, times learning rate")
    until_accuracy: float | None = choice(
        None, "stop after the epoch after which this share of training images is right", "0-1"
    )
    keep: str = choice("last", "which epoch's weights are kept: the last, or the best on validation")
    class_weights: str = choice("none", "balanced: rare classes weigh more in the loss")
    validation_fraction: float = choice(
        0.2, "share of the groups held out where no validation is given; 0 trains on all"
    )
    group_by: str | None = choice(None, "regular expression that names an image's group, or none")
    seed: int = choice(0, "chooses the split, the initial weights, the order and the augmentation")
    threads: int | None = choice(None, "threads of the training; another number may change the last bits")
    device: str = choice(
        "auto", "where networks compute while they learn; auto: a GPU if there is one, embeddings on the CPU"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _of_kind(field.name, str(field.type), getattr(self, field.name)))
        self._require_ranges()

    def _require_ranges(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise RecipeError(
                    f"{option(name)} {value}: not one of {', '.join(allowed)}",
                    hint=f"write {option(name)} {allowed[0]}",
                )
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RecipeError(f"{option(name)} {value}: expected a number from {low:g} to {high:g}")
        if self.until_accuracy is not None and not 0 < self.until_accuracy <= 1:
            raise RecipeError(f"--until-accuracy {self.until_accuracy}: expected a share, such as 0.999")
        if self.folds == 1:
            raise RecipeError(
                "--folds 1: one part left out leaves nothing to train on", hint="2 or more, or 0 for none"
            )
        if not 0 <= self.validation_fraction < 1:
            raise RecipeError(
                f"--validation-fraction {self.validation_fraction}: expected a share below 1",
                hint="0.2 holds out a fifth; 0 trains on every image, and nothing says how good it is on others",
            )
        if not 0 <= self.seed < 2**63:
            raise RecipeError(f"--seed {self.seed}: expected a whole number from 0")
        if self.channels is not None and (not self.channels or min(self.channels) < 1):
            raise RecipeError(
                f"--channels {self.channels}: expected numbers above 0", hint="such as --channels 16,32,64"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        fields = dataclasses.asdict(self)
        if self.channels is not None:
            fields["channels"] = list(self.channels)
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Recipe:
        """Rebuild a recipe; fields that newer versions added take their defaults, unknown ones raise RecipeError."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise RecipeError(f"recipe: unknown field {', '.join(unknown)}", hint="it was written by a newer Fieldmark")
        values = dict(fields)
        if values.get("channels") is not None:
            values["channels"] = tuple(values["channels"])
        return cls(**values)


def _whole(value: Any) -> int:
    return operator.index(_number(value))


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # which Python counts as 0 and 1
        raise TypeError
    return value


def _as(kind: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return check


# What a field's annotation asks for: in words, an example, and how a value that fits is kept (another: TypeError).
# NumPy's numbers fit, too, and become Python's, so that recipe.json can hold them.
KINDS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "str": ("text", "", _as(str)),
    "bool": ("True or False", "True", _as(bool)),
    "int": ("a whole number", "100", _whole),
    "float": ("a number", "0.001", lambda value: float(_as(Real)(_number(value)))),
    "tuple[int, ...]": ("whole numbers", "(16, 32, 64)", lambda value: tuple(map(_whole, _as((tuple, list))(value)))),
}
EXAMPLES = {"until_accuracy": "0.999", "validation_fraction": "0.2", "augmentation": "'flip'", "group_by": "'none'"}


def _of_kind(name: str, annotation: str, value: Any) -> Any:
    """The value of a field as it is kept. Raises RecipeError for one of another kind, which only a program can give."""
    kind = annotation.removesuffix(" | None")
    if value is None and kind != annotation:
        return None
    expected, example, kept = KINDS[kind]
    if name in CHOICES:
        example = repr(CHOICES[name][0])
    try:
        return kept(value)
    except (TypeError, OverflowError) as error:
        hint = _meant(name, value) or f"such as {name}={EXAMPLES.get(name, example)}"
        raise RecipeError(f"{name}={value!r}: expected {expected}", hint=hint) from error


def _meant(name: str, value: Any) -> str:
    """What was probably meant by a value of another kind; empty where that cannot be told."""
    if name == "image_size" and isinstance(value, tuple | list) and value:
        return f"images are resized to a square, one number for both sides: image_size={value[0]}"
    if isinstance(value, float) and value.is_integer():
        return f"{name}={int(value)}"
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return f"without quotes: {name}={value}"
    return ""


def option(name: str) -> str:
    """Return the command line's spelling of a field."""
    return "--" + name.replace("_", "-")
