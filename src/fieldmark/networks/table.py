"""NETWORKS: every network by name, with the recipe it likes. A new network is one file and one entry here.

Reading the table does not import torch; building a network does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fieldmark.errors import RecipeError

if TYPE_CHECKING:
    from fieldmark.networks.convnet import ConvNet
    from fieldmark.networks.course import Course
    from fieldmark.networks.efficientnet_lite import EfficientNetLite0

    # Each maps float32 (batch, 3, height, width) to logits (batch, outputs): forward = head(features).
    Network = Course | ConvNet | EfficientNetLite0

Channels = tuple[int, ...] | None


@dataclass(frozen=True)
class NetworkSpec:
    """How to build a network, and the defaults of a recipe for it."""

    build: Callable[[tuple[int, int], int, Channels], Network]  # (height, width), outputs, channels
    meaning: str  # one line
    pretrained: bool  # True: the head is fitted to a frozen backbone, which may then be fine-tuned
    minimum_image_size: Callable[[Channels], int]  # pixels of the shorter side, for these channels
    takes_channels: bool  # whether `channels` may be set
    image_size: int  # pixels, both sides
    batch_size: int  # images; this and what follows the deviation are for --fine-tune where pretrained
    mean: float  # subtracted from pixel values 0-255
    deviation: float  # divides what is left
    epochs: int
    least_steps: int  # in all; a small dataset gets more epochs than `epochs`
    learning_rate: float
    optimizer: str
    schedule: str
    weight_decay: float
    augmentation: str
    folds: int = 0  # trainings by steps are not repeated unless that is asked for


def _course(image_size: tuple[int, int], outputs: int, channels: Channels) -> Course:
    from fieldmark.networks.course import Course

    return Course(image_size, outputs, channels)


def _convnet(image_size: tuple[int, int], outputs: int, channels: Channels) -> ConvNet:
    from fieldmark.networks.convnet import ConvNet

    return ConvNet(image_size, outputs, channels)


def _efficientnet_lite0(image_size: tuple[int, int], outputs: int, channels: Channels) -> EfficientNetLite0:
    from fieldmark.networks import efficientnet_lite

    return efficientnet_lite.build(image_size, outputs, channels)


def _course_minimum(channels: Channels) -> int:
    from fieldmark.networks.course import minimum_image_size

    return minimum_image_size(channels)


NETWORKS: dict[str, NetworkSpec] = {
    "course": NetworkSpec(
        build=_course,
        meaning="the plain convolution and pooling stack of introductory courses, as Keras computes it",
        pretrained=False,
        minimum_image_size=_course_minimum,
        takes_channels=True,
        image_size=300,
        batch_size=128,
        mean=0.0,
        deviation=255.0,
        epochs=15,
        least_steps=0,
        learning_rate=1e-3,
        optimizer="rmsprop",
        schedule="constant",
        weight_decay=0.0,
        augmentation="none",
    ),
    "convnet": NetworkSpec(
        build=_convnet,
        meaning="a small residual network that trains from scratch on a laptop and generalises",
        pretrained=False,
        minimum_image_size=lambda channels: 16,  # leaves 2 x 2 positions to the last of four stages
        takes_channels=True,
        image_size=96,
        batch_size=64,
        mean=128.0,
        deviation=64.0,
        epochs=30,
        # What 30 epochs of the 1,027 images are on which all of this was chosen; a few hundred images need as many.
        least_steps=510,
        learning_rate=2e-3,
        optimizer="adam",
        schedule="cosine",
        weight_decay=0.05,
        augmentation="texture",
    ),
    "efficientnet-lite0": NetworkSpec(
        build=_efficientnet_lite0,
        meaning="a backbone trained on ImageNet, frozen, with a linear head fitted to your classes; "
        "what is trained by steps is for --fine-tune",
        pretrained=True,
        minimum_image_size=lambda channels: 32,  # the network halves five times
        takes_channels=False,
        image_size=224,
        batch_size=32,
        mean=127.0,
        deviation=128.0,
        epochs=5,
        least_steps=0,
        learning_rate=1e-4,
        optimizer="adam",
        schedule="cosine",
        weight_decay=0.01,
        augmentation="standard",
    ),
}


def spec(name: str) -> NetworkSpec:
    """Return the entry of NETWORKS; raises RecipeError that lists the known names."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise RecipeError(
            f"there is no network named {name!r}", hint=f"the networks are {', '.join(NETWORKS)}"
        ) from None


def build(
    name: str,
    image_size: tuple[int, int],
    outputs: int,
    *,
    channels: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Network:
    """Return a network on the CPU in training mode, its first weights a function of the arguments alone.

    `image_size` is (height, width) in pixels; `outputs` 1 for a sigmoid unit, else the number of classes;
    `channels` the output channels of each block, None for the network's own. The caller's random state stays.
    Raises RecipeError for an unknown name, an image that is too small and channels that cannot be.

    >>> import torch
    >>> network = build("course", (150, 150), outputs=1, seed=7)
    >>> network(torch.zeros(4, 3, 150, 150)).shape
    torch.Size([4, 1])
    """
    entry = spec(name)
    _check_channels(name, entry, channels)
    _check_image_size(name, image_size, entry.minimum_image_size(channels), channels)
    import torch

    # Only the CPU's generator is used and restored; torch.manual_seed would reseed every GPU as well.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return entry.build(image_size, outputs, channels)


def _check_channels(name: str, entry: NetworkSpec, channels: tuple[int, ...] | None) -> None:
    if channels is None:
        return
    if not entry.takes_channels:
        takers = [other for other, each in NETWORKS.items() if each.takes_channels]
        raise RecipeError(f"the channels of {name} are fixed", hint=f"--channels is for {', '.join(takers)}")
    if not channels or min(channels) < 1:
        raise RecipeError(
            f"channels must be whole numbers from 1, one for each block, not {channels}",
            hint="for example --channels 16,32,64",
        )


def _check_image_size(name: str, image_size: tuple[int, int], minimum: int, channels: tuple[int, ...] | None) -> None:
    if min(image_size) >= minimum:
        return
    depth = f" with {len(channels)} blocks" if channels else ""
    raise RecipeError(
        f"image size {min(image_size)} is below what {name} needs{depth}: at least {minimum} pixels",
        hint=f"--image-size {minimum} or more" + (", or fewer blocks with --channels" if channels else ""),
    )
